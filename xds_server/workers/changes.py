"""What differs between two snapshots, so that another process that has the first can make the second.

In: two snapshots; or one and what differs. Out: what differs; or the second snapshot, in which everything that did not
change is the very same object as before: streams look only at what is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from xds_server.snapshot.hosts import Hosts
from xds_server.snapshot.resource import Resource, Snapshot


@dataclass(frozen=True, slots=True)
class Change:
    """What differs in one gateway's snapshot. `types` are all that the second has, in its order; `hosts` None: as before.

    `gone` are names, and `came` resources that are new or others, by type.
    """

    gateway: str
    types: tuple[str, ...]
    gone: Mapping[str, tuple[str, ...]]
    came: Mapping[str, tuple[Resource, ...]]
    versions: Mapping[str, str]
    hosts: Hosts | None
    drain: float


def change_between(before: Snapshot | None, after: Snapshot) -> Change:
    """What differs."""
    was = before if before is not None else Snapshot(after.gateway, {}, {})
    gone: dict[str, tuple[str, ...]] = {}
    came: dict[str, tuple[Resource, ...]] = {}
    for type_url, new in after.resources.items():
        old = was.get(type_url)
        if old is new:
            continue
        if lost := tuple(name for name in old if name not in new):
            gone[type_url] = lost
        if others := tuple(one for name, one in new.items() if _is_other(old.get(name), one)):
            came[type_url] = others
    hosts = None if before is not None and before.hosts == after.hosts else after.hosts
    return Change(after.gateway, tuple(after.resources), gone, came, dict(after.versions), hosts, after.drain)


def changed(before: Snapshot | None, change: Change) -> Snapshot:
    """The second snapshot. ValueError if `before` cannot be the first."""
    was = before if before is not None else Snapshot(change.gateway, {}, {})
    if was.gateway != change.gateway:
        raise ValueError(f"a change of {change.gateway} is none of {was.gateway}")
    resources = {type_url: _changed(was.get(type_url), change, type_url) for type_url in change.types}
    hosts = change.hosts if change.hosts is not None else was.hosts
    return Snapshot(change.gateway, resources, change.versions, hosts, change.drain)


def _changed(old: Mapping[str, Resource], change: Change, type_url: str) -> Mapping[str, Resource]:
    gone, came = change.gone.get(type_url, ()), change.came.get(type_url, ())
    if not gone and not came:
        return old
    new = {**old, **{one.name: one for one in came}}
    for name in gone:
        del new[name]
    return dict(_in_order(new)) if any(one.name not in old for one in came) else new


def _in_order(named: Mapping[str, Resource]) -> Iterator[tuple[str, Resource]]:
    """As snapshots are made: by name."""
    return iter(sorted(named.items()))


def _is_other(old: Resource | None, new: Resource) -> bool:
    """Not if only the documents that made it are others: those do not go to another process."""
    return old is not new and old != new
