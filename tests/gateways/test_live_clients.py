"""What ClientTrafficPolicies do to requests, through a real Envoy: one listener for each setting."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import httpx
import pytest

from tests.gateways.clients import OK, exchange, gateway, ports, status
from tests.gateways.rig import Rig, route, service

POLICIES = {
    "plain": "",
    "underscores": "headers: {withUnderscoresAction: DropHeader}",
    "underscored": "headers: {withUnderscoresAction: Allow}",
    "keep-id": "headers: {requestID: Preserve}",
    "keep-or-make-id": "headers: {preserveXRequestID: true}",
    "make-id": "headers: {requestID: Generate}",
    "no-id": "headers: {requestID: Disable}",
    "told": "headers: {enableEnvoyHeaders: true}",
    "quiet": "headers: {disableRateLimitHeaders: true}",
    "dotted": "headers: {host: {stripTrailingHostDot: false}}",
    "small": "headers: {maxRequestHeaderLimit: 1Ki}",
    "large": "headers: {maxRequestHeaderLimit: 100Ki}",
    "unescape": "path: {escapedSlashesAction: UnescapeAndForward}",
    "redirect": "path: {escapedSlashesAction: UnescapeAndRedirect}",
    "as-it-is": "path: {escapedSlashesAction: KeepUnchanged, disableMergeSlashes: true}",
    "hops": "clientIPDetection: {xForwardedFor: {numTrustedHops: 2}}",
    "silent-hops": "clientIPDetection: {xForwardedFor: {numTrustedHops: 1, disableXForwardedForAppend: true}}",
    "ranges": "clientIPDetection: {xForwardedFor: {trustedCIDRs: [127.0.0.0/8, 10.0.0.0/8]}}",
    "elsewhere": "clientIPDetection: {xForwardedFor: {trustedCIDRs: [192.0.2.0/24], disableXForwardedForAppend: true}}",
    "elsewhere-proxy": "proxyProtocol: {optional: true}\nclientIPDetection: {xForwardedFor: {trustedCIDRs: [192.0.2.0/24]}}",
    "kept-header": "clientIPDetection: {customHeader: {name: x-client}}\nheaders: {requestID: Preserve}",
    "header": "clientIPDetection: {customHeader: {name: x-client}}",
    "closed-header": "clientIPDetection: {customHeader: {name: x-client, failClosed: true}}",
    "direct": "clientIPDetection: {directSourceIP: {}}",
    "proxy": "proxyProtocol: {}",
    "proxy-or-not": "proxyProtocol: {optional: true}",
    "old-proxy": "enableProxyProtocol: true",
    "probed": "healthCheck: {path: /alive}",
    "old-http": "http1: {http10: {}}",
    "ignored": "http1: {ignoredUpgradeTypes: [{type: Prefix, value: other}]}",
    "web": "grpc: {enableWeb: true}",
    "slow": "timeout: {http: {requestReceivedTimeout: 300ms}}",
    "slow-head": "timeout: {http: {requestHeadersReceivedTimeout: 300ms}}",
    "idle": "timeout: {http: {idleTimeout: 2s}}",
    "silent": "timeout: {http: {streamIdleTimeout: 300ms}}",
    "mute": "proxyProtocol: {}\ntimeout: {tcp: {connectionInspectionTimeout: 300ms}}",
    "three": "connection: {connectionLimit: {maxRequestsPerConnection: 2}}",
    "short": "connection: {connectionLimit: {maxStreamDuration: 300ms}}",
    "brief": "connection: {connectionLimit: {maxConnectionDuration: 300ms}}",
    "one": "connection: {connectionLimit: {value: 1}}",
    "sockets": "connection: {bufferLimit: 64Ki, socketBufferLimit: 128Ki, maxAcceptPerSocketEvent: 0}\n"
    "tcpKeepalive: {probes: 3, idleTime: 60s, interval: 10s}",
    "match": "scheme: MatchBackend",
}
PORTS = ports(POLICIES)
LIMIT = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: limited}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}]
  rateLimit: {local: {rules: [{limit: {requests: 100000, unit: Hour}}]}}
---
"""
BY_ADDRESS = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: guarded}
spec:
  parentRefs: [{name: edge}]
  hostnames: [guarded.example]
  rules: [{backendRefs: [{name: one, port: 80}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: guarded}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: guarded}]
  authorization: {defaultAction: Deny, rules: [{action: Allow, principal: {clientCIDRs: [192.0.2.0/24]}}]}
