"""In which order changes reach one Envoy: additions before what uses them, removals after nothing uses them.

In: the snapshot that is wanted and the one before, and the state of the stream's channels. Out: which resources count
as wanted now, and whether a type has to wait. Clusters, then endpoints, then secrets, listeners and routes; a cluster
that goes away stays until listeners and routes without it were acknowledged, and a while longer for requests in flight.
Scopes, which connections to a former listener go on using, stay for as long as an Envoy lets such connections be.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from xds_server.serve.channel import Channel
from xds_server.serve.differences import Differences
from xds_server.serve.generations import Generations
from xds_server.serve.subscription import NO_NAMES, Names, with_names, without_names
from xds_server.snapshot.resource import (
    CLUSTER,
    ENDPOINTS,
    EXTENSION,
    HOST,
    LISTENER,
    ROUTES,
    SCOPES,
    SECRET,
    Resource,
    Snapshot,
)

HELD = (CLUSTER, ENDPOINTS, SECRET, EXTENSION, ROUTES, SCOPES)
"""The types of which nothing is taken away before listeners and routes stopped using it."""
USERS = (LISTENER, SCOPES, ROUTES, HOST)
DRAIN_MARGIN = 60.0
"""Seconds that scopes stay longer than connections to a former listener: Envoy begins to drain it when the new one is warm."""
Channels = Mapping[str, Channel]


@dataclass(slots=True)
class Order:
    """The order of delivery on one stream."""

    drain_delay: float
    snapshot: Snapshot | None = None
    held: defaultdict[str, dict[str, Resource]] = field(default_factory=lambda: defaultdict(dict))
    """What the client may still have of types in `HELD`, by name. Empty unless `busy`."""
    differences: Differences = field(default_factory=Differences)
    busy: bool = False
    """True while anything is held, or lingers in a channel."""
    waiting: Names = NO_NAMES
    """The types of which something waits for new clusters."""
    _due: dict[tuple[str, str], float] = field(default_factory=dict)
    _generations: Generations = field(default_factory=Generations)

    def replace(self, snapshot: Snapshot, channels: Channels) -> None:
        """A newer snapshot is wanted. What it no longer holds, and the client may have, is held for a while."""
        before, self.snapshot = self.snapshot, snapshot
        gone = self.differences.gone(before, snapshot, HELD) if before is not None else {}
        if gone or self.busy:
            self._hold(before, snapshot, gone, channels)
        for type_url, channel in channels.items():
            if channel.unclear:
                channel.reconsider(self.wanted(type_url))

    def _hold(
        self, before: Snapshot | None, snapshot: Snapshot, gone: Mapping[str, list[Resource]], channels: Channels
    ) -> None:
        """Keep for a while what goes away and may be in use; what comes back is not kept any more."""
        self.busy = True
        used = self._used(before, channels) if before is not None and gone else set[tuple[str, str]]()
        if before is not None and SCOPES in gone:
            self._pass_over(before, [one.name for one in gone[SCOPES]], used, channels)
        for type_url in HELD:
            held, new = self.held[type_url], snapshot.get(type_url)
            for name in [name for name in held if name in new]:
                del held[name]
                self._due.pop((type_url, name), None)
            held.update({one.name: one for one in gone.get(type_url, ()) if (type_url, one.name) in used})

    def _pass_over(self, before: Snapshot, gone: list[str], used: set[tuple[str, str]], channels: Channels) -> None:
        """Scopes of a listener that the client was never sent, and their tables, are of no use to it."""
        for name in self._generations.replace(before, gone, channels[LISTENER], channels[SCOPES]):
            used.discard((SCOPES, name))
            used -= {need for need in before.get(SCOPES)[name].needs if not channels[need[0]].known.get(need[1])}

    def _used(self, before: Snapshot, channels: Channels) -> set[tuple[str, str]]:
        """Of a snapshot that goes, what the client may have, and what that refers to.

        A client that has a cluster may ask for its endpoints only now, and for the table of a listener just so.
        """
        used: set[tuple[str, str]] = set()
        pending = [
            (url, name) for url, channel in channels.items() for name, version in channel.known.items() if version
        ]
        while pending:
            type_url, name = pending.pop()
            if (type_url, name) not in used:
                used.add((type_url, name))
                one = before.get(type_url).get(name) or self.held.get(type_url, {}).get(name)
                pending += one.needs if one is not None else ()
                pending += [(ENDPOINTS, name)] if type_url == CLUSTER else []
        return used

    def wanted(self, type_url: str) -> Mapping[str, Resource]:
        """What the client shall have of a type now."""
        assert self.snapshot is not None
        current = self.snapshot.get(type_url)
        held = self.held.get(type_url) if self.busy else None
        return self.differences.with_held(held, current) if held else current

    def served(self, channel: Channel) -> Mapping[str, Resource]:
        """What the client of a channel shall have now: of virtual hosts not all."""
        if self.snapshot is not None and not self.busy and channel.on_demand is None:
            return self.snapshot.get(channel.type_url)
        wanted = self.wanted(channel.type_url)
        if channel.on_demand is None or self.snapshot is None:
            return wanted
        return channel.on_demand.served(wanted, channel.known, self.snapshot.hosts)

    def ready(
        self, channel: Channel, lacking: list[Resource], channels: Channels, peers: Sequence[Channels]
    ) -> list[Resource]:
        """Those that can be sent now: they use no cluster that the client has not acknowledged, however long it takes.

        `peers` are the channels of further streams of the same Envoy.
        """
        if not lacking or channel.type_url not in USERS:
            return lacking
        unsent, pending = self._pending((channels, *peers))
        if not pending:
            return lacking
        known = channels[ROUTES].known
        # A table that the client never had is one that a listener waits for, and so are scopes that it has: then they
        # may not wait themselves for clusters to be warm, only for them to be sent.
        asked = {one.name for one in lacking if channel.type_url == ROUTES and one.name not in known}
        asked |= channel.forced if channel.type_url == SCOPES else set()
        ready = [one for one in lacking if not self._uses(one, unsent if one.name in asked else pending, known)]
        if len(ready) < len(lacking):
            self.waiting = with_names(self.waiting, (channel.type_url,))
        return ready

    def _pending(self, streams: Iterable[Channels]) -> tuple[set[str], set[str]]:
        """Clusters that the client may lack, and will have if it is waited for: those not sent, and all."""
        unsent: set[str] = set()
        sent: set[str] = set()
        for channels in streams:
            clusters = channels.get(CLUSTER)
            if clusters is None or not clusters.requested:
                continue
            if clusters.in_flight is not None or not clusters.is_settled(self.wanted(CLUSTER)):
                unsent |= clusters.adds(clusters.lacking(self.wanted(CLUSTER)))
                sent |= clusters.in_flight.additions if clusters.in_flight else frozenset()
        return unsent, unsent | sent

    def _uses(self, resource: Resource, pending: AbstractSet[str], tables: Mapping[str, str]) -> bool:
        """True if a resource, or a table that the client lacks and will ask for because of it, uses one of the clusters."""
        for type_url, name in resource.needs:
            if type_url == CLUSTER and name in pending:
                return True
            if type_url == ROUTES and not tables.get(name):
                table = self.wanted(ROUTES).get(name)
                if table is not None and self._uses(table, pending, tables):
                    return True
        return False

    def follow(self, listeners: Iterable[Resource], channels: Channels) -> None:
        """These listeners are sent: their scopes go behind them once more, whatever the client has.

        A listener waits for the first scopes that come after it. Envoy would not ask for what it has for others.
        """
        names = {name for one in listeners for kind, name in one.needs if kind == SCOPES}
        if names:
            scopes = channels[SCOPES]
            scopes.forced = with_names(scopes.forced, names & self.wanted(SCOPES).keys())

    def scopes(self) -> Mapping[str, Mapping[str, Resource]]:
        """The scopes that the client has, and the tables that they lead to, by type; empty if there are none."""
        scopes, tables = self.wanted(SCOPES), self.wanted(ROUTES)
        led = {name: tables[name] for one in scopes.values() for _, name in one.needs if name in tables}
        return {SCOPES: scopes, ROUTES: led} if scopes else {}

    def resume(self, former: Mapping[str, Mapping[str, Resource]]) -> None:
        """The client may have what an earlier stream held for it."""
        assert self.snapshot is not None
        for kind, named in former.items():
            current = self.snapshot.get(kind)
            self.held[kind].update({name: one for name, one in named.items() if name not in current})
            self.busy = True

    def _lasting(self, channels: Channels) -> set[tuple[str, str]]:
        """What stays for connections to former listeners: scopes, and the tables that they lead to.

        Where scopes of an earlier stream lead is not known: it may be any table of that stream.
        """
        held, lingering = self.held[SCOPES], channels[SCOPES].lingering
        tables = {(ROUTES, name) for name in channels[ROUTES].lingering} if lingering else set()
        led = {need for one in held.values() for need in one.needs}
        return {(SCOPES, name) for name in (*held, *lingering)} | led | tables

    def _is_behind(self, channels: Channels) -> bool:
        """True if a listener that the client has, or may have, is in force in another version than the wanted one."""
        wanted, known = self.wanted(LISTENER), channels[LISTENER].known
        return any(known[name] not in ("", wanted[name].version) for name in known.keys() & wanted.keys())

    def _prune(self, now: float) -> None:
        """Let go of the scopes of too many changes, and of their tables when no connection has just chosen one."""
        held = self.held[SCOPES]
        old = [held.pop(name) for name in self._generations.surplus(held)]
        for one in old:
            self._due.pop((SCOPES, one.name), None)
        for need in {need for one in old for need in one.needs} - {need for one in held.values() for need in one.needs}:
            self._due[need] = now + self.drain_delay

    def release(self, channels: Channels, peers: Sequence[Channels], now: float) -> None:
        """Let go of what is held once nothing uses it and the delay has passed."""
        assert self.snapshot is not None
        self._prune(now)
        scope_delay = self.snapshot.drain + DRAIN_MARGIN
        lingering = [(type_url, name) for type_url in HELD for name in channels[type_url].lingering]
        going = lingering + [(type_url, name) for type_url, held in self.held.items() for name in held]
        self._due = {key: self._due[key] for key in going if key in self._due}
        streams, lasting = (channels, *peers), self._lasting(channels) if going else set()
        # A client that has not read of a cluster yet will ask for its endpoints.
        unread = channels[CLUSTER].in_flight is not None
        behind = bool(lasting) and any(self._is_behind(one) for one in streams)
        if (
            going
            and not unread
            and not behind
            and all(self._is_settled(one[user]) for one in streams for user in USERS)
        ):
            for key in going:
                self._due.setdefault(key, now + (scope_delay if key in lasting else self.drain_delay))
        else:
            # Nothing newer uses what is held. But a client that came back may ask for its listeners and routes late, and
            # new requests may need the scopes of a listener that is not the wanted one.
            for key in {*lingering, *lasting} if behind else set(lingering) - lasting:
                self._due.pop(key, None)
        for type_url, name in [key for key, due in self._due.items() if due <= now]:
            del self._due[type_url, name]
            self.held[type_url].pop(name, None)
            channels[type_url].lingering = without_names(channels[type_url].lingering, (name,))
        self.busy = any(self.held.values()) or any(channels[type_url].lingering for type_url in HELD)

    def _is_settled(self, user: Channel) -> bool:
        """True if the client took all of a type; a refused resource that is only held any more does not count."""
        assert self.snapshot is not None
        return user.is_quiet(self.served(user)) and not user.is_refusing(self.snapshot.get(user.type_url))

    def wake_at(self) -> float | None:
        """When `release` may change by time alone; None if never."""
        return min(self._due.values(), default=None)
