"""What was live when: the contents of all policy files at every change, each named by its hash.

In and out: a folder with contents, a list of files for each state, an index of states, and, while files are being replaced,
a note of how they were before. It is bounded: the oldest states go first, and contents that no state has any more with them.
Written is 0700 and 0600, since policy files may hold secrets.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from xds_server.files import write_file
from xds_server.saved.contents import Contents

MOST_STATES = 100
MOST_BYTES = 256 << 20
MOST_FILES = 200_000
"""Files of all states together, each counted in every state."""
_INDEX = "history.json"
_PENDING = "pending.json"
_LEFT = "left.json"
_DIGITS = 12
Digests = Mapping[str, str | None]
"""Hashes of files by name; None for one that is not there."""


@dataclass(frozen=True, slots=True)
class State:
    """All policy files of a server at one time, by the name that they are read under. `refused`: why it did not stay."""

    name: str
    since: str
    by: str
    files: Mapping[str, str] = field(default_factory=dict)
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Pending:
    """Files that are being replaced: how they were, and what they become."""

    before: Digests
    after: Digests

    def of(self, names: Collection[str]) -> Pending:
        """The same for these files alone."""
        before, after = ({name: one[name] for name in one if name in names} for one in (self.before, self.after))
        return Pending(before, after)


def state_name(files: Mapping[str, str]) -> str:
    """The name of a state: the same for the same files with the same content."""
    text = json.dumps(sorted(files.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


class History:
    """A folder of states. One process at a time may write to it: the holder of the state folder."""

    def __init__(self, folder: Path) -> None:
        """Make the folder and read what is in it. OSError if that cannot be done."""
        self._folder = folder
        for inner in ("contents", "states"):
            (folder / inner).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._contents = Contents(folder / "contents")
        self._states = _read_states(folder)

    @property
    def states(self) -> Sequence[State]:
        """All states, the oldest first."""
        return self._states

    @property
    def good(self) -> Sequence[State]:
        """Those that were not refused; the last is what is live."""
        return [one for one in self._states if not one.refused]

    def find(self, name: str) -> list[State]:
        """The states whose name begins so; of each name one, and rather one that was refused."""
        ordered = sorted(self._states, key=lambda one: bool(one.refused))
        return list({one.name: one for one in ordered if one.name.startswith(name)}.values())

    def note(self, files: Mapping[str, str], contents: Mapping[str, bytes], by: str, now: str) -> None:
        """This is live from now on. `contents` has by hash what is not kept yet. OSError: nothing has changed."""
        good = self.good
        if good and good[-1].files == files:
            return
        self.keep(contents.values())
        self._write([*self._states, State(state_name(files), now, by, dict(files))])

    def refuse(self, reason: str) -> None:
        """The newest state did not stay."""
        self._write([*self._states[:-1], replace(self._states[-1], refused=reason)])

    def missing(self, digests: Iterable[str]) -> set[str]:
        """Those of these contents that are not kept."""
        return self._contents.missing(digests)

    def keep(self, contents: Iterable[bytes]) -> None:
        """Keep contents. OSError if one cannot be written."""
        self._contents.keep(contents)

    def content(self, digest: str) -> bytes:
        """A content. OSError if it is not there, or not what it was."""
        return self._contents.read(digest)

    def pending(self) -> Pending | None:
        """The replacement that was begun and not ended by the last server."""
        try:
            return Pending(**json.loads((self._folder / _PENDING).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise OSError(f"{self._folder / _PENDING} cannot be read: {error}") from None

    def left(self) -> Sequence[Pending]:
        """Those of folders that servers since then did not have."""
        try:
            return [Pending(**one) for one in json.loads((self._folder / _LEFT).read_text(encoding="utf-8"))]
        except FileNotFoundError:
            return ()
        except (ValueError, TypeError) as error:
            raise OSError(f"{self._folder / _LEFT} cannot be read: {error}") from None

    def leave(self, left: Sequence[Pending]) -> None:
        """These are for a server that has their folders again, and nothing else is pending. OSError: it still is."""
        if left or (self._folder / _LEFT).exists():
            write_file(self._folder / _LEFT, json.dumps([asdict(one) for one in left]))
        self.end()

    def begin(self, pending: Pending) -> None:
        """A replacement begins. OSError if that cannot be written."""
        write_file(self._folder / _PENDING, json.dumps(asdict(pending)))

    def end(self) -> None:
        """It is ended."""
        (self._folder / _PENDING).unlink(missing_ok=True)

    def _write(self, states: list[State]) -> None:
        kept = self._bounded(states)
        for one in kept:
            if not (path := self._folder / "states" / one.name).is_file():
                write_file(path, json.dumps(one.files))
        heads = [
            {key: value for key, value in asdict(replace(one, files={})).items() if key != "files"} for one in kept
        ]
        write_file(self._folder / _INDEX, json.dumps(heads, indent=1) + "\n")
        self._states = kept
        wanted = {digest for one in kept for digest in one.files.values()}
        for pending in (*self.left(), *filter(None, (self.pending(),))):
            wanted |= {one for one in (*pending.before.values(), *pending.after.values()) if one is not None}
        self._contents.sweep(wanted)
        Contents(self._folder / "states").sweep({one.name for one in kept})

    def _bounded(self, states: list[State]) -> list[State]:
        """The newest states, two at least, that are few and small enough."""
        sizes: dict[str, int] = {}
        files = 0
        for number, one in enumerate(reversed(states)):
            for digest in one.files.values():
                if digest not in sizes:
                    sizes[digest] = self._contents.size(digest)
            files += len(one.files)
            full = number >= MOST_STATES or files > MOST_FILES or sum(sizes.values()) > MOST_BYTES
            if number >= 2 and full:
                return states[len(states) - number :]
        return states


def _read_states(folder: Path) -> list[State]:
    path = folder / _INDEX
    try:
        heads = json.loads(path.read_text(encoding="utf-8"))
        files = {
            one["name"]: json.loads((folder / "states" / one["name"]).read_text(encoding="utf-8")) for one in heads
        }
        return [State(**one, files=files[one["name"]]) for one in heads]
    except FileNotFoundError as error:
        if error.filename == str(path):
            return []
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise OSError(f"{path} cannot be read: {error}; it says which policy files were live when") from None
