"""Where every value of a document is written, kept small: a tree of packed marks beside the tree of values.

In: line, column and length of each value and key. Out: `Positions` that make a `Span` only when asked for one.
Ten thousand documents hold about a million places; as spans in dictionaries by path they would cost more time
and memory than the documents. Lines are relative to the piece of text that was parsed, so that a piece that
moves down the file need not be parsed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from xds_server.diagnostics import Path, Positions, Span

_BITS = 32
_MASK = (1 << _BITS) - 1


def pack(line: int, column: int, length: int) -> int:
    """A place as one number. Line and column count from 0; `length` is in columns."""
    return (line << 2 * _BITS) | (min(column, _MASK) << _BITS) | min(max(length, 1), _MASK)


def span_of(file: str, base: int, mark: int) -> Span:
    """The span of a packed place in a piece of text that starts on line `base` (from 0)."""
    return Span(file, base + (mark >> 2 * _BITS) + 1, (mark >> _BITS & _MASK) + 1, mark & _MASK)


class Branch:
    """The places of a mapping or list: its own, those of its children, and for a mapping those of its keys."""

    __slots__ = ("children", "keys", "mark")

    def __init__(self, mark: int, children: list[Tree] | dict[str, Tree], keys: dict[str, int]) -> None:
        self.mark = mark
        self.children = children
        self.keys = keys

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Branch):
            return NotImplemented
        return self.mark == other.mark and self.keys == other.keys and self.children == other.children

    __hash__ = None  # type: ignore[assignment]

    def child(self, part: str | int) -> Tree | None:
        """The places of one child; None if there is none."""
        children = self.children
        if isinstance(children, dict):
            return children.get(part) if isinstance(part, str) else None
        return children[part] if isinstance(part, int) and 0 <= part < len(children) else None


Tree = int | Branch
"""A packed place for a scalar, a `Branch` for a mapping or list."""


class Later:
    """The places of a document that nobody has asked for yet, but for its own: they are read when somebody does."""

    __slots__ = ("_read", "_tree", "mark")

    def __init__(self, mark: int, read: Callable[[], Tree]) -> None:
        self.mark = mark
        self._read: Callable[[], Tree] | None = read
        self._tree: Tree = mark

    @property
    def tree(self) -> Tree:
        """All places."""
        if (read := self._read) is not None:
            self._tree = read()
            self._read = None
        return self._tree


def mark_of(tree: Tree | Later) -> int:
    """The packed place of a value."""
    return tree if isinstance(tree, int) else tree.mark


@dataclass(frozen=True, slots=True, eq=False)
class Places(Mapping[Path, Span]):
    """The spans of one document by path: of its values, or (`of_keys`) of the keys of its mappings."""

    file: str
    base: int
    source: Tree | Later
    of_keys: bool

    @property
    def tree(self) -> Tree:
        """The places, packed."""
        return self.source.tree if isinstance(self.source, Later) else self.source

    def __getitem__(self, path: Path) -> Span:
        mark = self._key_mark(path) if self.of_keys else self._value_mark(path)
        if mark is None:
            raise KeyError(path)
        return span_of(self.file, self.base, mark)

    def __iter__(self) -> Iterator[Path]:
        waiting: list[tuple[Path, Tree]] = [((), self.tree)]
        while waiting:
            path, tree = waiting.pop()
            if not self.of_keys or self._key_mark(path) is not None:
                yield path
            if isinstance(tree, Branch):
                items: Any = tree.children.items() if isinstance(tree.children, dict) else enumerate(tree.children)
                waiting += [((*path, part), child) for part, child in items]

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Places):
            mine, theirs = (self.file, self.base, self.of_keys), (other.file, other.base, other.of_keys)
            return mine == theirs and self.tree == other.tree
        return Mapping.__eq__(self, other)

    __hash__ = None  # type: ignore[assignment]

    def _find(self, path: Path) -> Tree | None:
        tree: Tree | None = self.tree
        for part in path:
            if not isinstance(tree, Branch):
                return None
            tree = tree.child(part)
        return tree

    def _value_mark(self, path: Path) -> int | None:
        tree = self._find(path)
        return None if tree is None else mark_of(tree)

    def _key_mark(self, path: Path) -> int | None:
        if not path or not isinstance(path[-1], str):
            return None
        tree = self._find(path[:-1])
        return tree.keys.get(path[-1]) if isinstance(tree, Branch) else None


def positions_of(file: str, base: int, tree: Tree | Later) -> Positions:
    """The positions of a document whose places are `tree`, in a piece of text that starts on line `base` (from 0)."""
    start = span_of(file, base, mark_of(tree))
    return Positions(start, Places(file, base, tree, of_keys=False), Places(file, base, tree, of_keys=True))
