"""A client on paper: plays one side of a stream and writes down what the server says, one line for each response.

In: worlds such as `world("CDS a1 b1", "EDS a1")`, where `a1` is the resource `a` in version 1. Out: lines in the same
words: `CDS a2 -b` sends `a` in version 2 and takes `b` away. No socket, no clock: time moves when a test says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from xds_server.envoy_api.envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse
from xds_server.envoy_api.envoy.service.discovery.v3.discovery_pb2 import Resource as ResourceMessage
from xds_server.serve.messages import Event
from xds_server.serve.order import DRAIN_MARGIN
from xds_server.serve.requests import Request
from xds_server.serve.stream import Stream
from xds_server.serve.wire import Envelope
from xds_server.snapshot.resource import (
    CLUSTER,
    ENDPOINTS,
    ENVOY_DRAIN,
    EXTENSION,
    HOST,
    LISTENER,
    ROUTES,
    RUNTIME,
    SCOPES,
    SECRET,
    Resource,
    Snapshot,
    snapshot_of,
)

TYPE_URLS = {
    "CDS": CLUSTER,
    "EDS": ENDPOINTS,
    "SDS": SECRET,
    "ECDS": EXTENSION,
    "LDS": LISTENER,
    "SRDS": SCOPES,
    "RDS": ROUTES,
    "VHDS": HOST,
    "RTDS": RUNTIME,
}
USERS = (LISTENER, SCOPES, ROUTES, HOST)
SHORT = {type_url: short for short, type_url in TYPE_URLS.items()}
DRAIN = 5.0
SCOPE_DELAY = ENVOY_DRAIN + DRAIN_MARGIN
_TOKEN = re.compile(r"([a-z/]+)(\d+)")


def fake(short: str, token: str) -> Resource:
    """The resource that a token such as `a1` stands for; its body is the token."""
    match = _TOKEN.fullmatch(token)
    assert match is not None, token
    return Resource(TYPE_URLS[short], match[1], token.encode(), match[2])


def world(*lines: str) -> Snapshot:
    """A snapshot from lines such as `CDS a1 b1`. Whatever can use clusters uses all of them."""
    named = [(line.split()[0], token) for line in lines for token in line.split()[1:]]
    made = [fake(short, token) for short, token in named]
    clusters = tuple((CLUSTER, one.name) for one in made if one.type_url == CLUSTER)
    return snapshot_of("default/web", (replace(one, needs=clusters) if one.type_url in USERS else one for one in made))


@dataclass
class Client:
    """One stream. Every step returns the responses that the server has to say after it."""

    delta: bool
    state: Snapshot
    only: str = ""
    now: float = 100.0
    nonces: list[str] = field(default_factory=list)
    last_nonce: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    """Contents of full responses by type and version: one version has one content."""
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    verdict: str = ""
    """What the server took the last request for: `ack`, `nack` or neither."""

    def __post_init__(self) -> None:
        self.stream = Stream(self.delta, Envelope(), DRAIN, TYPE_URLS.get(self.only, ""))
        self.stream.replace_snapshot(self.state)

    def receive(self, request: Request, now: float) -> Event | None:
        """Give the server a request."""
        return self.stream.receive(request, now)

    def ask(
        self,
        short: str,
        *names: str,
        nonce: str | None = None,
        error: str | None = None,
        had: Mapping[str, str] | None = None,
    ) -> list[str]:
        """A request. In delta names are `+a` and `-a`; else they are all the names that are wanted.

        Its nonce is the last one of the type unless given.
        """
        nonce = self.last_nonce.get(short, "") if nonce is None else nonce
        type_url = TYPE_URLS.get(short, short)
        if self.delta:
            assert all(name[0] in "+-" for name in names)
            subscribe = tuple(name[1:] for name in names if name[0] == "+")
            unsubscribe = tuple(name[1:] for name in names if name[0] == "-")
            request = Request(
                type_url, nonce, error, subscribe=subscribe, unsubscribe=unsubscribe, initial=dict(had or {})
            )
        else:
            self.names[short] = names
            request = Request(type_url, nonce, error, names=names)
        assert not self.stream.problem(request)
        event = self.receive(request, self.now)
        self.verdict = "" if event is None else "nack" if event.refused else "ack"
        return self.poll()

    def ack(self, short: str, *, error: str | None = None) -> list[str]:
        """Take the last response of a type."""
        return self.ask(short, *self.names.get(short, ()), error=error)

    def nack(self, short: str, error: str = "no") -> list[str]:
        """Refuse the last response of a type."""
        return self.ack(short, error=error)

    def change(self, *lines: str) -> list[str]:
        """The server wants another world."""
        self.stream.replace_snapshot(world(*lines))
        return self.poll()

    def wait(self, seconds: float) -> list[str]:
        """Let time pass; the server says itself when it wants to be asked again."""
        self.now += seconds
        due = self.stream.wake_at()
        answers = self.poll()
        assert not answers or (due is not None and due <= self.now), "nobody would have asked for this"
        return answers

    def settle(self) -> list[str]:
        """Acknowledge everything until the server is quiet; returns what it said meanwhile."""
        said: list[str] = []
        while waiting := [short for short, url in TYPE_URLS.items() if self.stream.channels[url].in_flight]:
            for short in waiting:
                said += self.ack(short)
            assert len(said) < 50, said
        return said

    def poll(self) -> list[str]:
        """What the server says now."""
        return [self._line(data) for _, data in self.stream.poll(self.now)]

    def _line(self, data: bytes) -> str:
        message = DeltaDiscoveryResponse.FromString(data) if self.delta else DiscoveryResponse.FromString(data)
        short = SHORT.get(message.type_url, message.type_url)
        assert message.nonce
        assert message.nonce not in self.nonces
        self.nonces.append(message.nonce)
        self.last_nonce[short] = message.nonce
        if isinstance(message, DiscoveryResponse):
            tokens = []
            for one in message.resources:
                if one.type_url == message.type_url:
                    tokens.append(one.value.decode())
                else:
                    wrapped = ResourceMessage()
                    assert one.Unpack(wrapped)
                    assert wrapped.version == message.version_info
                    assert not wrapped.HasField("resource") or wrapped.resource.type_url == message.type_url
                    tokens.append(_token(wrapped))
            content = " ".join([short, *tokens])
            if short in ("CDS", "LDS") and "!" not in content:
                assert self.versions.setdefault(f"{short} {message.version_info}", content) == content
        else:
            whole = [one for one in message.resources if one.HasField("resource")]
            assert all(one.resource.value.decode() == one.name + one.version for one in whole)
            assert all(one.resource.type_url == message.type_url for one in whole)
            tokens = [_token(one) for one in message.resources]
            tokens += [f"-{name}" for name in message.removed_resources]
        assert len(set(tokens)) == len(tokens)
        return " ".join([short, *tokens])


def _token(one: ResourceMessage) -> str:
    """`a1`; `a1=x,y` if it was asked for as x and y; `x?` if there is nothing for x; `a!` if the client only hears of it."""
    body = one.resource.value.decode()
    if not body:
        assert one.version or one.aliases == [one.name]
        body = f"{one.name}{'!' if one.version else '?'}"
    elif one.aliases:
        body += f"={','.join(one.aliases)}"
    return f"{body}@{one.ttl.ToMilliseconds() / 1000:g}s" if one.HasField("ttl") else body


def delta(*lines: str, only: str = "") -> Client:
    """A client of the incremental protocol."""
    return Client(True, world(*lines), only)


def full(*lines: str, only: str = "") -> Client:
    """A client of the state of the world."""
    return Client(False, world(*lines), only)