---
"""


class Clients:
    """Requests to the listener of a policy."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.address = rig, rig.block.address(1)
        text = gateway(POLICIES) + service("one", *rig.server("one").address) + route("web", "one")
        rig.serve(text + LIMIT + BY_ADDRESS)

    def ask(self, listener: str, path: str = "/", host: str = "shop.example", **headers: str) -> httpx.Response:
        """A request whose path is sent as it is written."""
        written = {
            name.replace("__", "_") if "__" in name else name.replace("_", "-"): v for name, v in headers.items()
        }
        target = httpx.URL(scheme="http", host=self.address, port=PORTS[listener], raw_path=path.encode())
        with httpx.Client(timeout=10) as client:
            return client.request("GET", target, headers={"Host": host, **written})

    def seen(self, listener: str, path: str = "/", host: str = "shop.example", **headers: str) -> dict[str, Any]:
        """What the backend saw: `path` and `headers`, whose names are in lower case."""
        told: dict[str, Any] = self.ask(listener, path, host, **headers).json()
        return {**told, "headers": {name.lower(): text for name, text in told["headers"].items()}}

    def raw(self, listener: str, *pieces: bytes) -> bytes:
        """What comes back for bytes."""
        return exchange(self.address, PORTS[listener], *pieces)

    def connect(self, listener: str) -> socket.socket:
        """A connection."""
        return socket.create_connection((self.address, PORTS[listener]), timeout=10)


@pytest.fixture(scope="module")
def clients(rig: Rig) -> Clients:
    return Clients(rig)


def test_underscores_in_names_of_headers(clients: Clients) -> None:
    assert clients.ask("plain", x__a="1").status_code == 400
    assert "x_a" not in clients.seen("underscores", x__a="1")["headers"]
    assert clients.seen("underscored", x__a="1")["headers"]["x_a"] == "1"


def test_request_ids(clients: Clients) -> None:
    own = "3b2f6d0a-0000-4000-8000-000000000001"

    def told(listener: str, **headers: str) -> str | None:
        found: str | None = clients.seen(listener, **headers)["headers"].get("x-request-id")
        return found

    assert told("plain", x_request_id=own) not in (None, own)
    assert told("make-id", x_request_id=own) not in (None, own)
    assert told("keep-id", x_request_id=own) == own
    assert told("keep-id") is None
    assert told("keep-or-make-id", x_request_id=own) == own
    assert told("keep-or-make-id") is not None
    assert told("no-id") is None


def test_envoys_own_headers(clients: Clients) -> None:
    assert "x-envoy-upstream-service-time" not in clients.ask("plain").headers
    assert "x-envoy-upstream-service-time" in clients.ask("told").headers
    assert clients.ask("plain").headers["x-ratelimit-limit"].startswith("100000")
    assert "x-ratelimit-limit" not in clients.ask("quiet").headers


def test_the_dot_behind_a_host(clients: Clients) -> None:
    assert clients.seen("plain", host="shop.example.")["headers"]["host"] == "shop.example"
    assert clients.seen("dotted", host="shop.example.")["headers"]["host"] == "shop.example."


def test_the_size_of_headers(clients: Clients) -> None:
    sizes = {listener: clients.ask(listener, x_long="x" * 5000).status_code for listener in ("plain", "small")}
    assert sizes == {"plain": 200, "small": 431}
    long = "x" * 40_000
    sizes = {listener: clients.ask(listener, x_long=long, x_more=long).status_code for listener in ("plain", "large")}
    assert sizes == {"plain": 431, "large": 200}


def test_paths(clients: Clients) -> None:
    assert clients.ask("plain", "/a%2Fb").status_code == 400
    assert clients.seen("plain", "/a//b/../c")["path"] == "/a/c"
    assert clients.seen("unescape", "/a%2Fb")["path"] == "/a/b"
    answer = clients.ask("redirect", "/a%2Fb")
    assert (answer.status_code, answer.headers["location"]) == (307, "/a/b")
    assert clients.seen("as-it-is", "/a%2Fb//c")["path"] == "/a%2Fb//c"


@pytest.mark.parametrize(
    ("listener", "written", "added"),
    [
        ("plain", "192.0.2.7", 1),
        ("direct", "192.0.2.7", 1),
        ("silent-hops", "192.0.2.7", 0),
        ("ranges", "192.0.2.7", 1),
    ],
)
def test_what_backends_are_told_of_addresses(clients: Clients, listener: str, written: str, added: int) -> None:
    first, *more = clients.seen(listener, x_forwarded_for=written)["headers"]["x-forwarded-for"].split(",")
    assert (first, len(more)) == (written, added)


