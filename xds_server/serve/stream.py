"""The protocol core: one stream of one Envoy, in either protocol, without I/O.

In: requests, snapshots, the time. Out: responses as bytes, ready to be written. Follows Envoy's xDS protocol
description: subscriptions, nonces, ACK and NACK, resuming with known versions, and make-before-break order. It opens
no socket, reads no clock and never sees the message of a resource.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from xds_server.serve.channel import DOUBTFUL, Channel, Sent
from xds_server.serve.differences import Difference, Differences, State
from xds_server.serve.messages import Encoder, Event, Message, Told
from xds_server.serve.on_demand import NO_ANSWERS, OnDemand
from xds_server.serve.order import HELD, USERS, Channels, Order
from xds_server.serve.requests import Request
from xds_server.serve.subscription import NO_NAMES, WILDCARD, Names, Subscription, with_names
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
_NOTHING: State = {}
"""What a new client has. No snapshot holds this very object, so that a first response is due also if there is nothing."""
_TYPE_LENGTH = 256
_PORTION = 4 * 1024 * 1024
"""Bytes of resources that go into one response, where a change may be sent in several."""
_UNSERVED_LIMIT = 32
"""Of so many types that are not served an empty first request is answered: their names are the client's words."""


class _Channels(dict[str, Channel]):
    """The channels of one stream. Most streams use few of the types, so each is made when it is first looked at."""

    __slots__ = ("_delta", "_differences")

    def __init__(self, differences: Differences, *, delta: bool) -> None:
        super().__init__()
        self._differences, self._delta = differences, delta

    def __missing__(self, type_url: str) -> Channel:
        full = type_url in _FULL_TYPES and not self._delta
        made = self[type_url] = Channel(
            type_url,
            Subscription(type_url in _WILDCARD_TYPES),
            full,
            removes=full or self._delta,
            on_demand=OnDemand() if type_url == HOST else None,
            differences=self._differences,
        )
        return made


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
    differences: Differences = field(default_factory=Differences)
    channels: dict[str, Channel] = field(init=False)
    requested: list[Channel] = field(default_factory=list)
    """Those that the client asks for, in the order of delivery."""
    unknown_nonces: int = 0
    """Requests with a nonce that was never issued on this stream."""
    _number: int = 0
    """That of the last response; a nonce up to it counts as issued."""
    _unserved: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    """Names asked for of types that are not served: in delta they are answered as absent, so that nobody waits."""
    _asked: Names = NO_NAMES
    former: Mapping[str, State] = field(default_factory=dict)
    """Scopes and their tables of an earlier stream: a client in the state of the world does not say what it has."""
    _order: Order = field(init=False)

    def __post_init__(self) -> None:
        self._order = Order(self.drain_delay, differences=self.differences)
        self.channels = _Channels(self.differences, delta=self.delta)

    @property
    def snapshot(self) -> Snapshot | None:
        """The newest snapshot given to this stream."""
        return self._order.snapshot

    @property
    def subscriptions(self) -> int:
        """How many names the client has asked for, over all types."""
        hosts = self.channels[HOST].on_demand if HOST in self.channels else None
        unserved = sum(len(names) for _, names in self._unserved)
        named = sum(len(one.subscription.names) for one in self.channels.values())
        return named + unserved + (len(hosts.asked) if hosts else 0)

    @property
    def inherits(self) -> bool:
        """Whether scopes may come here that the client says nothing of when it comes back."""
        return not self.delta and self.only in ("", SCOPES)

    def left(self) -> Mapping[str, State]:
        """What the next stream of this client is given as `former`."""
        asked = not self.delta and self.snapshot is not None and self.channels[SCOPES].requested
        return self._order.scopes() if asked else self.former

    def replace_snapshot(self, snapshot: Snapshot) -> None:
        """A newer state is wanted."""
        if snapshot is not self._order.snapshot:
            self._order.replace(snapshot, self.channels)

    def serves(self, type_url: str) -> bool:
        """Whether resources of a type can be had here. Virtual hosts exist only in the incremental protocol."""
        return type_url in TYPES and (self.delta or type_url != HOST)

    def receive(self, request: Request, now: float) -> Event | None:
        """Read one request; the responses it calls for come from `poll`."""
        type_url = request.type_url or self.only
        if not self.serves(type_url):
            first = request.type_url not in self._asked and len(self._asked) < _UNSERVED_LIMIT
            if self.delta and (first or request.subscribe) and len(self._unserved) < _UNSERVED_LIMIT:
                self._asked = with_names(self._asked, (request.type_url,))
                self._unserved.append((request.type_url, request.subscribe))
            return None
        channel = self.channels[type_url]
        first = not channel.requested
        if first:
            channel.requested = True
            self.requested = [self.channels[one] for one in TYPES if one in self.channels]
            self.requested = [one for one in self.requested if one.requested]
        event = None if first else self._acknowledge(channel, request, now)
        if self.delta:
            if first or request.subscribe or request.unsubscribe:
                channel.unsettle()
                self._change_names(channel, request, first=first)
        else:
            self._replace_names(channel, request, event, first=first)
        return event

    def take(self, request: Request, now: float) -> Event | None:
        """The most frequent request, an ACK and nothing else, read on a short way; None: it is to be received."""
        channel = self.channels.get(request.type_url)
        if not request.bare or channel is None or channel.in_flight is None or request.nonce != channel.nonce:
            return None
        if not self.delta:
            return None  # no names are a subscription there
        return Event(channel.type_url, refused=False, seconds=now - channel.sent_at, resources=channel.accept(now))

    def _change_names(self, channel: Channel, request: Request, *, first: bool) -> None:
        had: Mapping[str, str] = request.initial if first else {}
        if channel.type_url == SCOPES:
            # A listener that came on the last stream may still wait for them.
            had = dict.fromkeys(had, DOUBTFUL)
        # A client that comes back says what it has: that is neither sent again nor answered with nothing.
        channel.answered = channel.answered or bool(had)
        if channel.on_demand is not None:
            channel.known.update(had)
            self._change_hosts(channel, channel.on_demand, request, had)
            return
        left = [name for name in request.unsubscribe if name in channel.subscription.names]
        everything = channel.subscription.wildcard
        channel.subscription.change(request.subscribe, request.unsubscribe)
        if first and self._is_plain(channel, had):
            return
        # What it has and does not ask for is no business of this stream.
        channel.known.update({name: version for name, version in had.items() if channel.wants(name)})
        if channel.type_url in HELD and had and self.snapshot is not None:
            wanted = self.wanted(channel.type_url)
            channel.lingering = {name for name in channel.known if name not in wanted} or NO_NAMES
            self._order.busy = self._order.busy or bool(channel.lingering)
        asked = (name for name in request.subscribe if name != WILDCARD and name not in had)
        channel.forced = with_names(channel.forced, asked)
        channel.forget(list(channel.known) if everything else request.unsubscribe)
        if channel.subscription.wildcard:
            # The client dropped what it had by name; whether it still has it by wildcard it must be told.
            channel.known.update(dict.fromkeys(left, DOUBTFUL))

    def _is_plain(self, channel: Channel, had: Mapping[str, str]) -> bool:
        """A client that has nothing, or just what is wanted, and asks for no more: so are most who come at the same time."""
        if self.snapshot is None:
            return False
        wanted, asked = self.wanted(channel.type_url), channel.subscription
        if not asked.names <= wanted.keys() or not (asked.wildcard or asked.names):
            return False
        if not had:
            channel.settle(_NOTHING)
            return True
        versions = self.differences.versions(wanted)
        if had != versions or not (asked.wildcard or len(asked.names) == len(wanted)):
            return False
        channel.known = dict(versions)  # and not the client's words, which would stay as long as it does
        channel.settle(wanted)
        return True

    def _change_hosts(self, channel: Channel, hosts: OnDemand, request: Request, had: Mapping[str, str]) -> None:
        assert self.snapshot is not None
        channel.subscription.change((WILDCARD,), ())
        hosts.ask((name for name in request.subscribe if name != WILDCARD), had, self.snapshot.hosts)
        hosts.forget(request.unsubscribe)
        for name in request.unsubscribe:
            channel.known.pop(name, None)

    def _acknowledge(self, channel: Channel, request: Request, now: float) -> Event | None:
        sent = channel.in_flight
        if sent is None or request.nonce != channel.nonce:
            self.unknown_nonces += not self._was_issued(request.nonce)
            return None
        seconds = now - channel.sent_at
        if request.error is not None:
            blamed = channel.refuse(request.error, now)
            return Event(channel.type_url, refused=True, seconds=seconds, resources=blamed, message=request.error)
        return Event(channel.type_url, refused=False, seconds=seconds, resources=channel.accept(now))

    def _was_issued(self, nonce: str) -> bool:
        if not nonce:
            return True
        try:
            return 0 < int(nonce, 16) <= self._number
        except ValueError:
            return False

    def _replace_names(self, channel: Channel, request: Request, event: Event | None, *, first: bool) -> None:
        before, everything = channel.subscription.names, channel.subscription.wildcard
        repeated = set(request.names) == before and event is None and bool(request.nonce) and channel.in_flight is None
        channel.subscription.replace(request.names)
        if first or before != channel.subscription.names or everything != channel.subscription.wildcard:
            channel.unsettle()
            channel.forget(list(channel.known) if everything else before - channel.subscription.names)
        if first and request.version:
            # A client that comes back works with what it has, in whatever version.
            channel.returning = True
            channel.known.update(dict.fromkeys(channel.subscription.names, DOUBTFUL))
            if channel.type_url == SCOPES and self.snapshot is not None:
                self._order.resume(self.former)
        elif repeated and channel.type_url == ENDPOINTS and (channel.repeatable or not self._sends_clusters()):
            # After a cluster update Envoy repeats its last request: the endpoints are wanted again.
            channel.forced = with_names(channel.forced, channel.subscription.names)
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
        order = self._order
        if order.snapshot is None:
            return
        while self._unserved:
            type_url, names = self._unserved.pop(0)
            absent = tuple(name for name in names if name != WILDCARD)
            message = self.encoder.delta(Sent(content_version(), (), absent), type_url, self._number)
            self._number = message.number
            yield type_url, message.data
        order.waiting = NO_NAMES
        peers = tuple(self.peers())
        if order.busy:
            order.release(self.channels, peers, now)
        for channel in self.requested:
            if channel.in_flight is None:
                wanted = order.served(channel)
                if channel.beats or not channel.is_settled(wanted):
                    data = self._say(channel, wanted, peers, now)
                    if data is not None:
                        yield channel.type_url, data

    def is_idle(self) -> bool:
        """True if `poll` surely has nothing to say, as far as can be seen at a glance."""
        order = self._order
        if order.snapshot is None or self._unserved or order.busy:
            return False
        # Not `all`: a generator costs as much as the rest.
        for one in self.requested:  # noqa: SIM110
            if one.beats or (one.in_flight is None and not one.is_settled(order.served(one))):
                return False
        return True

    def wake_at(self) -> float | None:
        """When `poll` may have more to say by time alone."""
        beating = [one for one in self.requested if one.beats]
        if not beating and not self._order.busy:
            return None
        times = [self._order.wake_at(), *(one.next_beat(self.wanted(one.type_url)) for one in beating)]
        return min((time for time in times if time is not None), default=None)

    def holds(self, type_url: str) -> bool:
        """True while something of a type waits for clusters that the client has not acknowledged."""
        return type_url in self._order.waiting

    def in_sync(self) -> bool:
        """True if the client has acknowledged all that is wanted of the types it asked for."""
        if self.snapshot is None:
            return False
        return all(self.type_in_sync(one.type_url) for one in self.requested)

    def wanted(self, type_url: str) -> Mapping[str, Resource]:
        """What the client shall have of a type now."""
        return self._order.served(self.channels[type_url])

    def type_in_sync(self, type_url: str) -> bool:
        """True if the client has acknowledged all that is wanted of one type."""
        return self.snapshot is not None and self.channels[type_url].in_sync(self.wanted(type_url))

    def _say(self, channel: Channel, wanted: State, peers: tuple[Channels, ...], now: float) -> bytes | None:
        """What to say next of a type, if anything."""
        change = channel.simple_change(wanted)
        told = self._told(channel, change, peers) if change is not None else None
        if told is not None:
            if told.message is None or told.message.number <= self._number:
                told.message = self._encode(channel, told.sent)
            self._note(channel, wanted, told.sent, told.message, now)
            return told.message.data
        if channel.full:
            response = self._next_full(channel, wanted, peers)
        else:
            response = self._next_part(channel, wanted, peers)
        response = response or self._beat(channel, now)
        if response is None:
            return None
        message = self._encode(channel, response)
        self._note(channel, wanted, response, message, now)
        return message.data

    def _told(self, channel: Channel, change: Difference, peers: tuple[Channels, ...]) -> Told | None:
        """The response of all who had all of one state and shall have all of another; None: look closer."""
        assert self._order.snapshot is not None
        asked, version = channel.subscription, self._order.snapshot.versions.get(channel.type_url, "")
        if channel.settled is _NOTHING and not asked.names <= change.after.keys():
            channel.unsettle()  # a name that it asked for does not exist any more
            return None
        names = change.names if asked.wildcard else tuple(name for name in change.names if name in asked.names)
        key = (self.delta, version) if asked.wildcard else (self.delta, version, names)
        found: Told | None = change.told.get(key)
        if found is None:
            if not names or not version:
                return None
            resources = tuple(change.after[name] for name in names)
            additions = frozenset(name for name in names if change.had[name] is None)
            sent = Sent(version, resources, (), additions, news=frozenset(names), whole=True)
            found = change.told[key] = Told(sent, sum(len(one.body) for one in resources))
        if found.size > self.portion and len(names) > 1:
            return None
        if channel.type_url in USERS and (peers or CLUSTER in self.channels):
            lacking = list(found.sent.resources)
            return found if len(self._order.ready(channel, lacking, self.channels, peers)) == len(lacking) else None
        return found

    def _next_part(self, channel: Channel, wanted: State, peers: tuple[Channels, ...]) -> Sent | None:
        """As much as can be said now of what the client lacks, or shall not have any more."""
        assert self.snapshot is not None
        hosts = channel.on_demand
        asked = hosts.owners(hosts.asked, wanted, self.snapshot.hosts) if hosts is not None else set()
        channel.forced = with_names(channel.forced, asked)
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
            if not lacking:
                channel.settle(wanted)
                if self.delta and channel.acknowledged:
                    # It asks no more for what would have been taken away, and has all of this version without a response.
                    channel.sent_version = channel.acknowledged = self._version(channel, ())
            return None
        response = self._response(channel, wanted, tuple(ready), tuple(removed), whole=len(ready) == len(lacking))
        return replace(response, answers=answers) if hosts is not None else response

    def _next_full(self, channel: Channel, wanted: State, peers: tuple[Channels, ...]) -> Sent | None:
        lacking = channel.lacking(wanted)
        gone = channel.gone(wanted)
        if channel.answered and not lacking and not gone:
            channel.settle(wanted)
            return None
        if not channel.answered and not channel.subscription.wildcard and not channel.subscription.names:
            return None
        if len(self._order.ready(channel, lacking, self.channels, peers)) < len(lacking):
            return None
        return self._response(channel, wanted, tuple(channel.everything(wanted)), tuple(sorted(gone)), whole=True)

    def _beat(self, channel: Channel, now: float) -> Sent | None:
        """A sign of life for resources that the client would drop else."""
        due = channel.due_beats(self.wanted(channel.type_url), now) if channel.beats else ()
        return Sent(channel.sent_version, (), (), beats=due) if due else None

    def _response(
        self,
        channel: Channel,
        wanted: State,
        resources: tuple[Resource, ...],
        removed: tuple[str, ...],
        *,
        whole: bool,
    ) -> Sent:
        substitutes = frozenset(one.name for one in resources if wanted[one.name].version != one.version)
        version = self._version(channel, resources)
        news = frozenset(
            one.name for one in resources if one.name in channel.forced or channel.known.get(one.name) != one.version
        )
        return Sent(version, resources, removed, channel.adds(resources), substitutes, news, whole=whole)

    def _version(self, channel: Channel, resources: tuple[Resource, ...]) -> str:
        """The version of the snapshot, or one of its own for a full response that differs from it for a while."""
        assert self.snapshot is not None
        if channel.full and resources != tuple(self.snapshot.get(channel.type_url).values()):
            return content_version(*(f"{one.name}={one.version}".encode() for one in resources))
        return self.snapshot.versions.get(channel.type_url) or content_version()

    def _encode(self, channel: Channel, response: Sent) -> Message:
        encode = self.encoder.delta if self.delta else self.encoder.full
        return encode(response, channel.type_url, self._number)

    def _note(self, channel: Channel, wanted: State, response: Sent, message: Message, now: float) -> None:
        """This is sent now."""
        if channel.type_url == CLUSTER and response.resources:
            # Envoy waits for the endpoints of every cluster that it is sent, also when it has them; a client that
            # comes back may ask for them only after this.
            changed = {one.name for one in response.resources if channel.known.get(one.name) != one.version}
            endpoints = self.channels[ENDPOINTS]
            endpoints.forced = with_names(endpoints.forced, changed)
            endpoints.repeatable = True
        elif channel.type_url == LISTENER:
            self._order.follow(response.resources, self.channels)
        self._number = message.number
        channel.sent(response, message.nonce, now)
        if response.whole:
            channel.settle(wanted)
