"""ClientTrafficPolicies of TCP listeners, and what backends get byte by byte, through a real Envoy."""

from __future__ import annotations

import contextlib
import re
import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from tests.gateways.clients import exchange, gateway, policy, ports, status
from tests.gateways.rig import Rig, route, service

HTTP = {
    "plain": "",
    "trailers": "http1: {enableTrailers: true}",
    "case": "http1: {preserveHeaderCase: true}",
    "hard": "http1: {disableSafeMaxConnectionDuration: true}\n"
    "connection: {connectionLimit: {maxConnectionDuration: 2s}}",
    "shared": "onInvalidMessage: TerminateStream",
}
TCP = {
    "open": "",
    "idle": "timeout: {tcp: {idleTimeout: 2s}}",
    "one": "connection: {connectionLimit: {value: 1, closeDelay: 100ms}}",
    "proxy": "proxyProtocol: {}",
}
HTTP_PORTS, TCP_PORTS = ports(HTTP, 14000), ports(TCP, 14100)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nX-Answer-Case: 1\r\nTransfer-Encoding: chunked\r\nTrailer: X-After\r\n\r\n"
    b"2\r\nhi\r\n0\r\nX-After: 1\r\n\r\n"
)
POST = (
    b"POST / HTTP/1.1\r\nHost: shop.example\r\nX-Ask-Case: 1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nhi\r\n0\r\nX-Behind: 1\r\n\r\n"
)
TCP_ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: bytes}
spec:
  parentRefs: [SECTIONS]
  rules: [{backendRefs: [{name: echo, port: 80}]}]
---
"""


class Raw(socketserver.ThreadingTCPServer):
    """A server that keeps what it gets. With an `answer` it answers a request with that, else it sends all back."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, answer: bytes = b"") -> None:
        self.got: list[bytes] = []
        self.answer = answer
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return "127.0.0.1", int(self.server_address[1])


class _Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        server, data = self.server, b""
        assert isinstance(server, Raw)
        try:
            while piece := self.request.recv(65536):
                data += piece
                if not server.answer:
                    self.request.sendall(piece)
                elif b"0\r\n" in data and data.endswith(b"\r\n\r\n"):
                    server.got.append(data)
                    self.request.sendall(server.answer)
                    return
        except ConnectionError:
            return


class Bytes:
    """Listeners, and the servers behind them."""

    def __init__(self, rig: Rig) -> None:
        self.address = rig.block.address(1)
        self.web, self.echo = Raw(ANSWER), Raw()
        text = gateway(HTTP, first=14000)
        streams = "".join(f", {{name: {name}, port: {port}, protocol: TCP}}" for name, port in TCP_PORTS.items())
        text = text.replace("]\n---", f"{streams}]\n---", 1)
        targets = {name: f"kind: Gateway, name: edge, sectionName: {name}" for name in TCP}
        text += "".join(policy(name, body, targets[name]) for name, body in TCP.items() if body)
        sections = ", ".join(f"{{name: edge, sectionName: {name}}}" for name in TCP)
        text += service("web", *self.web.address) + service("echo", *self.echo.address) + route("web", "web")
        rig.serve(text + TCP_ROUTE.replace("SECTIONS", sections))

    def connect(self, listener: str) -> socket.socket:
        """A connection to a TCP listener."""
        return socket.create_connection((self.address, TCP_PORTS[listener]), timeout=10)

    def close(self) -> None:
        """Stop the servers."""
        for server in (self.web, self.echo):
            server.shutdown()
            server.server_close()


@pytest.fixture(scope="module")
def raw(rig: Rig) -> Iterator[Bytes]:
    found = Bytes(rig)
    yield found
    found.close()


@pytest.mark.parametrize(("listener", "answers"), [("plain", [400]), ("shared", [400, 200])])
def test_a_bad_message_ends_its_connection_or_itself_alone(raw: Bytes, listener: str, answers: list[int]) -> None:
    found = exchange(raw.address, HTTP_PORTS[listener], b"GET / HTTP/1.1\r\n\r\n", POST)
    assert [int(one) for one in re.findall(rb"HTTP/1.1 (\d+)", found)] == answers


def both(raw: Bytes, listener: str) -> tuple[bytes, bytes]:
    """What the backend gets of a request with trailers, and what the client gets of its answer."""
    answer = exchange(raw.address, HTTP_PORTS[listener], POST)
    return raw.web.got[-1], answer


def test_headers_behind_bodies(raw: Bytes) -> None:
    for listener, kept in (("plain", False), ("trailers", True)):
        asked, answered = both(raw, listener)
        assert (b"x-behind: 1" in asked.lower(), b"x-after: 1" in answered.lower()) == (kept, kept)


def test_the_case_of_names(raw: Bytes) -> None:
    asked, answered = both(raw, "plain")
    assert (b"x-ask-case: 1" in asked, b"x-answer-case: 1" in answered) == (True, True)
    asked, answered = both(raw, "case")
    assert (b"X-Ask-Case: 1" in asked, b"X-Answer-Case: 1" in answered) == (True, True)


def test_a_connection_is_closed_although_nobody_was_told(raw: Bytes) -> None:
    with socket.create_connection((raw.address, HTTP_PORTS["hard"]), timeout=10) as connection:
        connection.sendall(POST.replace(b"Connection: close\r\n", b""))
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert status(answer) == 200
    assert b"connection: close" not in answer.lower()


def test_bytes_pass(raw: Bytes) -> None:
    with raw.connect("open") as connection:
        connection.sendall(b"hello")
        assert connection.recv(10) == b"hello"


def test_silent_streams_are_closed(raw: Bytes) -> None:
    with raw.connect("idle") as connection:
        connection.sendall(b"hello")
        assert connection.recv(10) == b"hello"
        assert connection.recv(10) == b""


def test_one_stream_at_a_time(raw: Bytes) -> None:
    with raw.connect("one") as first:
        first.sendall(b"hello")
        assert first.recv(10) == b"hello"
        assert exchange(raw.address, TCP_PORTS["one"], b"hello") == b""
    deadline = time.monotonic() + 60
    answer = b""
    while not answer and time.monotonic() < deadline:
        with contextlib.suppress(ConnectionError), raw.connect("one") as another:
            another.sendall(b"hello")
            answer = another.recv(10)
    assert answer == b"hello"


def test_streams_begin_with_a_proxy_header(raw: Bytes) -> None:
    with raw.connect("proxy") as connection:
        connection.sendall(b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 80\r\nhello")
        assert connection.recv(100) == b"hello"
    assert exchange(raw.address, TCP_PORTS["proxy"], b"hello hello hello") == b""
