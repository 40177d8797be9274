"""TLS on both sides of a real Envoy, backends by DNS name, HTTP/2 to backends, several ports and addresses."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from tests.e2e.certificates import self_signed
from tests.translate.graphs import ORIGIN, forward, host, route, setting
from tests.translate.live import Envoy
from xds_server.features.early_headers import ClientHeadersSpec
from xds_server.graph import Backend, BackendTls, Certificate, Endpoint, Gateway, HttpChain, Port, Respond

HSTS = {"lateResponseHeaders": {"set": [{"name": "strict-transport-security", "value": "max-age=1"}]}}


def https_chain(name: str) -> HttpChain:
    chain, key = self_signed(f"{name}.example")
    hosts = (host(f"{name}.example", route(Respond(200, name))),)
    settings = (setting("early_headers", ClientHeadersSpec, HSTS),)
    served = (Certificate(f"default/{name}", chain.encode(), key.encode()),)
    return HttpChain(f"default/edge/{name}", hosts, (f"{name}.example",), served, settings, (ORIGIN,))


@pytest.fixture(scope="module")
def edge(envoy: Envoy, tmp_path_factory: pytest.TempPathFactory) -> Envoy:
    folder: Path = tmp_path_factory.mktemp("server")
    chain, key = self_signed("backend.example")
    (folder / "chain").write_text(chain)
    (folder / "key").write_text(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "chain", folder / "key")
    plain, secure = envoy.server("plain"), envoy.server("secure", context)

    def over_tls(name: str, tls: BackendTls) -> Backend:
        return Backend(name, (Endpoint(*secure.address),), tls=tls)

    by_name = Backend("dns", (Endpoint("localhost", plain.address[1]),), dns=True)
    itself = HttpChain("default/edge/inner", (host("*", route(Respond(200, "inner"))),))
    envoy.apply(Gateway(ORIGIN.key, (Port("inner", ("127.0.0.1",), 0, (itself,)),)))
    http2 = Backend("http2", (Endpoint("127.0.0.1", envoy.ports["inner"]),), protocol="h2c")
    proven = BackendTls("backend.example", "backend.example", chain)
    wrong_name = BackendTls("other.example", "other.example", chain)
    unknown = BackendTls("backend.example", "backend.example")
    hosts = (
        host("proven.example", route(forward(over_tls("proven", proven)))),
        host("wrong.example", route(forward(over_tls("wrong", wrong_name)))),
        host("unknown.example", route(forward(over_tls("unknown", unknown)))),
        host("dns.example", route(forward(by_name))),
        host("http2.example", route(forward(http2))),
    )
    ports = (
        Port("plain", ("127.0.0.1", "127.0.0.3"), 0, (HttpChain("default/edge/plain", hosts),)),
        Port("secure", ("127.0.0.1",), 0, (https_chain("a"), https_chain("b")), tls=True),
        Port("inner", ("127.0.0.1",), 0, (itself,)),
    )
    envoy.apply(Gateway(ORIGIN.key, ports))
    return envoy


def ask(edge: Envoy, name: str) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{edge.ports['plain']}/", headers={"Host": name}, timeout=10)


def handshake(edge: Envoy, name: str | None, *protocols: str) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(list(protocols) or ["http/1.1"])
    raw = socket.create_connection(("127.0.0.1", edge.ports["secure"]), timeout=30)
    return context.wrap_socket(raw, server_hostname=name)


@pytest.mark.parametrize("name", ["a.example", "b.example"])
def test_the_name_chooses_certificate_and_routes(edge: Envoy, name: str) -> None:
    with handshake(edge, name) as connection:
        shown = x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")
        assert shown.subject.rfc4514_string() == f"CN={name}"
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b"")).decode()
    assert answer.startswith("HTTP/1.1 200")
    assert "strict-transport-security: max-age=1" in answer
    assert answer.endswith(name[0])


@pytest.mark.parametrize("name", ["c.example", None])
def test_an_unknown_name_gets_no_certificate(edge: Envoy, name: str | None) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(edge, name).close()


def test_http2_is_offered_first(edge: Envoy) -> None:
    with handshake(edge, "a.example", "http/1.1", "h2") as connection:
        assert connection.selected_alpn_protocol() == "h2"
        assert connection.version() == "TLSv1.3"


def test_a_backend_is_verified(edge: Envoy) -> None:
    assert ask(edge, "proven.example").json()["server"] == "secure"
    for name in ("wrong.example", "unknown.example"):
        assert ask(edge, name).status_code == 503
    assert edge.servers[1].seen == ["/"]


def test_a_backend_by_dns_name(edge: Envoy) -> None:
    assert ask(edge, "dns.example").json()["server"] == "plain"


def test_http2_to_a_backend(edge: Envoy) -> None:
    before = edge.stat("http.default/edge/inner.downstream_rq_http2_total")
    assert ask(edge, "http2.example").text == "inner"
    assert edge.stat("http.default/edge/inner.downstream_rq_http2_total") == before + 1
