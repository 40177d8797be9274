"""HTTPRoutes and GRPCRoutes do not share hosts of a listener: the older route stays, the other is not attached there.

In: the parents of all routes of both kinds. Out: the same without the attachments that are lost, and what is said of
it. Source: Gateway API, GRPCRoute: exactly one of two routes of different kinds is accepted if their hosts meet.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from xds_server.attach.index import age
from xds_server.attach.parents import Attachment, Parent
from xds_server.diagnostics import Diagnostic
from xds_server.model.object import Object
from xds_server.types import Condition, Key

KINDS = ("HTTPRoute", "GRPCRoute")
Attaching = tuple[Object, tuple[Parent, ...]]
_Place = tuple[Key, int]
_Claim = tuple[_Place, str]


@dataclass(slots=True)
class _Taken:
    """The hosts of one listener that routes of one kind have, each with the first route that took it.

    `below` has the same for the hosts that a wildcard would cover.
    """

    hosts: dict[str, tuple[int, Object]] = field(default_factory=dict)
    below: dict[str, tuple[int, Object]] = field(default_factory=dict)

    def take(self, hosts: Iterable[str], route: tuple[int, Object]) -> None:
        """Give hosts to a route; its number says how early it came."""
        for host in hosts:
            self.hosts.setdefault(host, route)
            for wider in _wider(host):
                self.below.setdefault(wider, route)

    def first(self, hosts: Iterable[str]) -> tuple[int, Object] | None:
        """The earliest route with a host that one of these meets."""
        found = [
            one
            for host in hosts
            for one in (self.below.get(host), *(self.hosts.get(other) for other in (host, *_wider(host))))
            if one is not None
        ]
        return min(found, key=lambda one: one[0], default=None)


def _wider(host: str) -> Iterator[str]:
    """The wildcards that cover a host, itself not among them."""
    rest = host.removeprefix("*.")
    while rest := rest.partition(".")[2]:
        yield f"*.{rest}"
    if host != "*":
        yield "*"


class Claims:
    """Which hosts of listeners are claimed by which kinds of routes, kept from call to call."""

    def __init__(self) -> None:
        self._claims: dict[Key, set[_Claim]] = {}
        self._hosts: dict[tuple[_Place, str], Counter[str]] = defaultdict(Counter)
        self._below: dict[tuple[_Place, str], Counter[str]] = defaultdict(Counter)

    def change(self, key: Key, parents: Iterable[Parent]) -> bool:
        """A route claims what its parents say. True if that, or what it claimed before, meets a route of another kind."""
        now = {
            ((one.gateway.key, one.listener.number), host)
            for parent in parents
            for one in parent.attachments
            for host in one.hostnames
        }
        before = self._claims.pop(key, set())
        self._count(key.kind, before - now, -1)
        self._count(key.kind, now - before, 1)
        if now:
            self._claims[key] = now
        return any(self._is_met(key.kind, place, host) for place, host in before | now)

    def _count(self, kind: str, claims: Iterable[_Claim], by: int) -> None:
        for place, host in claims:
            self._hosts[place, kind][host] += by
            for wider in _wider(host):
                self._below[place, kind][wider] += by

    def _is_met(self, kind: str, place: _Place, host: str) -> bool:
        others = [(place, other) for other in KINDS if other != kind]
        return any(
            self._below[one][host] > 0 or any(self._hosts[one][name] > 0 for name in (host, *_wider(host)))
            for one in others
        )


def exclusive(routes: Sequence[Attaching]) -> tuple[tuple[Attaching, ...], tuple[Diagnostic, ...]]:
    """Let every host of a listener belong to one kind of route. The order of `routes` is kept."""
    taken: dict[tuple[Key, int, str], _Taken] = defaultdict(_Taken)
    kinds = tuple(sorted({route.key.kind for route, _ in routes}))
    if len(kinds) < 2:
        return tuple(routes), ()
    kept: dict[Key, tuple[Parent, ...]] = {}
    problems: list[Diagnostic] = []
    ordered = sorted(routes, key=lambda one: (*age(one[0]), one[0].key.kind))
    for number, (route, parents) in enumerate(ordered):
        others = tuple(kind for kind in kinds if kind != route.key.kind)
        kept[route.key] = tuple(
            _without_taken((number, route), parent, (taken, others), problems) for parent in parents
        )
    return tuple((route, kept[route.key]) for route, _ in routes), tuple(problems)


def _without_taken(
    claim: tuple[int, Object],
    parent: Parent,
    held: tuple[dict[tuple[Key, int, str], _Taken], tuple[str, ...]],
    problems: list[Diagnostic],
) -> Parent:
    free: list[Attachment] = []
    reason, (taken, others), route = "", held, claim[1]
    for one in parent.attachments:
        place = one.gateway.key, one.listener.number
        found = [first for kind in others if (first := taken[(*place, kind)].first(one.hostnames)) is not None]
        if not found:
            taken[(*place, route.key.kind)].take(one.hostnames, claim)
            free.append(one)
        else:
            _, other = min(found, key=lambda first: first[0])
            reason = f"on listener {one.listener.spec.name} its hosts belong to {other.key}, which is of another kind"
    if not reason:
        return parent
    problems.append(route.diagnose("A110", "parentRefs", parent.number, reason=reason))
    accepted = parent.accepted if free else Condition("Accepted", False, "HostnameConflict", reason)
    return replace(parent, attachments=tuple(free), accepted=accepted)
