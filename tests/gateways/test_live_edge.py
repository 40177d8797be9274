"""Hostile clients of a listener without any policy, through a real Envoy: they pay, and nobody else does."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import pytest

from tests.gateways.clients import OK, everything, exchange, gateway, ports, status
from tests.gateways.rig import Rig, route, service

POLICIES = {"plain": "", "hasty": "timeout: {http: {requestHeadersReceivedTimeout: 500ms}}"}
PORTS = ports(POLICIES, 13000)
GET = b"GET / HTTP/1.1\r\nHost: shop.example\r\n"
POST = b"POST / HTTP/1.1\r\nHost: shop.example\r\n"
HIDDEN = b"0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: shop.example\r\n\r\n"
REQUEST = [(":method", "GET"), (":scheme", "http"), (":authority", "shop.example"), (":path", "/")]
_FLOOD = 20_000
Act = Callable[[h2.connection.H2Connection, socket.socket], None]


class Edge:
    """A listener as it is without a policy."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.address = rig, rig.block.address(1)
        self.server = rig.server("one")
        rig.serve(gateway(POLICIES, first=13000) + service("one", *self.server.address) + route("web", "one"))

    def send(self, *pieces: bytes, listener: str = "plain") -> bytes:
        """What comes back until Envoy closes."""
        return exchange(self.address, PORTS[listener], *pieces)

    def others_are_served(self) -> bool:
        """True if a request of somebody else is answered."""
        return status(self.send(OK)) == 200

    @contextlib.contextmanager
    def h2(self) -> Iterator[tuple[h2.connection.H2Connection, socket.socket]]:
        """A connection of HTTP/2 that lets its user do what is forbidden."""
        config = h2.config.H2Configuration(
            client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False
        )
        connection = h2.connection.H2Connection(config)
        with socket.create_connection((self.address, PORTS["plain"]), timeout=10) as raw:
            connection.initiate_connection()
            raw.sendall(connection.data_to_send())
            yield connection, raw


@pytest.fixture(scope="module")
def edge(rig: Rig) -> Edge:
    return Edge(rig)


@pytest.mark.parametrize(
    "request_",
    [
        POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n" + HIDDEN,
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n" + HIDDEN,
        POST + b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n" + HIDDEN,
        POST + b"Content-Length: 0, 44\r\n\r\n" + HIDDEN,
        POST + b"Content-Length: +5\r\n\r\n" + HIDDEN,
        POST + b"Content-Length: -1\r\n\r\n" + HIDDEN,
        POST + b"Content-Length : 5\r\n\r\n" + HIDDEN,
        POST + b"Transfer-Encoding: identity, chunked\r\n\r\n" + HIDDEN,
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + HIDDEN,
        POST + b"Transfer-Encoding: xchunked\r\n\r\n" + HIDDEN,
        POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n" + HIDDEN,
        POST + b"Transfer_Encoding: chunked\r\n\r\n" + HIDDEN,
        POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n" + HIDDEN,
        POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n" + HIDDEN,
        GET + b"X: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET http://other.example\\@shop.example/ HTTP/1.1\r\nHost: shop.example\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: shop.example\r\n\r\n",
        b"\x16\x03\x01\x00\x05hello",
        b"G" * 100_000,
    ],
)
def test_what_could_be_two_requests_is_none(edge: Edge, request_: bytes) -> None:
    before = len(edge.server.seen)
    answer = edge.send(request_)
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert status(answer) in (0, 400, 403, 404, 426, 431, 501)
    assert "/hidden" not in edge.server.seen[before:]
    assert edge.others_are_served()


