"""`kind: List` with `items`, as `kubectl get -o yaml` writes it: each item becomes a document of its own.

In: one document. Out: itself, or its items with their places. An item with a fault takes no other with it; a fault
outside of all items belongs to every one, since nobody can know what it changes. Refused: items that are no
mappings.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from xds_server.load.document import Fault, Item
from xds_server.load.places import Branch, Tree, mark_of

_MAX_NESTING = 8


def expand(item: Item, faults: Sequence[Fault] = (), level: int = 0) -> tuple[tuple[Item, ...], list[Fault]]:
    """The documents that an item means, and what is wrong with a List. `faults` are those of the item itself."""
    if item.value.get("kind") != "List":
        return (item,), []
    values = item.value.get("items")
    tree = item.tree.child("items") if isinstance(item.tree, Branch) else None
    if level >= _MAX_NESTING:
        return (), [Fault("L113", mark_of(item.tree), {"reason": f"more than {_MAX_NESTING} Lists in each other"})]
    if values is None:
        return (), []
    if not isinstance(values, list) or not isinstance(tree, Branch) or not isinstance(tree.children, list):
        return (), [Fault("L113", mark_of(tree or item.tree), {"reason": "items is no list"})]
    return _items(values, tree.children, faults, level)


def _items(
    values: list[Any], trees: list[Tree], faults: Sequence[Fault], level: int
) -> tuple[tuple[Item, ...], list[Fault]]:
    items: list[Item] = []
    wrong: list[Fault] = []
    owned = _by_item(trees, faults)
    for position, (value, tree) in enumerate(zip(values, trees, strict=True)):
        if not isinstance(value, dict):
            wrong.append(Fault("L113", mark_of(tree), {"reason": f"item {position} is no mapping"}))
            continue
        mine = owned[position]
        found, more = expand(Item(value, tree, broken=bool(mine)), mine, level + 1)
        items += found
        wrong += more
    return tuple(items), wrong


def _by_item(trees: list[Tree], faults: Sequence[Fault]) -> list[list[Fault]]:
    """The faults of each item, by the order of places in the text. One before the first item is one of every item."""
    starts = [mark_of(tree) for tree in trees]
    owned: list[list[Fault]] = [[] for _ in trees]
    for fault in faults:
        index = bisect_right(starts, fault.mark) - 1
        for mine in owned if index < 0 or starts != sorted(starts) else [owned[index]]:
            mine.append(fault)
    return owned
