"""How connections to backends are made, in a real Envoy: buffers, PROXY protocol, HTTP/2, names."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from tests.e2e.certificates import self_signed
from tests.translate.graphs import Plain, backend, forward, gateway, host, route, setting
from tests.translate.live import Envoy
from xds_server.features.backend_proxy_protocol import BackendProxyProtocolSpec
from xds_server.features.connection import ConnectionSpec
from xds_server.features.dns import DnsSpec
from xds_server.features.health import HealthCheckSpec
from xds_server.features.parts.http2_settings import Http2SettingsSpec
from xds_server.graph import Backend, BackendTls, Endpoint, Setting

V2 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11"
EVERY_HTTP2 = {
    "initialStreamWindowSize": "128Ki",
    "initialConnectionWindowSize": "1Mi",
    "maxConcurrentStreams": 1,
    "onInvalidMessage": "TerminateStream",
    "connectionKeepalive": {"interval": "30s", "timeout": "5s", "intervalJitter": 0, "idleInterval": "10s"},
}
QUICK_PINGS = {"connectionKeepalive": {"interval": "100ms", "timeout": "100ms"}}
PROBE = {"type": "HTTP", "http": {"path": "/probe"}}
CALL = {"content-type": "application/grpc", "te": "trailers"}


class Recorder:
    """A server that keeps how each connection begins, and answers with 200 once it has seen a request."""

    def __init__(self, path: Path | None = None) -> None:
        self.begins: list[bytes] = []
        if path is None:
            self._socket = socket.create_server(("127.0.0.1", 0))
            self.address: tuple[str, int] = self._socket.getsockname()
        else:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.bind(str(path))
            self._socket.listen()
            self.address = str(path), 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                seen = b""
                while b"\r\n\r\n" not in seen.removeprefix(V2[:12]) and (data := connection.recv(4096)):
                    seen += data
                self.begins.append(seen)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")

    def close(self) -> None:
        """Stop."""
        self._socket.close()


class Together(grpc.GenericRpcHandler):
    """Answers once two calls are there at the same time."""

    def __init__(self) -> None:
        self._both = threading.Barrier(2, timeout=20)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        def answer(_request: bytes, _context: grpc.ServicerContext) -> bytes:
            self._both.wait()
            return b""

        return grpc.unary_unary_rpc_method_handler(answer)


class Greeter(grpc.GenericRpcHandler):
    """Answers every call at once."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        return grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"hello")


@pytest.fixture(scope="module")
def secret() -> Iterator[Backend]:
    """A gRPC server with TLS, which takes no client that does not offer HTTP/2."""
    chain, key = self_signed("calls.example")
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((Greeter(),))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key.encode(), chain.encode())]))
    server.start()
    tls = BackendTls(sni="calls.example", san="calls.example", ca=chain)
    yield replace(backend(("127.0.0.1", port), name="secret"), tls=tls)
    server.stop(None).wait(5)


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    one = Recorder()
    yield one
    one.close()


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorder]:
    one = Recorder(tmp_path_factory.mktemp("socket") / "web")
    yield one
    one.close()


@pytest.fixture(scope="module")
def silent() -> Iterator[socket.socket]:
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        yield one