@pytest.mark.parametrize(
    "request_",
    [
        GET + b"X: a\rGET /hidden HTTP/1.1\r\nConnection: close\r\n\r\n",
        GET + b"Host: other.example\r\nConnection: close\r\n\r\n",
        b"GET\t/\tHTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n",
    ],
)
def test_what_looks_like_two_requests_is_one(edge: Edge, request_: bytes) -> None:
    before = len(edge.server.seen)
    answer = edge.send(request_)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert edge.server.seen[before:] == ["/"]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (b"X: " + b"x" * 59_000 + b"\r\n", 200),
        (b"X: " + b"x" * 61_500 + b"\r\n", 431),
        (b"".join(b"X-%d: 1\r\n" % number for number in range(90)), 200),
        (b"".join(b"X-%d: 1\r\n" % number for number in range(101)), 431),
    ],
)
def test_headers_have_bounds(edge: Edge, headers: bytes, expected: int) -> None:
    assert status(edge.send(GET + headers + b"Connection: close\r\n\r\n")) == expected


def test_slow_headers_hold_up_nobody_but_themselves(edge: Edge) -> None:
    slow = [socket.create_connection((edge.address, PORTS["hasty"]), timeout=10) for _ in range(200)]
    try:
        for one in slow:
            one.sendall(GET + b"X-Slow: ")
        assert edge.others_are_served()
        assert status(edge.send(OK, listener="hasty")) == 200
        assert {status(everything(one)) for one in slow} == {408}
    finally:
        for one in slow:
            one.close()


def test_an_answer_that_nobody_reads_holds_up_nobody_else(edge: Edge) -> None:
    edge.server.body = "x" * 5_000_000
    try:
        lazy = [socket.create_connection((edge.address, PORTS["plain"]), timeout=10) for _ in range(20)]
        for one in lazy:
            one.sendall(OK)
        assert edge.others_are_served()
    finally:
        edge.server.body = ""
        for one in lazy:
            one.close()


def _reset(connection: h2.connection.H2Connection, raw: socket.socket) -> None:
    stream = connection.get_next_available_stream_id()
    connection.send_headers(stream, REQUEST, end_stream=True)
    connection.reset_stream(stream)
    raw.sendall(connection.data_to_send())


def _ping(connection: h2.connection.H2Connection, raw: socket.socket) -> None:
    for _ in range(50):
        connection.ping(b"hostile!")
    raw.sendall(connection.data_to_send())


