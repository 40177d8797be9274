"""What a pure function may keep from its last call: results that nothing has changed for, and collections in order.

In: what somebody computes, with what it looked at. Out: the same value again, as long as all of that is the very same.
A memory belongs to its caller and decides nothing: dropping it changes no result.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import is_
from typing import Any, Generic, TypeVar

from xds_server.parts import Parts

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")
Read = tuple[str, Hashable]
"""A look-up: the name of a table and a key in it. `EVERY` as key stands for whoever went through all of it."""
Slot = tuple[Hashable, ...]
EVERY = "every entry"
_PART = 64


class Watched(Mapping[K, V]):
    """A table that notes what is looked up in it."""

    __slots__ = ("_name", "_reads", "_table")

    def __init__(self, name: str, table: Mapping[K, V], reads: set[Read]) -> None:
        self._name, self._table, self._reads = name, table, reads

    def __getitem__(self, key: K) -> V:
        self._reads.add((self._name, key))
        return self._table[key]

    def get(self, key: K, default: Any = None) -> Any:
        """The entry, if there is one."""
        self._reads.add((self._name, key))
        return self._table.get(key, default)

    def __contains__(self, key: object) -> bool:
        self._reads.add((self._name, key))
        return key in self._table

    def __iter__(self) -> Iterator[K]:
        self._reads.add((self._name, EVERY))
        return iter(self._table)

    def __len__(self) -> int:
        self._reads.add((self._name, EVERY))
        return len(self._table)


def changes(name: str, last: Mapping[K, V], now: Mapping[K, V]) -> set[Read]:
    """The look-ups that two tables answer differently: with another object, whether equal or not."""
    if last is now:
        return set()
    found: set[Read] = {(name, key) for key, value in now.items() if last.get(key) is not value}
    found |= {(name, key) for key in last if key not in now}
    return found | {(name, EVERY)} if found else found


@dataclass(frozen=True, slots=True)
class _Kept:
    value: Any
    given: tuple[object, ...]
    reads: frozenset[Read]


class Recollection:
    """Results by slot, each with what it was given and what was looked up for it."""

    def __init__(self) -> None:
        self._kept: dict[Slot, _Kept] = {}
        self._readers: dict[Read, set[Slot]] = defaultdict(set)

    def recall(self, slot: Slot, given: tuple[object, ...], compute: Callable[[set[Read]], T]) -> T:
        """The result in a slot, computed anew if it was given something else or what it read has changed."""
        kept = self._kept.get(slot)
        if kept is not None and len(kept.given) == len(given) and all(map(is_, kept.given, given)):
            value: T = kept.value
            return value
        if kept is not None:
            self._drop(slot)
        reads: set[Read] = set()
        value = compute(reads)
        self._kept[slot] = _Kept(value, given, frozenset(reads))
        for read in reads:
            self._readers[read].add(slot)
        return value

    def forget(self, changed: Iterable[Read]) -> set[Slot]:
        """Drop every result that read one of these; the answer is which."""
        dropped: set[Slot] = set()
        for read in changed:
            dropped |= self._readers.get(read, set())
        for slot in dropped:
            self._drop(slot)
        return dropped

    def drop(self, slot: Slot) -> None:
        """Drop one result, if there is one."""
        if slot in self._kept:
            self._drop(slot)

    def _drop(self, slot: Slot) -> None:
        for read in self._kept.pop(slot).reads:
            readers = self._readers[read]
            readers.discard(slot)
            if not readers:
                del self._readers[read]


@dataclass(frozen=True, slots=True)
class Difference(Generic[T]):
    """What is in one sequence of different objects and not in the other, by identity."""

    gone: tuple[T, ...] = ()
    came: tuple[T, ...] = ()


def difference(last: Sequence[T], now: Sequence[T]) -> Difference[T]:
    """What has gone and what has come. Order counts only for the time it takes, and so do parts that both have."""
    if last is now:
        return Difference()
    if isinstance(last, Parts) and isinstance(now, Parts):
        shared = {id(part) for part in last.parts} & {id(part) for part in now.parts}
        return difference(_others(last, shared), _others(now, shared))
    start, end = in_common(last, now)
    if start == len(last) == len(now):
        return Difference()
    old, new = last[start : len(last) - end], now[start : len(now) - end]
    before, after = {id(one) for one in old}, {id(one) for one in new}
    return Difference(
        tuple(one for one in old if id(one) not in after), tuple(one for one in new if id(one) not in before)
    )


def in_common(last: Sequence[T], now: Sequence[T]) -> tuple[int, int]:
    """How many items two sequences share at the start, and how many of the others at the end."""
    start = _same(last, now)
    most = min(len(last), len(now)) - start
    return start, min(most, _same(last[::-1], now[::-1])) if most else 0


def _others(items: Parts[T], shared: set[int]) -> tuple[T, ...]:
    return tuple(chain.from_iterable([part for part in items.parts if id(part) not in shared]))


def _same(one: Sequence[T], other: Sequence[T]) -> int:
    """How many items are the same from the start."""
    found = list(map(is_, one, other))
    return found.index(False) if False in found else len(found)


class Ranking(Generic[T]):
    """Items in the order of a key that is different for each."""

    def __init__(self, key: Callable[[T], Any]) -> None:
        self._key = key
        self._firsts: list[Any] = []
        self._parts: list[tuple[T, ...]] = []
        self._items: Parts[T] = Parts()

    def fill(self, items: Iterable[T]) -> None:
        """These items and no others."""
        ordered = tuple(sorted(items, key=self._key))
        self._parts = [ordered[at : at + _PART] for at in range(0, len(ordered), _PART)]
        self._firsts = [self._key(part[0]) for part in self._parts]
        self._items = Parts(self._parts)

    def change(self, gone: Sequence[T], came: Sequence[T]) -> None:
        """Without some of its items, and with others."""
        if len(gone) + len(came) > 8 + len(self._items) // 16:
            without = {id(one) for one in gone}
            self.fill([*(one for one in self._items if id(one) not in without), *came])
            return
        for one in gone:
            number, place = self._find(one)
            part = self._parts[number]
            assert part[place] is one
            self._put(number, part[:place] + part[place + 1 :])
        for one in came:
            number, place = self._find(one)
            part = self._parts[number] if self._parts else ()
            self._put(number, (*part[:place], one, *part[place:]))
        if gone or came:
            self._items = Parts(self._parts)

    def _find(self, one: T) -> tuple[int, int]:
        """The part that an item belongs to, and its place there."""
        key = self._key(one)
        number = max(0, bisect_right(self._firsts, key) - 1)
        return number, bisect_left(self._parts[number], key, key=self._key) if self._parts else 0

    def _put(self, number: int, part: tuple[T, ...]) -> None:
        """Another part in place of one; none if nothing is in it, two if it is too long."""
        middle = len(part) // 2 if len(part) > 2 * _PART else len(part)
        found = [one for one in (part[:middle], part[middle:]) if one]
        self._parts[number : number + 1] = found
        self._firsts[number : number + 1] = [self._key(one[0]) for one in found]

    @property
    def items(self) -> Parts[T]:
        """All of them in order."""
        return self._items
