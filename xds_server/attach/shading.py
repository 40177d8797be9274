"""Matches that no request can reach, because another one comes first wherever they stand.

In: the routes of every virtual host in their order. Out: a warning for each match that is in the shade on all of its
hosts, with both places. Two cases are seen, each in one pass: an equal match, and a match for every path before
others. Whether one expression covers another is not asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from xds_server.attach.index import Index
from xds_server.attach.routes import SortKey
from xds_server.diagnostics import Diagnostic
from xds_server.graph import Match, PathType, Route
from xds_server.model.object import Object
from xds_server.types import GATEWAY_GROUP

_EVERY_PATH = frozenset(f"{start}{middle}{end}" for start in ("", "^") for middle in (".*", "/.*") for end in ("", "$"))
Place = tuple[str, str, str, int, int]
"""A match: kind, namespace and name of its route, number of its rule, its own number."""


@dataclass(frozen=True, slots=True)
class Shade:
    """Of one virtual host: how often each match stands there, how often in the shade, and by which one and why."""

    hosts: Mapping[Place, int]
    shaded: Mapping[Place, int]
    by: Mapping[Place, tuple[Place, str]]


def shade_of(routes: Iterable[tuple[SortKey, Route]]) -> Shade:
    """Look at the routes of one virtual host, which are in order."""
    first: dict[Match, Place] = {}
    by: dict[Place, tuple[Place, str]] = {}
    hosts: Counter[Place] = Counter()
    shaded: Counter[Place] = Counter()
    every: Place | None = None
    for order, route in routes:
        place, share = _place(order)
        if share:
            continue
        match = route.match if route.match.below is None else replace(route.match, below=None)
        hosts[place] += 1
        known = first.setdefault(match, place)
        if known != place:
            by.setdefault(place, (known, "has the same match and comes first"))
            shaded[place] += 1
        elif every is not None and match.method != "CONNECT":
            by.setdefault(place, (every, "fits every path and comes first"))
            shaded[place] += 1
        if every is None and _fits_everything(match):
            every = place
    return Shade(hosts, shaded, by)


def shading_problems(shaded: Iterable[Shade], every: Callable[[], Iterable[Shade]], index: Index) -> list[Diagnostic]:
    """A warning for every match that is nowhere in the light, given the hosts with shade and then all of them.

    What a cell derived is not the user's to order.
    """
    counts: Counter[Place] = Counter()
    why: dict[Place, tuple[Place, str]] = {}
    for shade in shaded:
        counts.update(shade.shaded)
        for place, first in shade.by.items():
            why.setdefault(place, first)
    shades = tuple(every()) if counts else ()
    found = []
    for place, count in counts.items():
        item, (by, words) = _route(place, index), why[place]
        if not item.derived and count == sum(shade.hosts.get(place, 0) for shade in shades):
            other = _route(by, index)
            where = other.source.value(*other.body, "rules", by[3], "matches", by[4])
            reason = f"{other.key}, rule {by[3]}, at {where} {words}"
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
