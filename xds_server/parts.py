"""Large collections of which most is shared with the ones before: sequences in parts, mappings with changes on top.

In: what is in them, or a collection and what is different. Out: frozen collections that cost what is different, not what is
in them. They behave like the tuples and dicts that they stand for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, TypeVar, overload

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")
_GONE: Any = object()
_SMALL = 64
_SHARE = 64  # changes are merged into what they are on top of when they are more than this part of it


class Parts(Sequence[T]):
    """Items in the order of parts, which other sequences may have, too."""

    __slots__ = ("_length", "parts")

    def __init__(self, parts: Iterable[tuple[T, ...]] = ()) -> None:
        self.parts = tuple(parts)
        self._length = sum(map(len, self.parts))

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        return chain.from_iterable(self.parts)

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[T, ...]: ...
    def __getitem__(self, at: int | slice) -> T | tuple[T, ...]:
        return tuple(self)[at]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Parts):
            alike = [len(part) for part in self.parts] == [len(part) for part in other.parts]
            return self.parts == other.parts if alike else tuple(self) == tuple(other)
        return tuple(self) == other if isinstance(other, tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


def in_parts(items: Iterable[T]) -> Parts[T]:
    """The same items, in the parts that they are in."""
    return items if isinstance(items, Parts) else Parts((tuple(items),) if items else ())


class Gathered(Sequence[T]):
    """What is in several collections, each item once, in the order of the first. Put together when somebody looks."""

    __slots__ = ("_found", "_of")

    def __init__(self, of: Iterable[Iterable[T]]) -> None:
        self._of: tuple[Iterable[T], ...] = tuple(of)
        self._found: tuple[T, ...] | None = None

    def _all(self) -> tuple[T, ...]:
        if self._found is None:
            self._found = tuple(dict.fromkeys(chain.from_iterable(self._of)))
            self._of = ()
        return self._found

    def __len__(self) -> int:
        return len(self._all())

    def __iter__(self) -> Iterator[T]:
        return iter(self._all())

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[T, ...]: ...
    def __getitem__(self, at: int | slice) -> T | tuple[T, ...]:
        return self._all()[at]

    def __eq__(self, other: object) -> bool:
        return self._all() == tuple(other) if isinstance(other, Gathered | tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._all())

    def __repr__(self) -> str:
        return repr(self._all())


class Layers(Mapping[K, V]):
    """A mapping on top of another one, which both stay as they are."""

    __slots__ = ("_below", "_length", "_top")

    def __init__(self, items: Mapping[K, V] | None = None) -> None:
        self._below: dict[K, V] = dict(items or {})
        self._top: dict[K, V] = {}
        self._length = len(self._below)

    def with_changes(self, gone: Iterable[K], came: Mapping[K, V]) -> Layers[K, V]:
        """The same without some of its keys, and with others."""
        top, length = dict(self._top), self._length
        for key in gone:
            if key in self and top.get(key) is not _GONE:
                top[key] = _GONE
                length -= 1
        for key, value in came.items():
            length += top.get(key) is _GONE or key not in self
            top[key] = value
        found: Layers[K, V] = Layers()
        found._below, found._top, found._length = self._below, top, length
        if len(top) > _SMALL + len(self._below) // _SHARE:
            found._below, found._top = dict(found.items()), {}
        return found

    def __getitem__(self, key: K) -> V:
        value: V = self._top[key] if key in self._top else self._below[key]
        if value is _GONE:
            raise KeyError(key)
        return value

    def get(self, key: K, default: Any = None) -> Any:
        """The value of a key, if it has one."""
        value = self._top[key] if key in self._top else self._below.get(key, _GONE)
        return default if value is _GONE else value

    def __contains__(self, key: object) -> bool:
        return self._top[key] is not _GONE if key in self._top else key in self._below

    def __iter__(self) -> Iterator[K]:
        yield from (key for key in self._below if key not in self._top)
        yield from (key for key, value in self._top.items() if value is not _GONE)

    def __len__(self) -> int:
        return self._length

    def __repr__(self) -> str:
        return repr(dict(self))


class Side(Mapping[K, V]):
    """Mappings without a key in common, side by side."""

    __slots__ = ("_of",)

    def __init__(self, *of: Mapping[K, V]) -> None:
        self._of = of

    def __getitem__(self, key: K) -> V:
        for one in self._of:
            if key in one:
                return one[key]
        raise KeyError(key)

    def __iter__(self) -> Iterator[K]:
        return chain.from_iterable(self._of)

    def __len__(self) -> int:
        return sum(map(len, self._of))

    def __repr__(self) -> str:
        return repr(dict(self))


class Over(Mapping[K, V]):
    """A mapping with entries that count in place of its own."""

    __slots__ = ("_below", "_top")

    def __init__(self, below: Mapping[K, V], top: Mapping[K, V]) -> None:
        self._below, self._top = below, top

    def __getitem__(self, key: K) -> V:
        return self._top[key] if key in self._top else self._below[key]

    def __contains__(self, key: object) -> bool:
        return key in self._top or key in self._below

    def __iter__(self) -> Iterator[K]:
        return chain(self._top, (key for key in self._below if key not in self._top))

    def __len__(self) -> int:
        return len(self._below) + sum(key not in self._below for key in self._top)

    def __repr__(self) -> str:
        return repr(dict(self))
