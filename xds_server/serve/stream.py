"""The protocol core: one stream of one Envoy, in either protocol, without I/O.

In: requests, snapshots, the time. Out: responses as bytes, ready to be written. Follows Envoy's xDS protocol
description: subscriptions, nonces, ACK and NACK, resuming with known versions, and make-before-break order. It opens
no socket, reads no clock and never sees the message of a resource.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from xds_server.serve.channel import DOUBTFUL, Channel, Sent
from xds_server.serve.on_demand import NO_ANSWERS, OnDemand
from xds_server.serve.order import HELD, Channels, Order
from xds_server.serve.requests import Request
from xds_server.serve.subscription import WILDCARD, Subscription
from xds_server.snapshot.resource import (
    CLUSTER,
    ENDPOINTS,
    HOST,
    LISTENER,
    SCOPES,
    TYPES,
    Resource,
    Snapshot,
    content_version,
)

_FULL_TYPES = (CLUSTER, LISTENER, SCOPES)
"""The types of which a response in the state of the world must hold everything."""
_WILDCARD_TYPES = (*_FULL_TYPES, HOST)
"""The types of which a first request without names asks for everything."""
_TYPE_LENGTH = 256
_PORTION = 4 * 1024 * 1024
"""Bytes of resources that go into one response, where a change may be sent in several."""
_UNSERVED_LIMIT = 32
"""Of so many types that are not served an empty first request is answered: their names are the client's words."""


class Encoder(Protocol):
    """Joins prepared bytes of resources into a response; shared by all streams."""

    def delta(self, sent: Sent, type_url: str) -> bytes:
        """A DeltaDiscoveryResponse."""

    def full(self, sent: Sent, type_url: str) -> bytes:
        """A DiscoveryResponse."""


@dataclass(frozen=True, slots=True)
class Event:
    """What a request meant: an ACK (with the seconds since the push) or a NACK of a type.

    `resources` are what the client took anew, or what was found guilty; `message` its words.
    """

    type_url: str
    refused: bool
    seconds: float
    resources: tuple[Resource, ...] = ()
    message: str = ""


