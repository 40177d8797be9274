"""`Document`: one mapping of JSON values and where each value is written. `Limits`: how much is read at all.

In: what the readers of YAML and JSON found in one piece of text (`Piece`, with lines counted from its start).
Out: documents and diagnostics with places in the file. Nothing here opens a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xds_server.diagnostics import Diagnostic, Positions, diagnose
from xds_server.load.places import Later, Tree, positions_of, span_of


@dataclass(frozen=True, slots=True)
class Limits:
    """What is read at most; anything beyond is a diagnostic. Sizes are in bytes."""

    file_bytes: int = 8 << 20
    total_bytes: int = 64 << 20
    files: int = 100_000
    documents: int = 100_000
    depth: int = 64
    nodes: int = 1_000_000
    """Values of one file, those behind aliases counted each time that they are used."""
    aliases: int = 100
    """Aliases of one YAML document."""
    faults: int = 100
    """Mistakes of one YAML document after which the rest of it is not read."""


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """One document. `value` holds JSON types only and is never changed; `index` counts the documents of the file."""

    file: str
    index: int
    value: dict[str, Any]
    positions: Positions


@dataclass(frozen=True, slots=True)
class Fault:
    """A mistake at a packed place. `first` is a second place that the message names as `{first}`."""

    code: str
    mark: int
    words: Mapping[str, str] = field(default_factory=dict)
    hint: str = ""
    first: int | None = None

    def placed(self, file: str, base: int) -> Diagnostic:
        """The diagnostic, in a file where the piece starts on line `base` (from 0)."""
        words = dict(self.words)
        if self.first is not None:
            words["first"] = str(span_of(file, base, self.first))
        return diagnose(self.code, span_of(file, base, self.mark), hint=self.hint, **words)


@dataclass(frozen=True, slots=True)
class Item:
    """One document of a piece. `broken` says that it has faults and that `value` is only what could be made of it."""

    value: dict[str, Any]
    tree: Tree | Later
    broken: bool = False

    def placed(self, file: str, base: int, index: int) -> Document:
        """The document, in a file where the piece starts on line `base` (from 0)."""
        return Document(file, index, self.value, positions_of(file, base, self.tree))


@dataclass(frozen=True, slots=True)
class Piece:
    """What a piece of text (of a YAML file the lines from one `---` to the next) means, wherever it stands."""

    items: tuple[Item, ...] = ()
    faults: tuple[Fault, ...] = ()
    nodes: int = 0