@pytest.mark.parametrize(
    ("listener", "headers", "expected"),
    [
        ("plain", {"x-forwarded-for": "192.0.2.7"}, 403),
        ("direct", {"x-forwarded-for": "192.0.2.7"}, 403),
        ("hops", {"x-forwarded-for": "192.0.2.7, 10.0.0.1"}, 200),
        ("hops", {"x-forwarded-for": "192.0.2.7"}, 403),
        ("hops", {"x-forwarded-for": "192.0.2.7, 8.8.8.8, 10.0.0.1"}, 403),
        ("silent-hops", {"x-forwarded-for": "192.0.2.7"}, 200),
        ("silent-hops", {"x-forwarded-for": "192.0.2.7, 8.8.8.8"}, 403),
        ("ranges", {"x-forwarded-for": "192.0.2.7, 10.0.0.1"}, 200),
        ("ranges", {"x-forwarded-for": "192.0.2.7, 8.8.8.8, 10.0.0.1"}, 403),
        ("header", {"x-client": "192.0.2.7"}, 200),
        ("header", {"x-client": "8.8.8.8"}, 403),
        ("header", {}, 403),
        ("closed-header", {"x-client": "192.0.2.7"}, 200),
    ],
)
def test_rules_by_address_see_the_client(
    clients: Clients, listener: str, headers: dict[str, str], expected: int
) -> None:
    written = {name.replace("-", "_"): text for name, text in headers.items()}
    assert clients.ask(listener, host="guarded.example", **written).status_code == expected


FORGED = {
    "x-forwarded-proto": "https",
    "x-envoy-original-path": "/forged",
    "x-envoy-original-host": "forged.example",
    "x-envoy-internal": "true",
    "x-envoy-external-address": "192.0.2.7",
    "x-envoy-attempt-count": "7",
    "x-request-id": "3b2f6d0a-0000-4000-8000-000000000002",
}


@pytest.mark.parametrize(
    ("listener", "kept"),
    [
        ("plain", set()),
        ("direct", set()),
        ("elsewhere", set()),
        ("elsewhere-proxy", set()),
        ("header", set()),
        ("kept-header", {"x-request-id"}),
        ("hops", {"x-forwarded-proto"}),
        ("ranges", {"x-forwarded-proto", "x-request-id"}),
    ],
)
def test_only_proxies_that_are_trusted_are_believed(clients: Clients, listener: str, kept: set[str]) -> None:
    forged = {name.replace("-", "_"): text for name, text in FORGED.items()}
    told = clients.seen(listener, **forged)["headers"]
    assert {name for name, text in FORGED.items() if told.get(name) == text} == kept
    assert told["x-forwarded-proto"] == ("https" if "x-forwarded-proto" in kept else "http")


def test_a_stranger_is_not_believed_where_proxies_of_a_range_are(clients: Clients) -> None:
    assert clients.seen("elsewhere", x_forwarded_for="192.0.2.7")["headers"]["x-forwarded-for"] != "192.0.2.7"
    assert clients.ask("elsewhere", host="guarded.example", x_forwarded_for="192.0.2.7").status_code == 403
    request = OK.replace(b"Connection", b"x-forwarded-proto: https\r\nx-forwarded-for: 8.8.8.8\r\nConnection")
    said = {
        first: clients.raw("elsewhere-proxy", f"PROXY TCP4 {first} 10.0.0.1 5000 80\r\n".encode() + request)
        for first in ("192.0.2.9", "198.51.100.9")
    }
    protocols = {
        first: {name.lower(): text for name, text in json.loads(answer.partition(b"\r\n\r\n")[2])["headers"].items()}
        for first, answer in said.items()
    }
    assert {first: told["x-forwarded-proto"] for first, told in protocols.items()} == {
        "192.0.2.9": "https",
        "198.51.100.9": "http",
    }


def test_without_the_header_nobody_comes_in(clients: Clients) -> None:
    assert clients.ask("closed-header").status_code == 403
    assert clients.ask("closed-header", x_client="none").status_code == 403
    assert clients.ask("header").status_code == 200