def _settings(connection: h2.connection.H2Connection, raw: socket.socket) -> None:
    connection.clear_outbound_data_buffer()
    raw.sendall(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" * 50)


def _priority(connection: h2.connection.H2Connection, raw: socket.socket) -> None:
    connection.clear_outbound_data_buffer()
    raw.sendall((b"\x00\x00\x05\x02\x00" + (1001).to_bytes(4, "big") + b"\x00\x00\x00\x00\x10") * 50)


def _window(connection: h2.connection.H2Connection, raw: socket.socket) -> None:
    connection.clear_outbound_data_buffer()
    raw.sendall((b"\x00\x00\x04\x08\x00" + b"\x00\x00\x00\x00" + b"\x00\x00\x00\x01") * 50)


def _empty(connection: h2.connection.H2Connection, raw: socket.socket) -> None:
    stream = connection.get_next_available_stream_id()
    connection.send_headers(stream, [(":method", "POST"), *REQUEST[1:]])
    raw.sendall(connection.data_to_send() + (b"\x00\x00\x00\x00\x00" + stream.to_bytes(4, "big")) * 50)


def _flooded(edge: Edge, act: Act) -> bool:
    """True if Envoy closes the connection of somebody who does this again and again, and reads nothing."""
    with edge.h2() as (connection, raw):
        try:
            for _ in range(_FLOOD):
                act(connection, raw)
            while raw.recv(65536):
                pass
        except TimeoutError:
            return False
        except (ConnectionError, h2.exceptions.ProtocolError):
            return True
        return True


@pytest.mark.parametrize("act", [_reset, _ping, _settings, _priority, _window, _empty])
def test_floods_end_the_connection(edge: Edge, act: Act) -> None:
    assert _flooded(edge, act)
    assert edge.others_are_served()


def test_headers_that_never_end_end_the_connection(edge: Edge) -> None:
    field = b"\x00\x01a\x64" + b"b" * 100
    more = len(field * 10).to_bytes(3, "big") + b"\x09\x00\x00\x00\x00\x01" + field * 10
    with edge.h2() as (_, raw):
        ended = False
        try:
            raw.sendall(b"\x00\x00\x01\x01\x00\x00\x00\x00\x01\x82")
            for _ in range(_FLOOD):
                raw.sendall(more)
            while raw.recv(65536):
                pass
            ended = True
        except ConnectionError:
            ended = True
    assert ended
    assert edge.others_are_served()


def test_headers_that_grow_when_they_are_read_reach_nobody(edge: Edge) -> None:
    before = len(edge.server.seen)
    with edge.h2() as (connection, raw):
        connection.send_headers(1, [*REQUEST, *(("x-bomb", "a" * 3000),) * 1000], end_stream=True)
        request = connection.data_to_send()
        assert len(request) < 10_000, "small on the way, three megabytes when it is read"
        raw.sendall(request)
        statuses = []
        ended = False
        with contextlib.suppress(ConnectionError, h2.exceptions.ProtocolError):
            while not ended and (data := raw.recv(65536)):
                for one in connection.receive_data(data):
                    if isinstance(one, h2.events.ResponseReceived):
                        statuses.append(dict(one.headers or [])[b":status"])
                    ended = ended or isinstance(
                        one, h2.events.StreamEnded | h2.events.StreamReset | h2.events.ConnectionTerminated
                    )
    assert b"200" not in statuses
    assert edge.others_are_served()
    assert edge.server.seen[before:].count("/") <= 1, "that of the others alone"


def test_requests_that_are_reset_at_once_reach_few_backends(edge: Edge) -> None:
    before = len(edge.server.seen)
    assert _flooded(edge, _reset)
    assert edge.others_are_served()
    assert len(edge.server.seen) - before < 2000


def test_a_connection_has_a_hundred_requests_at_a_time(edge: Edge) -> None:
    with edge.h2() as (connection, raw):
        for _ in range(101):
            stream = connection.get_next_available_stream_id()
            connection.send_headers(stream, [*REQUEST[:3], (":path", "/sleep/1")], end_stream=True)
        raw.sendall(connection.data_to_send())
        refused = 0
        raw.settimeout(10)
        deadline = time.monotonic() + 60
        while not refused and time.monotonic() < deadline and (data := raw.recv(65536)):
            events = connection.receive_data(data)
            refused += sum(isinstance(one, h2.events.StreamReset) for one in events)
        assert refused == 1


@pytest.mark.parametrize(
    "changed",
    [
        {":path": "/a b"},
        {":path": "/a\r\nX-Evil: 1"},
        {":authority": "shop.example\r\nX-Evil: 1"},
        {":method": "GET / HTTP/1.1\r\nX: "},
        {"x-evil": "a\r\nb: c"},
        {"x-evil": "a\x00b"},
        {"X-Evil": "upper case"},
        {"x evil": "space"},
        {"transfer-encoding": "chunked"},
        {"connection": "close"},
        {"content-length": "5"},
        {":evil": "x"},
    ],
)
def test_http2_that_would_be_something_else_in_http1(edge: Edge, changed: dict[str, str]) -> None:
    before = len(edge.server.seen)
    with edge.h2() as (connection, raw):
        headers = list({**dict(REQUEST), **changed}.items())
        connection.send_headers(1, headers, end_stream=True)
        raw.sendall(connection.data_to_send())
        answered = False
        ended = False
        with contextlib.suppress(ConnectionError, h2.exceptions.ProtocolError):
            while not ended and (data := raw.recv(65536)):
                for one in connection.receive_data(data):
                    if isinstance(one, h2.events.ResponseReceived):
                        answered = dict(one.headers or [])[b":status"] == b"200"
                    ended = ended or isinstance(
                        one, h2.events.StreamEnded | h2.events.StreamReset | h2.events.ConnectionTerminated
                    )
    assert not answered
    assert set(edge.server.seen[before:]) <= {"/sleep/1"}, "what was asked for before may still come"
    assert edge.others_are_served()
