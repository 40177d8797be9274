"""What attachment keeps from its last call, and how the parts of the room use it.

In: objects, and what else is given. Out: their index, and results that nothing they looked up has changed for. What is
told to be `changed` here is a look-up in a table: of objects, policies, settings of listeners.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from xds_server.attach.index import Index, Indexed, Outside, Unique, watched
from xds_server.memory import Read, Recollection, Slot
from xds_server.model.object import Object

T = TypeVar("T")


class Recall(Protocol):
    """Gives what `read` makes of the index, as it was if nothing has changed. `given` are further arguments of it."""

    def __call__(self, slot: Slot, given: tuple[object, ...], read: Callable[[Index], T]) -> T: ...


@dataclass(slots=True)
class Remembered:
    """Results by slot, for one index after the other. `wanted` are the URLs that each looked for."""

    indexed: Indexed = field(default_factory=Indexed)
    chosen: Unique = field(default_factory=Unique)
    results: Recollection = field(default_factory=Recollection)
    wanted: dict[Slot, set[str]] = field(default_factory=dict)
    given: object = None
    changed: set[Read] = field(default_factory=set)
    dropped: set[Slot] = field(default_factory=set)
    """The slots whose results were dropped since the call began."""

    @property
    def index(self) -> Index:
        """The index of the objects of this call."""
        return self.indexed.index

    def begin(self, objects: Iterable[Object], outside: Outside) -> None:
        """Index the objects of this call."""
        self.dropped = set()
        self.changed = self.indexed.update(objects, outside)
        self.forget(self.changed)

    def forget(self, changed: Iterable[Read]) -> None:
        """Drop what looked these up."""
        dropped = self.results.forget(changed)
        for slot in self.wanted.keys() & dropped:
            del self.wanted[slot]
        self.dropped |= dropped

    def recall(self, slot: Slot, given: tuple[object, ...], read: Callable[[Index], T]) -> T:
        """What `read` makes of the index."""
        return self.results.recall(slot, given, lambda reads: self._read(slot, read, reads))

    def _read(self, slot: Slot, read: Callable[[Index], T], reads: set[Read]) -> T:
        seen = watched(self.index, reads)
        value = read(seen)
        self.wanted.pop(slot, None)
        if seen.wanted:
            self.wanted[slot] = seen.wanted
        return value

    def urls(self) -> set[str]:
        """All URLs that somebody looked for."""
        return {url for urls in self.wanted.values() for url in urls}
