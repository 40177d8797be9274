"""The folder of what is in force: contents of files, each named by its hash, and an index that is replaced as a whole.

In: which files count, with their hashes, and how to read them. Out: the same, of the last server. Written is 0700 and 0600.
A file whose content went wrong counts as it was when it was good, and one in which an object went wrong counts twice: as it
is, and as it was when the object was good.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from xds_server.files import write_file
from xds_server.saved.contents import Contents, digest_of
from xds_server.types import Key

_INDEX = "in-force.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Kept:
    """An object that is in force as an older content of its file has it."""

    key: Key
    file: str
    digest: str


@dataclass(frozen=True, slots=True)
class Index:
    """What counts: the hash of each file, the number of files below each path, and objects in an older form."""

    files: Mapping[str, str] = field(default_factory=dict)
    roots: Mapping[str, int | None] = field(default_factory=dict)
    kept: tuple[Kept, ...] = ()

    def digests(self) -> set[str]:
        """All contents that are needed."""
        return {*self.files.values(), *(one.digest for one in self.kept)}


class Store:
    """A folder that one process at a time writes to: the holder of the state folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._contents = folder, Contents(folder, (_INDEX,))
        self._written = ""

    def write(self, index: Index, contents: Mapping[str, bytes]) -> None:
        """Make this what counts. `contents` are by hash. OSError leaves what counted before."""
        text = json.dumps(asdict(index), sort_keys=True)
        if text == self._written:
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._contents.keep(contents[one] for one in self._contents.missing(index.digests()))
        head = digest_of(text.encode())
        write_file(self._folder / _INDEX, f"{_FORMAT} {head}\n{text}\n")
        self._written = text
        self._contents.sweep(index.digests())

    def read(self) -> tuple[Index, dict[str, bytes]] | str:
        """What counts, with all contents by hash; or why nothing can be said, empty if nothing was ever written."""
        try:
            text = (self._folder / _INDEX).read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""
        except (OSError, ValueError) as error:
            return f"{self._folder / _INDEX} cannot be read: {error}"
        head, _, body = text.partition("\n")
        if head != f"{_FORMAT} {digest_of(body.rstrip().encode())}":
            return f"{self._folder / _INDEX} is not what was written"
        index = _index(json.loads(body))
        try:
            return index, {one: self._contents.read(one) for one in sorted(index.digests())}
        except OSError as error:
            return str(error)


def _index(written: Mapping[str, Any]) -> Index:
    kept = tuple(Kept(Key(**one["key"]), one["file"], one["digest"]) for one in written["kept"])
    return Index(written["files"], written["roots"], kept)