@pytest.mark.parametrize(
    ("listener", "first", "expected"),
    [
        ("proxy", b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 80\r\n", 200),
        ("proxy", b"PROXY TCP4 8.8.8.8 10.0.0.1 5000 80\r\n", 403),
        ("proxy", b"", 0),
        ("old-proxy", b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 80\r\n", 200),
        ("old-proxy", b"", 0),
        ("proxy-or-not", b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 80\r\n", 200),
        ("proxy-or-not", b"", 403),
        ("plain", b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 80\r\n", 400),
    ],
)
def test_the_proxy_protocol(clients: Clients, listener: str, first: bytes, expected: int) -> None:
    request = first + OK.replace(b"shop", b"guarded")
    assert status(clients.raw(listener, request)) == expected


def test_probes_are_answered_by_the_gateway(clients: Clients) -> None:
    answer = clients.ask("probed", "/alive", "any.example")
    assert (answer.status_code, answer.text) == (200, "")
    assert clients.ask("probed", "/alive/not").json()["server"] == "one"
    assert clients.ask("plain", "/alive").json()["server"] == "one"


def test_http_1_0(clients: Clients) -> None:
    request = b"GET / HTTP/1.0\r\nHost: shop.example\r\n\r\n"
    assert (status(clients.raw("plain", request)), status(clients.raw("old-http", request))) == (426, 200)


def test_upgrades_that_are_not_known(clients: Clients) -> None:
    more = b"Connection: Upgrade, close\r\nUpgrade: other/1\r\n"
    request = OK.replace(b"Connection: close\r\n", more)
    assert (status(clients.raw("plain", request)), status(clients.raw("ignored", request))) == (403, 200)


def test_grpc_web_on_every_route(clients: Clients) -> None:
    answers = {one: clients.ask(one, content_type="application/grpc-web") for one in ("plain", "web")}
    assert answers["plain"].json()["headers"]["content-type"] == "application/grpc-web"
    assert answers["web"].headers["content-type"] == "application/grpc-web+proto"
    assert '"content-type": "application/grpc"' in answers["web"].headers["grpc-message"]


def test_a_slow_request_ends(clients: Clients) -> None:
    head = b"POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 10\r\n\r\n12"
    assert status(clients.raw("slow", head)) == 408
    assert status(clients.raw("silent", head)) == 408


def test_slow_headers_end(clients: Clients) -> None:
    assert status(clients.raw("slow-head", b"GET / HTTP/1.1\r\nHost: shop.example\r\nX-A: ")) == 408


def test_a_connection_without_requests_is_closed(clients: Clients) -> None:
    request = OK.replace(b"Connection: close\r\n", b"")
    assert status(clients.raw("idle", request)) == 200


def test_a_connection_that_says_nothing_is_closed(clients: Clients) -> None:
    assert clients.raw("mute") == b""


def test_a_connection_has_so_many_requests(clients: Clients) -> None:
    request = OK.replace(b"Connection: close\r\n", b"")
    answer = clients.raw("three", request * 2)
    assert (answer.count(b"HTTP/1.1 200"), answer.lower().count(b"connection: close")) == (2, 1)


def test_a_request_lives_so_long(clients: Clients) -> None:
    assert clients.ask("short", "/sleep/1").status_code in (408, 504)


def test_a_connection_lives_so_long(clients: Clients) -> None:
    """An HTTP/1 client is told with its next answer, and no request is lost."""
    request = OK.replace(b"Connection: close\r\n", b"")
    deadline = time.monotonic() + 60
    with clients.connect("brief") as connection:
        answer = b""
        while b"connection: close" not in answer.lower() and time.monotonic() < deadline:
            connection.sendall(request)
            answer = connection.recv(65536)
            assert status(answer) == 200
        assert b"connection: close" in answer.lower()


def test_one_connection_at_a_time(clients: Clients) -> None:
    with clients.connect("one") as first:
        first.sendall(OK.replace(b"Connection: close\r\n", b""))
        assert status(first.recv(65536)) == 200
        assert clients.raw("one", OK) == b""
    deadline = time.monotonic() + 60
    while (answer := clients.raw("one", OK)) == b"" and time.monotonic() < deadline:
        pass
    assert status(answer) == 200


def test_sockets_have_what_was_asked_for(clients: Clients) -> None:
    assert clients.ask("sockets").status_code == 200
    dump = clients.rig.envoy.admin("config_dump?resource=dynamic_listeners")["configs"]
    port = PORTS["sockets"]
    (listener,) = [
        one["active_state"]["listener"] for one in dump if one["name"].endswith(f"-{port}") and "active_state" in one
    ]
    assert listener["per_connection_buffer_limit_bytes"] == 65536
    assert listener["tcp_keepalive"] == {"keepalive_probes": 3, "keepalive_time": 60, "keepalive_interval": 10}
    assert [one["int_value"] for one in listener["socket_options"]] == ["131072", "131072"]
    assert listener["max_connections_to_accept_per_socket_event"] == 2**32 - 1


def test_the_scheme_that_a_backend_sees(clients: Clients) -> None:
    assert clients.ask("match").status_code == 200
    dump = json.dumps(clients.rig.envoy.admin("config_dump?resource=dynamic_listeners"))
    assert dump.count('"match_upstream": true') == 1
