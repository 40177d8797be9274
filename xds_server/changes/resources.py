"""What differs between what the Envoys of gateways would get: resources that come, go or change, leaf by leaf.

In: two compilations. Out: `ResourceChange`s by gateway, type and name. Equal bytes are not opened. Secrets are keyed hashes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xds_server.changes.leaves import Leaf, compare
from xds_server.changes.objects import What
from xds_server.changes.secrets import Hasher
from xds_server.observe.resources_view import hashed_view, short_type
from xds_server.snapshot.resource import TYPES, Resource, Snapshot
from xds_server.types import Origin


@dataclass(frozen=True, slots=True)
class ResourceChange:
    """One resource of one gateway, and the documents behind it as it is now (or was, if it is gone)."""

    gateway: str
    type: str
    name: str
    what: What
    leaves: tuple[Leaf, ...] = ()
    made_by: tuple[Origin, ...] = ()


def resource_changes(
    old: Mapping[str, Snapshot], new: Mapping[str, Snapshot], hasher: Hasher
) -> tuple[ResourceChange, ...]:
    """All resources that differ."""
    nothing = Snapshot("", {}, {})
    found: list[ResourceChange] = []
    for gateway in sorted(old.keys() | new.keys()):
        before, after = old.get(gateway, nothing), new.get(gateway, nothing)
        for type_url in TYPES:
            if before.versions.get(type_url) != after.versions.get(type_url):
                one, other = before.get(type_url), after.get(type_url)
                names = sorted(one.keys() | other.keys())
                changes = (_change(gateway, name, one.get(name), other.get(name), hasher) for name in names)
                found += [change for change in changes if change is not None]
    return tuple(found)


def _change(
    gateway: str, name: str, old: Resource | None, new: Resource | None, hasher: Hasher
) -> ResourceChange | None:
    if old is None or new is None:
        one = new or old
        assert one is not None
        what: What = "added" if old is None else "removed"
        return ResourceChange(gateway, short_type(one.type_url), name, what, (), tuple(one.origins))
    if old.version == new.version:
        return None
    leaves = tuple(compare(_content(old, hasher), _content(new, hasher)))
    return ResourceChange(gateway, short_type(new.type_url), name, "changed", leaves, tuple(new.origins))


def _content(resource: Resource, hasher: Hasher) -> dict[str, Any]:
    return hashed_view(resource, hasher.word)
