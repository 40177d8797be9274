"""The routes of one hostname on one listener, in their order of precedence, and which of them are in the shade.

In: graph routes with their places in that order. Out: `Answers`, made once and compared fast. Virtual hosts are the same
objects again as long as their routes are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from operator import is_

from xds_server.attach.routes import SortKey
from xds_server.attach.shading import Shade, shade_of
from xds_server.graph import Match, Respond, Route, VirtualHost

_MISDIRECTED = Route("misdirected", Match(), Respond(421))
"""A request for another TLS listener than the one whose connection it came on (RFC 9110, 15.5.20)."""


class Answers:
    """Routes in order. Two are equal if their routes are."""

    def __init__(self, ranked: Iterable[tuple[SortKey, Route]]) -> None:
        # Each key is there once, so the order does not depend on who came first.
        self.ranked = tuple(sorted(ranked, key=lambda item: item[0]))

    @cached_property
    def routes(self) -> tuple[Route, ...]:
        """The routes alone."""
        return tuple(route for _, route in self.ranked)

    @cached_property
    def shade(self) -> Shade:
        """Which matches no request can reach here."""
        return shade_of(self.ranked)

    @cached_property
    def closed(self) -> Answers:
        """The same matches, all of which answer 500."""
        return Answers(
            (key, Route(one.name, one.match, Respond(500), (), one.origins, one.policies)) for key, one in self.ranked
        )

    @cached_property
    def _hash(self) -> int:
        return hash(tuple(route.name for route in self.routes))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Answers):
            return NotImplemented
        return self is other or self.routes == other.routes


NOTHING = Answers(())
MISDIRECTED = Answers([((), _MISDIRECTED)])


class Hosts:
    """The virtual hosts of one chain, kept from call to call."""

    def __init__(self) -> None:
        self._joined: dict[str, tuple[tuple[Answers, ...], Answers]] = {}
        self._made: dict[str, tuple[Answers, VirtualHost]] = {}

    def join(self, hostname: str, parts: Sequence[Answers]) -> Answers:
        """The answers of several listeners for one hostname."""
        if len(parts) < 2:
            return parts[0] if parts else NOTHING
        known = self._joined.get(hostname)
        given = tuple(parts)
        if known is None or len(known[0]) != len(given) or not all(map(is_, known[0], given)):
            known = self._joined[hostname] = given, Answers(item for one in parts for item in one.ranked)
        return known[1]

    def virtual_hosts(self, hosts: Mapping[str, Answers], closed: Collection[str]) -> tuple[VirtualHost, ...]:
        """One virtual host for all hostnames that have the same routes. Those of `closed` answer 500."""
        names: dict[Answers, list[str]] = {}
        for hostname in sorted(hosts):
            answers = hosts[hostname].closed if hostname in closed else hosts[hostname]
            names.setdefault(answers, []).append(hostname)
        made = {first: self._host(answers, first, tuple(more)) for answers, (first, *more) in names.items()}
        self._made = made
        self._joined = {hostname: one for hostname, one in self._joined.items() if hostname in hosts}
        return tuple(host for _, host in made.values())

    def _host(self, answers: Answers, hostname: str, aliases: tuple[str, ...]) -> tuple[Answers, VirtualHost]:
        known = self._made.get(hostname)
        if known is not None and known[0] is answers and known[1].aliases == aliases:
            return known
        return answers, VirtualHost(hostname, answers.routes, aliases)