@dataclass(slots=True)
class Stream:
    """The state of one stream. `only` limits it to one type (the separate services).

    `peers` gives the channels of further streams of the same Envoy: what one has acknowledged counts for all.
    """

    delta: bool
    encoder: Encoder
    drain_delay: float = 5.0
    only: str = ""
    peers: Callable[[], Iterable[Channels]] = tuple
    portion: int = _PORTION
    channels: dict[str, Channel] = field(default_factory=dict)
    unknown_nonces: int = 0
    """Requests with a nonce that was never issued on this stream."""
    _nonces: int = 0
    _unserved: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    """Names asked for of types that are not served: in delta they are answered as absent, so that nobody waits."""
    _asked: set[str] = field(default_factory=set)
    _order: Order = field(init=False)

    def __post_init__(self) -> None:
        self._order = Order(self.drain_delay)
        for type_url in TYPES:
            full = type_url in _FULL_TYPES and not self.delta
            subscription = Subscription(type_url in _WILDCARD_TYPES)
            on_demand = OnDemand() if type_url == HOST else None
            removes = full or self.delta
            self.channels[type_url] = Channel(type_url, subscription, full, removes, on_demand=on_demand)

    @property
    def snapshot(self) -> Snapshot | None:
        """The newest snapshot given to this stream."""
        return self._order.snapshot

    @property
    def subscriptions(self) -> int:
        """How many names the client has asked for, over all types."""
        hosts = self.channels[HOST].on_demand
        unserved = sum(len(names) for _, names in self._unserved)
        named = sum(len(one.subscription.names) for one in self.channels.values())
        return named + unserved + (len(hosts.asked) if hosts else 0)

    def replace_snapshot(self, snapshot: Snapshot) -> None:
        """A newer state is wanted."""
        if snapshot is not self._order.snapshot:
            self._order.replace(snapshot, self.channels)

    def serves(self, type_url: str) -> bool:
        """Whether resources of a type can be had here. Virtual hosts exist only in the incremental protocol."""
        return type_url in self.channels and (self.delta or type_url != HOST)

    def receive(self, request: Request, now: float) -> Event | None:
        """Read one request; the responses it calls for come from `poll`."""
        channel = self.channels.get(request.type_url or self.only)
        if channel is None or not self.serves(channel.type_url):
            first = request.type_url not in self._asked and len(self._asked) < _UNSERVED_LIMIT
            if self.delta and (first or request.subscribe) and len(self._unserved) < _UNSERVED_LIMIT:
                self._asked.add(request.type_url)
                self._unserved.append((request.type_url, request.subscribe))
            return None
        first = not channel.requested
        channel.requested = True
        event = None if first else self._acknowledge(channel, request, now)
        if self.delta:
            self._change_names(channel, request, first=first)
        else:
            self._replace_names(channel, request, event, first=first)
        return event

    def _change_names(self, channel: Channel, request: Request, *, first: bool) -> None:
        had: Mapping[str, str] = request.initial if first else {}
        # A client that comes back says what it has: that is neither sent again nor answered with nothing.
        channel.answered = channel.answered or bool(had)
        if channel.on_demand is not None:
            channel.known.update(had)
            self._change_hosts(channel, channel.on_demand, request, had)
            return
        named, everything = set(channel.subscription.names), channel.subscription.wildcard
        channel.subscription.change(request.subscribe, request.unsubscribe)
        # What it has and does not ask for is no business of this stream.
        channel.known.update({name: version for name, version in had.items() if channel.wants(name)})
        if channel.type_url in HELD and had and self.snapshot is not None:
            channel.lingering = {name for name in channel.known if name not in self.wanted(channel.type_url)}
        channel.forced |= {name for name in request.subscribe if name != WILDCARD and name not in had}
        channel.forget(list(channel.known) if everything else request.unsubscribe)
        if channel.subscription.wildcard:
            # The client dropped what it had by name; whether it still has it by wildcard it must be told.
            channel.known.update(dict.fromkeys(named.intersection(request.unsubscribe), DOUBTFUL))

    def _change_hosts(self, channel: Channel, hosts: OnDemand, request: Request, had: Mapping[str, str]) -> None:
        assert self.snapshot is not None
        channel.subscription.change((WILDCARD,), ())
        hosts.ask((name for name in request.subscribe if name != WILDCARD), had, self.snapshot.hosts)
        hosts.forget(request.unsubscribe)
        for name in request.unsubscribe:
            channel.known.pop(name, None)

    def _acknowledge(self, channel: Channel, request: Request, now: float) -> Event | None:
        sent = channel.in_flight
        if sent is None or request.nonce != sent.nonce:
            self.unknown_nonces += not self._was_issued(request.nonce)
            return None
        seconds = now - sent.time
        if request.error is not None:
            blamed = channel.refuse(request.error, now)
            return Event(channel.type_url, refused=True, seconds=seconds, resources=blamed, message=request.error)
        return Event(channel.type_url, refused=False, seconds=seconds, resources=channel.accept(now))

    def _was_issued(self, nonce: str) -> bool:
        if not nonce:
            return True
        try:
            return 0 < int(nonce, 16) <= self._nonces
        except ValueError:
            return False

    def _replace_names(self, channel: Channel, request: Request, event: Event | None, *, first: bool) -> None:
        before, everything = set(channel.subscription.names), channel.subscription.wildcard
        repeated = set(request.names) == before and event is None and bool(request.nonce) and channel.in_flight is None
        channel.subscription.replace(request.names)
        channel.forget(list(channel.known) if everything else before - channel.subscription.names)
        if first and request.version:
            # A client that comes back works with what it has, in whatever version.
            channel.returning = True
            channel.known.update(dict.fromkeys(channel.subscription.names, DOUBTFUL))
        elif repeated and channel.type_url == ENDPOINTS and (channel.repeatable or not self._sends_clusters()):
            # After a cluster update Envoy repeats its last request: the endpoints are wanted again.
            channel.forced |= channel.subscription.names
            channel.repeatable = False

    def _sends_clusters(self) -> bool:
        return self.channels[CLUSTER].requested

    def problem(self, request: Request) -> str:
        """Why a request cannot be read on this stream, empty if it can."""
        type_url = request.type_url or self.only
        if not type_url:
            return "type_url is empty"
        if len(type_url) > _TYPE_LENGTH:
            return f"type_url is longer than {_TYPE_LENGTH} characters"
        if self.only and type_url != self.only:
            return f"this service is for {self.only}"
        return ""

    def poll(self, now: float) -> Iterator[tuple[str, bytes]]:
        """The responses that can be sent now with their types, in order. Each counts as sent when it is taken."""
        if self.snapshot is None:
            return
        while self._unserved:
            type_url, names = self._unserved.pop(0)
            absent = tuple(name for name in names if name != WILDCARD)
            yield type_url, self.encoder.delta(Sent(self._nonce(), content_version(), now, (), absent), type_url)
        self._order.waiting.clear()
        peers = tuple(self.peers())
        self._order.release(self.channels, peers, now)
        for type_url in (self.only,) if self.only else TYPES:
            channel = self.channels[type_url]
            if channel.requested and channel.in_flight is None:
                response = self._next(channel, peers, now) or self._beat(channel, now)
                if response is not None:
                    yield type_url, self._send(channel, response)

    def wake_at(self) -> float | None:
        """When `poll` may have more to say by time alone."""
        times = [self._order.wake_at()]
        times += [one.next_beat(self.wanted(one.type_url)) for one in self.channels.values() if one.beats]
        return min((time for time in times if time is not None), default=None)

    def holds(self, type_url: str) -> bool:
        """True while something of a type waits for clusters that the client has not acknowledged."""
        return type_url in self._order.waiting

    def in_sync(self) -> bool:
        """True if the client has acknowledged all that is wanted of the types it asked for."""
        if self.snapshot is None:
            return False
        return all(self.type_in_sync(type_url) for type_url in self.channels)

    def wanted(self, type_url: str) -> Mapping[str, Resource]:
        """What the client shall have of a type now."""
        return self._order.served(self.channels[type_url])

    def type_in_sync(self, type_url: str) -> bool:
        """True if the client has acknowledged all that is wanted of one type."""
        return self.snapshot is not None and self.channels[type_url].in_sync(self.wanted(type_url))

    def _next(self, channel: Channel, peers: tuple[Channels, ...], now: float) -> Sent | None:
        assert self.snapshot is not None
        wanted = self.wanted(channel.type_url)
        if channel.full:
            return self._next_full(channel, wanted, peers, now)
        hosts = channel.on_demand
        asked = hosts.owners(hosts.asked, wanted, self.snapshot.hosts) if hosts is not None else set()
        channel.forced |= asked
        lacking = channel.lacking(wanted)
        ready = channel.portion(self._order.ready(channel, lacking, self.channels, peers), self.portion)
        answers = NO_ANSWERS
        if hosts is not None:
            hopeless = [name for name in asked if not channel.lacks(wanted[name])]
            answers = hosts.answers({one.name: one for one in ready}, hopeless, self.snapshot.hosts)
        removed = channel.surplus(wanted) if self.delta else []
        if len(ready) < len(lacking):
            removed = [name for name in removed if not channel.known.get(name)]  # what goes away goes after what comes
        empty_first = self.delta and not channel.answered and channel.subscription.wildcard and not lacking
        if not ready and not removed and not answers.absent and not empty_first:
            return None
        return replace(self._response(channel, wanted, tuple(ready), tuple(removed), now), answers=answers)

    def _next_full(
        self, channel: Channel, wanted: Mapping[str, Resource], peers: tuple[Channels, ...], now: float
    ) -> Sent | None:
        lacking = channel.lacking(wanted)
        gone = channel.gone(wanted)
        if channel.answered and not lacking and not gone:
            return None
        if not channel.answered and not channel.subscription.wildcard and not channel.subscription.names:
            return None
        if len(self._order.ready(channel, lacking, self.channels, peers)) < len(lacking):
            return None
        return self._response(channel, wanted, tuple(channel.everything(wanted)), tuple(sorted(gone)), now)

    def _beat(self, channel: Channel, now: float) -> Sent | None:
        """A sign of life for resources that the client would drop else."""
        due = channel.due_beats(self.wanted(channel.type_url), now) if channel.beats else ()
        return Sent(self._nonce(), channel.sent_version, now, (), (), beats=due) if due else None

    def _response(
        self,
        channel: Channel,
        wanted: Mapping[str, Resource],
        resources: tuple[Resource, ...],
        removed: tuple[str, ...],
        now: float,
    ) -> Sent:
        substitutes = frozenset(one.name for one in resources if wanted[one.name].version != one.version)
        version = self._version(channel, resources)
        news = frozenset(
            one.name for one in resources if one.name in channel.forced or channel.known.get(one.name) != one.version
        )
        return Sent(self._nonce(), version, now, resources, removed, channel.adds(resources), substitutes, news)

    def _version(self, channel: Channel, resources: tuple[Resource, ...]) -> str:
        """The version of the snapshot, or one of its own for a full response that differs from it for a while."""
        assert self.snapshot is not None
        if channel.full and resources != tuple(self.snapshot.get(channel.type_url).values()):
            return content_version(*(f"{one.name}={one.version}".encode() for one in resources))
        return self.snapshot.versions.get(channel.type_url) or content_version()

    def _nonce(self) -> str:
        self._nonces += 1
        return f"{self._nonces:x}"

    def _send(self, channel: Channel, response: Sent) -> bytes:
        if channel.type_url == CLUSTER and response.resources:
            # Envoy waits for the endpoints of every cluster that it is sent, also when it has them; a client that
            # comes back may ask for them only after this.
            changed = {one.name for one in response.resources if channel.known.get(one.name) != one.version}
            self.channels[ENDPOINTS].forced |= changed
            self.channels[ENDPOINTS].repeatable = True
        channel.sent(response)
        encode = self.encoder.delta if self.delta else self.encoder.full
        return encode(response, channel.type_url)
