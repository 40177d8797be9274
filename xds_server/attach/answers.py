"""The routes of one hostname on one listener, in their order of precedence, and which of them are in the shade.

In: graph routes with their places in that order. Out: `Answers`, made once and compared fast. Virtual hosts are the same
objects again as long as their routes are.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import is_

from xds_server.attach.hostnames import owner
from xds_server.attach.routes import SortKey
from xds_server.attach.shading import Shade, shade_of
from xds_server.graph import Match, Respond, Route, VirtualHost
from xds_server.types import Key

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


@dataclass(frozen=True, slots=True)
class Listening:
    """One listener of a chain: its place, its hostname, what each host answers there, and whether all of it is closed."""

    place: tuple[Key, int]
    hostname: str
    answers: Mapping[str, Answers]
    closed: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """What a chain is to answer. `names` are the hostnames of all listeners of its port.

    The values of the features `followed` are needed by hosts of a chain together.
    """

    listeners: tuple[Listening, ...]
    names: tuple[str, ...]
    followed: frozenset[str]

    @property
    def given(self) -> object:
        """All of it but the answers."""
        return [(one.place, one.hostname, one.closed) for one in self.listeners], self.names, self.followed

    @property
    def elsewhere(self) -> frozenset[str]:
        """The names that belong to other chains of the port."""
        return frozenset(self.names) - {one.hostname for one in self.listeners}

    def hostnames(self) -> set[str]:
        """All that it may have to answer for."""
        return {name for one in self.listeners for name in (one.hostname, *one.answers)}

    def of(self, hostname: str) -> tuple[list[Answers], bool] | None:
        """What its listeners answer for a host, and whether it is closed. None if it is not theirs."""
        alone = len(self.names) == 1
        mine = [
            one
            for one in self.listeners
            if hostname in one.answers and (alone or owner(hostname, self.names) == one.hostname)
        ]
        # A listener with a hostname of its own owns it even without routes: wider listeners must not answer.
        if not mine and (alone or all(one.hostname != hostname for one in self.listeners)):
            return None
        return [one.answers[hostname] for one in mine], any(one.closed for one in mine)


class Hosts:
    """The virtual hosts of one chain, kept from call to call: one for all hostnames that have the same routes."""

    def __init__(self) -> None:
        self._given: object = None
        self._joined: dict[str, tuple[tuple[Answers, ...], Answers]] = {}
        self._answers: dict[str, tuple[Answers, Answers]] = {}
        self._made: dict[Answers, VirtualHost] = {}
        self._firsts: list[str] = []
        self._hosts: list[VirtualHost] = []
        self._shaded: dict[str, Shade] = {}
        self.values: Mapping[str, Mapping[object, None]] = {}
        """The different values of the features that are followed."""

    @property
    def shaded(self) -> Iterator[Shade]:
        """Of hosts with matches in the shade."""
        return (self._shaded[hostname] for hostname in sorted(self._shaded))

    @property
    def shades(self) -> Iterator[Shade]:
        """Of all hosts."""
        return (answers.shade for answers, _ in self._answers.values())

    def update(self, asked: Asked, changed: Collection[str]) -> tuple[VirtualHost, ...]:
        """The virtual hosts, where the listeners of the last call have other answers for these hosts only."""
        before = self._values_at(changed, asked.followed)
        if self._given != asked.given or not all(self._change(hostname, asked) for hostname in changed):
            self._fill(asked)
        elif self._values_at(changed, asked.followed) != before:
            self.values = _values(self._hosts, asked.followed)
        self._given = asked.given
        return tuple(self._hosts)

    def _fill(self, asked: Asked) -> None:
        """All hosts anew; those that are as they were are the same objects."""
        last, self._made, self._answers, self._shaded = self._made, {}, {}, {}
        self._joined = {hostname: one for hostname, one in self._joined.items() if hostname in asked.hostnames()}
        elsewhere, names = asked.elsewhere, dict[Answers, list[str]]()
        for hostname in sorted(asked.hostnames() | elsewhere):
            shown = MISDIRECTED if hostname in elsewhere else self._know(hostname, asked)
            if shown is not None:
                names.setdefault(shown, []).append(hostname)
        for shown, (first, *more) in names.items():
            known = last.get(shown)
            same = known is not None and known.routes is shown.routes and known.hostname == first
            same = same and known is not None and known.aliases == tuple(more)
            self._made[shown] = known if known is not None and same else VirtualHost(first, shown.routes, tuple(more))
        self._hosts = list(self._made.values())
        self._firsts = [host.hostname for host in self._hosts]
        self.values = _values(self._hosts, asked.followed)

    def _know(self, hostname: str, asked: Asked) -> Answers | None:
        """Note what a host answers: the answer is what is shown of it."""
        found = asked.of(hostname)
        if found is None:
            return None
        answers = self._join(hostname, found[0])
        shown = answers.closed if found[1] else answers
        self._answers[hostname] = answers, shown
        if answers.shade.shaded:
            self._shaded[hostname] = answers.shade
        return shown

    def _change(self, hostname: str, asked: Asked) -> bool:
        """One host anew. False if others have, or had, the same answers."""
        if hostname in asked.elsewhere:
            return True
        if hostname in self._answers:
            shown = self._answers.pop(hostname)[1]
            self._shaded.pop(hostname, None)
            if self._made[shown].hostname != hostname or self._made[shown].aliases:
                return False
            at = bisect_left(self._firsts, hostname)
            del self._made[shown], self._firsts[at], self._hosts[at]
        now = self._know(hostname, asked)
        if now is None:
            return True
        if now in self._made:
            return False
        at = bisect_left(self._firsts, hostname)
        self._made[now] = host = VirtualHost(hostname, now.routes)
        self._firsts.insert(at, hostname)
        self._hosts.insert(at, host)
        return True

    def _join(self, hostname: str, parts: Sequence[Answers]) -> Answers:
        """The answers of several listeners for one hostname."""
        if len(parts) < 2:
            return parts[0] if parts else NOTHING
        known = self._joined.get(hostname)
        given = tuple(parts)
        if known is None or len(known[0]) != len(given) or not all(map(is_, known[0], given)):
            known = self._joined[hostname] = given, Answers(item for one in parts for item in one.ranked)
        return known[1]

    def _values_at(
        self, hostnames: Iterable[str], followed: frozenset[str]
    ) -> list[tuple[str, str, tuple[object, ...]]]:
        """The values of followed features at these hosts."""
        shown = {name: self._made.get(self._answers[name][1]) for name in sorted(hostnames) if name in self._answers}
        return [
            (name, feature, tuple(values))
            for name, host in shown.items()
            for feature, values in (host.values.items() if host is not None else ())
            if feature in followed
        ]


def _values(hosts: Iterable[VirtualHost], followed: frozenset[str]) -> dict[str, dict[object, None]]:
    """The different values of features, in the order of hosts and routes."""
    found: dict[str, dict[object, None]] = {}
    for values in (host.values for host in hosts):
        for feature in values.keys() & followed:
            found.setdefault(feature, {}).update(values[feature])
    return found
