"""Matches that no request can reach, because another one comes first wherever they stand.

In: the routes of every virtual host in their order. Out: a warning for each match that is in the shade on all of its
hosts, with both places. Two cases are seen, each in one pass: an equal match, and a match for every path before
others. Whether one expression covers another is not asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from xds_server.attach.index import Index
from xds_server.attach.routes import SortKey
from xds_server.diagnostics import Diagnostic
from xds_server.graph import Match, PathType, Route
from xds_server.model.object import Object
from xds_server.types import GATEWAY_GROUP

_EVERY_PATH = frozenset(f"{start}{middle}{end}" for start in ("", "^") for middle in (".*", "/.*") for end in ("", "$"))
Place = tuple[str, str, str, int, int]
"""A match: kind, namespace and name of its route, number of its rule, its own number."""


@dataclass(slots=True)
class Shading:
    """What is known of all matches: on how many hosts they stand, and on how many of them in the shade."""

    hosts: dict[Place, int] = field(default_factory=dict)
    shaded: dict[Place, int] = field(default_factory=dict)
    by: dict[Place, tuple[Place, str]] = field(default_factory=dict)

    def look(self, routes: Iterable[tuple[SortKey, Route]]) -> None:
        """Note the routes of one virtual host, which are in order."""
        first: dict[Match, Place] = {}
        every: Place | None = None
        for order, route in routes:
            place, share = _place(order)
            if share:
                continue
            match = replace(route.match, below=None)
            self.hosts[place] = self.hosts.get(place, 0) + 1
            known = first.setdefault(match, place)
            if known != place:
                self._shade(place, known, "has the same match and comes first")
            elif every is not None and match.method != "CONNECT":
                self._shade(place, every, "fits every path and comes first")
            if every is None and _fits_everything(match):
                every = place

    def _shade(self, place: Place, by: Place, why: str) -> None:
        self.shaded[place] = self.shaded.get(place, 0) + 1
        self.by.setdefault(place, (by, why))

    def problems(self, index: Index) -> list[Diagnostic]:
        """A warning for every match that is nowhere in the light. What a cell derived is not the user's to order."""
        found = []
        for place, count in self.shaded.items():
            item, (by, why) = _route(place, index), self.by[place]
            if count == self.hosts[place] and not item.derived:
                first = _route(by, index)
                where = first.source.value(*first.body, "rules", by[3], "matches", by[4])
                reason = f"{first.key}, rule {by[3]}, at {where} {why}"
                found.append(item.diagnose("A116", "rules", place[3], "matches", place[4], reason=reason))
        return found


def _place(order: SortKey) -> tuple[Place, int]:
    """The match that a sort key belongs to, and which of its shares it is."""
    namespace, name, kind, rule, match, share = order[-6:]
    return (str(kind), str(namespace), str(name), int(rule), int(match)), int(share)


def _route(place: Place, index: Index) -> Object:
    found = index.get(GATEWAY_GROUP, *place[:3])
    assert found is not None
    return found


def _fits_everything(match: Match) -> bool:
    if match.method or match.headers or match.query or match.cookies:
        return False
    # A prefix comes before other routes on the host only if it is the one of a GRPCRoute.
    return match.path in _EVERY_PATH if match.path_type is PathType.REGEX else match == Match()
