"""HTTPRoutes and GRPCRoutes do not share hosts of a listener: the older route stays, the other is not attached there.

In: the parents of all routes of both kinds. Out: the same without the attachments that are lost, and what is said of
it. Source: Gateway API, GRPCRoute: exactly one of two routes of different kinds is accepted if their hosts meet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from xds_server.attach.hostnames import intersect
from xds_server.attach.index import age
from xds_server.attach.parents import Attachment, Parent
from xds_server.diagnostics import Diagnostic
from xds_server.model.object import Object
from xds_server.types import Condition, Key

Attaching = tuple[Object, tuple[Parent, ...]]
_Taken = dict[tuple[Key, int], list[tuple[Object, tuple[str, ...]]]]


def exclusive(routes: Sequence[Attaching]) -> tuple[tuple[Attaching, ...], tuple[Diagnostic, ...]]:
    """Let every host of a listener belong to one kind of route. The order of `routes` is kept."""
    taken: _Taken = defaultdict(list)
    kept: dict[Key, tuple[Parent, ...]] = {}
    problems: list[Diagnostic] = []
    for route, parents in sorted(routes, key=lambda one: (*age(one[0]), one[0].key.kind)):
        kept[route.key] = tuple(_without_taken(route, parent, taken, problems) for parent in parents)
    return tuple((route, kept[route.key]) for route, _ in routes), tuple(problems)


def _without_taken(route: Object, parent: Parent, taken: _Taken, problems: list[Diagnostic]) -> Parent:
    free: list[Attachment] = []
    reason = ""
    for one in parent.attachments:
        place = taken[one.gateway.key, one.listener.number]
        other = next((item for item, hosts in place if item.key.kind != route.key.kind and _meet(one, hosts)), None)
        if other is None:
            place.append((route, one.hostnames))
            free.append(one)
        else:
            reason = f"on listener {one.listener.spec.name} its hosts belong to {other.key}, which is of another kind"
    if not reason:
        return parent
    problems.append(route.diagnose("A110", "parentRefs", parent.number, reason=reason))
    accepted = parent.accepted if free else Condition("Accepted", False, "HostnameConflict", reason)
    return replace(parent, attachments=tuple(free), accepted=accepted)


def _meet(one: Attachment, hosts: tuple[str, ...]) -> bool:
    return any(intersect(first, second) for first in one.hostnames for second in hosts)
