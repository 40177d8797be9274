"""The store of releases: what each was, and which stage had which, when.

In and out: a folder with one YAML file for each release, named by its content and never changed, and `stages.json` with
the history of every cell in every stage. A file whose content is not what its name says is as good as none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from xds_server.cells.releases import Releases, digest_of, released_document
from xds_server.files import write_file
from xds_server.load.objects import Objects, parse_documents_of
from xds_server.load.yaml import parse_documents
from xds_server.model.object import Object

_NAME = re.compile(r"(?P<cell>[a-z0-9][-a-z0-9.]*)-(?P<digest>[0-9a-f]{7,64})")
_MOST = 100
"""Entries of the history of one cell in one stage that are kept."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A release became live in a stage: when (RFC 3339) and by what (`promote`, `rollback`, `binding`)."""

    release: str
    since: str
    by: str


class Store:
    """A folder of releases. One process at a time may write to it: the holder of the state folder."""

    def __init__(self, folder: Path) -> None:
        """Make the folder and read what is in it. OSError if that cannot be done."""
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._stored: dict[str, Objects] = {}
        self._digests: dict[str, str] = {}
        for path in sorted(folder.glob("*.yaml")):
            self._take(path.stem, path.read_text(encoding="utf-8", errors="replace"), path)
        self._history = _read_history(folder / "stages.json")

    @property
    def releases(self) -> Releases:
        """All that is stored, and what each stage has now."""
        live = {place: entries[-1].release for place, entries in self._history.items() if entries}
        problems = {name: one.diagnostics for name, one in self._stored.items() if one.diagnostics}
        return Releases(
            {name: tuple(one.objects) for name, one in self._stored.items()}, live, problems, dict(self._digests)
        )

    def history(self, stage: str, cell: str) -> tuple[Entry, ...]:
        """What a cell was in a stage, the oldest first."""
        return tuple(self._history.get((stage, cell), ()))

    def path(self, name: str) -> Path:
        """Where a release is written, or would be."""
        return self._folder / f"{name}.yaml"

    def keep(self, name: str, text: str) -> None:
        """Store a release. OSError if it cannot be written, or another one has its name."""
        if name not in self._stored:
            write_file(self.path(name), text)
            self._take(name, text, self.path(name))
        elif _digest(text) != self._digests[name]:
            raise OSError(f"{self.path(name)} has another content")

    def _take(self, name: str, text: str, path: Path) -> None:
        objects = read_release(name, text, path)
        if objects.objects:
            self._stored[name], self._digests[name] = objects, _digest(text)

    def record(self, moves: Mapping[tuple[str, str], str], by: str, now: str) -> None:
        """Remember which release is live from now on, by stage and cell. OSError if it cannot be written."""
        history = {place: list(entries) for place, entries in self._history.items()}
        for place, name in moves.items():
            entries = history.setdefault(place, [])
            if not entries or entries[-1].release != name:
                entries.append(Entry(name, now, by))
                del entries[:-_MOST]
        if history != self._history:
            written = {f"{stage}/{cell}": [asdict(one) for one in found] for (stage, cell), found in history.items()}
            write_file(self._folder / "stages.json", json.dumps(written, indent=2) + "\n")
            self._history = history


def release_text(objects: tuple[Object, ...]) -> str:
    """A release as a YAML file."""
    return str(yaml.safe_dump_all([released_document(one) for one in objects], sort_keys=False, allow_unicode=True))


def read_release(name: str, text: str, path: Path) -> Objects:
    """The objects of a release's file and what is wrong with them; none if its content is not that of its name."""
    documents, problems = parse_documents(str(path), text.encode())
    match = _NAME.fullmatch(name)
    if match is None or problems or not digest_of(one.value for one in documents).startswith(match["digest"]):
        return Objects()
    return parse_documents_of(documents)


def _digest(text: str) -> str:
    return digest_of(one.value for one in parse_documents("", text.encode())[0])


def _read_history(path: Path) -> dict[tuple[str, str], list[Entry]]:
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
        found = {}
        for place, entries in written.items():
            stage, _, cell = place.partition("/")
            found[stage, cell] = [Entry(**entry) for entry in entries]
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise OSError(f"{path} cannot be read: {error}; it says which release each stage has") from None
    return found
