"""What differs, as JSON and as lines.

In: changes of objects and of resources. Out: JSON values, and lines of text with both places of every leaf.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from xds_server.changes.leaves import ABSENT, Leaf
from xds_server.changes.objects import ObjectChange
from xds_server.changes.resources import ResourceChange
from xds_server.diagnostics import Span

Json = dict[str, Any]
_LONGEST = 120


def objects_view(changes: Iterable[ObjectChange]) -> list[Json]:
    """Changes of objects."""
    return [
        {
            "object": one.name,
            "change": one.what,
            **_places(one.old_place, one.new_place),
            "changes": [{**_leaf(item.leaf), **_places(item.old_place, item.new_place)} for item in one.changes],
        }
        for one in changes
    ]


def resources_view(changes: Iterable[ResourceChange]) -> list[Json]:
    """Changes of resources."""
    return [
        {
            "gateway": one.gateway,
            "type": one.type,
            "name": one.name,
            "change": one.what,
            "changes": [_leaf(leaf) for leaf in one.leaves],
            "madeBy": [str(origin) for origin in one.made_by],
        }
        for one in changes
    ]


def _leaf(leaf: Leaf) -> Json:
    sides = {"old": leaf.old, "new": leaf.new}
    return {"path": leaf.path, **{side: value for side, value in sides.items() if value is not ABSENT}}


def _places(old: Span | None, new: Span | None) -> Json:
    return ({"oldPlace": str(old)} if old else {}) | ({"newPlace": str(new)} if new else {})


def lines(view: Mapping[str, Any]) -> Iterator[str]:
    """`objects` and `resources` of a view as text."""
    for one in view["objects"]:
        yield f"{one['change']:8}{one['object']} ({_between(one.get('oldPlace'), one.get('newPlace'))})"
        yield from (f"    {_words(item)}" for item in one["changes"])
    for one in view.get("resources", ()):
        yield f"{one['change']:8}{one['type']} {one['name']} of {one['gateway']}"
        yield from (f"    {_words(item)}" for item in one["changes"])


def _words(item: Mapping[str, Any]) -> str:
    old, new = _side(item, "old"), _side(item, "new")
    return f"{item['path'] or 'all of it'}: {old} -> {new}"


def _side(item: Mapping[str, Any], side: str) -> str:
    if side not in item:
        return "(not there)"
    text = json.dumps(item[side], ensure_ascii=False)
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    place = item.get(f"{side}Place")
    return f"{shown} ({place})" if place else shown


def _between(old: str | None, new: str | None) -> str:
    return " -> ".join(dict.fromkeys(one for one in (old, new) if one))