@pytest.fixture(scope="module")
def calls() -> Iterator[int]:
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((Together(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None).wait(5)


def connection(**written: Any) -> Setting:
    return setting("connection", ConnectionSpec, written)


def http2(**written: Any) -> Setting:
    return setting("backend_http2", Http2SettingsSpec, written)


def lookups(family: str) -> Setting:
    written = {"lookupFamily": family, "dnsRefreshRate": "5s", "respectDnsTtl": False}
    return setting("dns", DnsSpec, written)


def proxied(version: str) -> Setting:
    return setting("backend_proxy_protocol", BackendProxyProtocolSpec, {"version": version})


@pytest.fixture(scope="module")
def edge(
    envoy: Envoy, recorder: Recorder, local: Recorder, silent: socket.socket, calls: int, secret: Backend
) -> Envoy:
    server = envoy.server("one")
    web, told = backend(server.address), backend(recorder.address, name="told")
    named = Backend("named", (Endpoint("localhost", server.address[1]),), dns=True)
    speaking = Backend("calls", (Endpoint("127.0.0.1", calls),), protocol="h2c")
    mute = Backend("mute", (Endpoint("127.0.0.1", silent.getsockname()[1]),), protocol="h2c")
    places = {
        "narrow": (web, connection(bufferLimit="1Ki", socketBufferLimit="64Ki")),
        "wide": (web, connection(bufferLimit="64Mi")),
        "ahead": (web, connection(preconnect={"perEndpointPercent": 200, "predictivePercent": 100})),
        "v1": (told, proxied("V1")),
        "v2": (told, proxied("V2")),
        "alone": (speaking, http2(**EVERY_HTTP2)),
        "shared": (speaking, http2(maxConcurrentStreams=100)),
        "mute": (mute, http2(**QUICK_PINGS)),
        "plain": (web, http2(**EVERY_HTTP2)),
        "four": (named, lookups("IPv4")),
        "six": (named, lookups("IPv6")),
        "same": (secret, setting("client_protocol", Plain(), True)),
        "fixed": (secret, connection(bufferLimit="32Ki")),
        "unix": (backend(local.address, name="unix"), connection(bufferLimit="32Ki")),
        "probed": (backend(local.address, name="unix"), setting("health", HealthCheckSpec, {"active": PROBE})),
    }
    envoy.apply(
        gateway(
            *(
                host(f"{name}.example", route(forward(where, suffix=f"~{name}"), each))
                for name, (where, each) in places.items()
            )
        )
    )
    return envoy


def test_a_small_buffer_holds_back_who_sends(edge: Envoy) -> None:
    body = b"x" * 500_000
    for name in ("narrow", "wide"):
        url = f"http://127.0.0.1:{edge.port}/"
        assert edge.get(f"{name}.example").status_code == 200  # a request that waits for a connection counts too
        assert httpx.post(url, content=body, headers={"Host": f"{name}.example"}, timeout=10).status_code == 200
    paused = "upstream_flow_control_backed_up_total"
    assert edge.stat(f"cluster.web~narrow.{paused}") > 0
    assert edge.stat(f"cluster.web~wide.{paused}") == 0


def test_connections_are_made_ahead(edge: Envoy) -> None:
    assert edge.get("ahead.example").status_code == 200
    assert edge.stat("cluster.web~ahead.upstream_cx_total") == 2


def test_a_backend_is_told_the_clients_address(edge: Envoy, recorder: Recorder) -> None:
    for name, begin in {"v1": b"PROXY TCP4 127.0.0.1 127.0.0.1 ", "v2": V2}.items():
        recorder.begins.clear()
        assert edge.get(f"{name}.example").status_code == 200
        assert recorder.begins[0].startswith(begin), recorder.begins


@pytest.mark.parametrize(("name", "connections"), [("alone", 2), ("shared", 1)])
def test_streams_share_a_connection_up_to_a_limit(edge: Envoy, name: str, connections: int) -> None:
    def call(_: int) -> int:
        headers = {"Host": f"{name}.example", **CALL}
        url = f"http://127.0.0.1:{edge.port}/a.B/C"
        return httpx.post(url, content=bytes(5), headers=headers, timeout=20).status_code

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(call, range(2))) == [200, 200]
    assert edge.stat(f"cluster.calls~{name}.upstream_cx_total") == connections


def test_a_dead_connection_is_noticed_by_pings(edge: Envoy) -> None:
    assert edge.get("mute.example").status_code == 503
    assert edge.stat("cluster.mute~mute.http2.keepalive_timeout") > 0


def test_settings_of_http2_leave_other_backends_alone(edge: Envoy) -> None:
    assert edge.get("plain.example").status_code == 200


def test_a_name_has_addresses_of_the_wanted_family(edge: Envoy) -> None:
    assert edge.get("four.example").status_code == 200
    assert edge.get("six.example").status_code == 503


def test_requests_and_probes_go_to_unix_sockets(edge: Envoy, local: Recorder) -> None:
    for name in ("unix", "probed"):
        assert edge.get(f"{name}.example").status_code == 200
    probes = [one for one in local.begins if one.startswith(b"GET /probe ")]
    assert b"host: localhost\r\n" in probes[0]


def test_the_clients_protocol_is_offered_to_backends_with_tls(edge: Envoy) -> None:
    said = []
    for name in ("same", "fixed"):
        options = [("grpc.default_authority", f"{name}.example")]
        with grpc.insecure_channel(f"127.0.0.1:{edge.port}", options=options) as channel:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/a.B/C")
            said.append(call.future(b"", timeout=20).code())
    assert said == [grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE]
