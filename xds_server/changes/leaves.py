"""What differs between two values of JSON: leaf by leaf, with the place of each in both.

In: two values. Out: `Leaf`s. Items of lists are paired by their `name`, where each has one of its own; else by what is equal
in both, so that one item more is one difference. Nothing is known here of what the values mean.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Final

from xds_server.diagnostics import Path


class _Absent:
    """There is no value."""

    def __repr__(self) -> str:
        return "(not there)"


ABSENT: Final = _Absent()


@dataclass(frozen=True, slots=True)
class Leaf:
    """One difference. `path` is for people; `old_at` and `new_at` lead to the values."""

    path: str
    old: Any
    new: Any
    old_at: Path
    new_at: Path


@dataclass(frozen=True, slots=True)
class _Place:
    path: str
    old: Path
    new: Path

    def key(self, name: str) -> _Place:
        plain = name.isidentifier() or not self.path
        shown = f"{self.path}.{name}".lstrip(".") if plain else f"{self.path}[{json.dumps(name)}]"
        return _Place(shown, (*self.old, name), (*self.new, name))

    def item(self, shown: str | int, old: int, new: int) -> _Place:
        return _Place(f"{self.path}[{shown}]", (*self.old, old), (*self.new, new))


def compare(old: Any, new: Any) -> list[Leaf]:
    """All differences, in the order of the newer value."""
    return list(_compare(old, new, _Place("", (), ())))


def _compare(old: Any, new: Any, place: _Place) -> Iterator[Leaf]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in dict.fromkeys((*new, *old)):
            yield from _compare(old.get(name, ABSENT), new.get(name, ABSENT), place.key(name))
    elif isinstance(old, list) and isinstance(new, list):
        yield from _lists(old, new, place)
    elif type(old) is not type(new) or old != new:
        yield Leaf(place.path, old, new, place.old, place.new)


def _lists(old: Sequence[Any], new: Sequence[Any], place: _Place) -> Iterator[Leaf]:
    olds, news = _names(old), _names(new)
    if olds is None or news is None:
        yield from _by_content(old, new, place)
        return
    for name in dict.fromkeys((*news, *olds)):
        before, after = olds.get(name), news.get(name)
        old_at, new_at = (len(old) if before is None else before), (len(new) if after is None else after)
        inner = place.item(name, old_at, new_at)
        first = ABSENT if before is None else old[before]
        yield from _compare(first, ABSENT if after is None else new[after], inner)
    kept = [name for name in olds if name in news]
    order = [name for name in news if name in olds]
    if kept != order:
        yield Leaf(f"{place.path}: order", kept, order, place.old, place.new)


def _names(items: Sequence[Any]) -> dict[str, int] | None:
    """Where each name stands; None if an item has none, or two have one."""
    names = [item.get("name") if isinstance(item, Mapping) else None for item in items]
    found = {name: number for number, name in enumerate(names) if isinstance(name, str)}
    return found if len(found) == len(items) else None


def _by_content(old: Sequence[Any], new: Sequence[Any], place: _Place) -> Iterator[Leaf]:
    before, after = ([json.dumps(item, sort_keys=True, default=str) for item in items] for items in (old, new))
    for what, start, end, from_, to in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if what == "equal":
            continue
        for number in range(max(end - start, to - from_)):
            one, other = start + number, from_ + number
            shown = other if other < to else one
            first = old[one] if one < end else ABSENT
            yield from _compare(first, new[other] if other < to else ABSENT, place.item(shown, one, other))
