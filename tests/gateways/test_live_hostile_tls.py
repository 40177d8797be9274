"""What stands between strangers and a listener with TLS: handshakes have an end, browsers hear where to stay, and plain HTTP
leads only where somebody is served.
"""

from __future__ import annotations

import socket
import ssl

import pytest

from tests.e2e.certificates import Authority
from tests.gateways.clients import everything, policy
from tests.gateways.rig import Rig, route, secret, service

TLS = "tls: {certificateRefs: [{name: cert}]}"
HSTS = b"strict-transport-security: max-age=31536000"
REDIRECT = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: to-tls}
spec:
  parentRefs: [{name: edge, sectionName: http}]
  hostnames: [shop.example]
  rules: [{filters: [{type: RequestRedirect, requestRedirect: {scheme: https, port: 10443, statusCode: 301}}]}]
---
"""
BODY = """headers: {lateResponseHeaders: {set: [{name: strict-transport-security, value: max-age=31536000}]}}
timeout: {tcp: {tlsHandshakeTimeout: 1s, connectionInspectionTimeout: 1s}}"""


@pytest.fixture(scope="module")
def edge(rig: Rig) -> Rig:
    server = rig.server("one")
    rig.serve(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge}\nspec:\n"
        "  addresses: [{value: ADDR.1}]\n  listeners:\n  - {name: http, port: 10080, protocol: HTTP}\n"
        f"  - {{name: https, port: 10443, protocol: HTTPS, hostname: shop.example, {TLS}}}\n---\n"
        + secret("cert", Authority().issue("shop.example"))
        + service("one", *server.address)
        + route("web", "one", "name: edge, sectionName: https", hostnames="shop.example")
        + REDIRECT
        + policy("browsers", BODY, "kind: Gateway, name: edge, sectionName: https")
    )
    return rig


def said(edge: Rig, request: bytes) -> bytes:
    """What comes back over TLS until the other side closes."""
    with edge.connect("shop.example") as connection:
        connection.sendall(request)
        return everything(connection)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n", b"200"),
        (b"GET / HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n", b"404"),
        (b"GET / HTTP/1.1\r\nHost: shop.example\r\nX_Y: 1\r\nConnection: close\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /%2F HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: shop.example\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", b"431"),
    ],
)
def test_every_answer_tells_browsers_to_stay(edge: Rig, request_: bytes, expected: bytes) -> None:
    answer = said(edge, request_)
    assert answer.split()[1] == expected
    assert HSTS in answer.lower()


def test_plain_http_leads_to_the_tls_port_for_hosts_that_are_served(edge: Rig) -> None:
    moved = edge.ask("shop.example", path="/a?b=c")
    assert (moved.status_code, moved.headers["location"]) == (301, "https://shop.example:10443/a?b=c")
    assert "strict-transport-security" not in moved.headers
    stranger = edge.ask("evil.example")
    assert (stranger.status_code, "location" in stranger.headers) == (404, False)


def test_handshakes_that_do_not_end_are_ended(edge: Rig) -> None:
    hello = ssl.MemoryBIO()
    context = ssl.create_default_context()
    silent = context.wrap_bio(ssl.MemoryBIO(), hello, server_hostname="shop.example")
    with pytest.raises(ssl.SSLWantReadError):
        silent.do_handshake()
    whole = hello.read()
    hostile = [socket.create_connection((edge.block.address(1), 10443), timeout=20) for _ in range(60)]
    try:
        for number, one in enumerate(hostile):
            one.sendall((b"", whole[:50], whole)[number % 3])
        assert edge.ask_tls("shop.example") == (200, "one")
        for one in hostile:
            everything(one)  # returns when Envoy closes, and raises if it does not
        assert edge.ask_tls("shop.example") == (200, "one")
    finally:
        for one in hostile:
            one.close()
