"""Translated routes in a real Envoy: what a path, a weight, a bad share, CONNECT or a redirect comes to."""

from __future__ import annotations

import socket
from collections import Counter

import httpx
import pytest

from tests.translate.graphs import backend, forward, gateway, host, route
from tests.translate.live import Envoy
from xds_server.graph import Backend, PathType, Redirect, Respond, ValueMatch

EXACT, REGEX = PathType.EXACT, PathType.REGEX


@pytest.fixture(scope="module")
def edge(envoy: Envoy) -> Envoy:
    one, two, three = (backend(envoy.server(name).address, name=name) for name in ("one", "two", "three"))
    spread = Backend("spread", (*one.endpoints, *two.endpoints, *three.endpoints))
    to_one, to_two = forward(one), forward(two)
    envoy.apply(
        gateway(
            host(
                "paths.example",
                route(to_two, path_type=EXACT, path="/exact"),
                route(to_two, path_type=REGEX, path="/items/[0-9]+"),
                route(to_one, path="/api"),
                route(to_two, headers=(ValueMatch("x-beta", "1"),)),
                route(to_two, query=(ValueMatch("v", "[2-9]", regex=True),)),
                route(to_two, method="DELETE"),
            ),
            host("any.example", route(to_one)),
            host("*.wild.example", route(to_two)),
            host("canary.example", route(forward(one, two, weights=(90, 10)))),
            host("zero.example", route(forward(one, two, weights=(0, 1)))),
            host("share.example", route(forward(one, None))),
            host("none.example", route(forward(None))),
            host("empty.example", route(forward())),
            host("idle.example", route(forward(Backend("idle", ())))),
            host("spread.example", route(forward(spread))),
            host(
                "answer.example",
                route(Respond(200, '{"a": "100% %REQ(host)%"}', "application/json"), path="/json"),
                route(Respond(403), method="CONNECT"),
                route(Respond(418, "short and stout")),
            ),
            host(
                "away.example",
                route(Redirect(308, "https", "shop.example", 8443), path="/all"),
                route(Redirect(301, path="/new"), path="/full"),
                route(Redirect(303, prefix="/v2"), path="/v1"),
                route(Redirect(307, prefix="/"), path="/strip"),
                route(Redirect(302, prefix="/in")),
            ),
            host("*", route(Respond(403), method="CONNECT")),
        )
    )
    return envoy


@pytest.mark.parametrize(
    ("path", "server"),
    [
        ("/api", "one"),
        ("/api/", "one"),
        ("/api/x?y", "one"),
        ("/exact", "two"),
        ("/items/4", "two"),
        ("/items/4?a", "two"),
    ],
)
def test_a_path_leads_to_its_backend(edge: Envoy, path: str, server: str) -> None:
    assert edge.get("paths.example", path).json()["server"] == server


@pytest.mark.parametrize("path", ["/", "/apix", "/exact/", "/items/4x", "/items/4/5"])
def test_what_matches_nothing_is_not_found(edge: Envoy, path: str) -> None:
    answer = edge.get("paths.example", path)
    assert (answer.status_code, answer.content) == (404, b"")


def test_headers_parameters_and_methods_choose(edge: Envoy) -> None:
    assert edge.get("paths.example", "/b", x_beta="1").json()["server"] == "two"
    assert edge.get("paths.example", "/b?v=3").json()["server"] == "two"
    assert edge.get("paths.example", "/b", method="DELETE").json()["server"] == "two"
    assert edge.get("paths.example", "/b?v=1", x_beta="2").status_code == 404


@pytest.mark.parametrize("name", ["any.example", "any.example:8080", "ANY.example", "any.example."])
def test_a_host_counts_without_port_case_and_final_dot(edge: Envoy, name: str) -> None:
    assert edge.get(name).json()["server"] == "one"


def test_hosts_by_wildcard_and_unknown_hosts(edge: Envoy) -> None:
    assert edge.get("a.wild.example").json()["server"] == "two"
    answer = edge.get("other.example")
    assert (answer.status_code, answer.content) == (404, b"")


def test_weights(edge: Envoy) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{edge.port}", headers={"Host": "canary.example"}) as client:
        seen = Counter(client.get("/").json()["server"] for _ in range(1000))
    assert 65 <= seen["two"] <= 135, seen
    assert {edge.get("zero.example").json()["server"] for _ in range(5)} == {"two"}


def test_a_bad_share_answers_500_and_nothing_more(edge: Envoy) -> None:
    seen = Counter(edge.get("share.example").status_code for _ in range(100))
    assert set(seen) == {200, 500}
    assert 25 <= seen[500] <= 75, seen
    assert edge.get("none.example").status_code == 500
    assert edge.get("empty.example").status_code == 500


def test_a_backend_without_endpoints_answers_503(edge: Envoy) -> None:
    assert edge.get("idle.example").status_code == 503


def test_round_robin_is_even(edge: Envoy) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{edge.port}", headers={"Host": "spread.example"}) as client:
        seen = Counter(client.get("/").json()["server"] for _ in range(300))
    assert all(99 <= count <= 101 for count in seen.values()), seen
    assert len(seen) == 3


def test_an_answer_of_the_gateway_is_literal(edge: Envoy) -> None:
    answer = edge.get("answer.example", "/json")
    assert (answer.status_code, answer.text) == (200, '{"a": "100% %REQ(host)%"}')
    assert answer.headers["content-type"] == "application/json"
    assert edge.get("answer.example").status_code == 418


def say(edge: Envoy, text: str) -> str:
    """The first line of the answer to raw bytes."""
    with socket.create_connection(("127.0.0.1", edge.port), timeout=30) as connection:
        connection.sendall(text.replace("\n", "\r\n").encode())
        return connection.recv(4096).decode().partition("\r\n")[0]


@pytest.mark.parametrize("target", ["answer.example:443", "anywhere.example:443", "192.0.2.1:22"])
def test_connect_reaches_its_route(edge: Envoy, target: str) -> None:
    before = edge.stat("http.default/edge/http.no_route")
    assert say(edge, f"CONNECT {target} HTTP/1.1\nHost: {target}\n\n") == "HTTP/1.1 403 Forbidden"
    assert edge.stat("http.default/edge/http.no_route") == before


def test_websockets_pass(edge: Envoy) -> None:
    upgrade = "GET /api HTTP/1.1\r\nHost: any.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    with socket.create_connection(("127.0.0.1", edge.port), timeout=30) as connection:
        connection.sendall(upgrade.encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 101")
        connection.sendall(b"hello")
        assert connection.recv(4096) == b"hello"


@pytest.mark.parametrize("path", ["/public%2f..%2forders", "/public%5c..%5corders", "/api%2Fx"])
def test_escaped_slashes_are_refused(edge: Envoy, path: str) -> None:
    assert say(edge, f"GET {path} HTTP/1.1\nHost: any.example\n\n") == "HTTP/1.1 400 Bad Request"


def test_paths_are_normalised_before_routing(edge: Envoy) -> None:
    assert say(edge, "GET /x/..//api/./y HTTP/1.1\nHost: paths.example\n\n") == "HTTP/1.1 200 OK"
    assert say(edge, "GET /api/../secret HTTP/1.1\nHost: paths.example\n\n") == "HTTP/1.1 404 Not Found"


def test_underscores_in_header_names_are_refused(edge: Envoy) -> None:
    assert say(edge, "GET / HTTP/1.1\nHost: any.example\nx_a: 1\n\n") == "HTTP/1.1 400 Bad Request"


@pytest.mark.parametrize(
    ("path", "status", "location"),
    [
        ("/all/a?b=c", 308, "https://shop.example:8443/all/a?b=c"),
        ("/full/a?b=c", 301, "http://away.example/new?b=c"),
        ("/v1", 303, "http://away.example/v2"),
        ("/v1/a", 303, "http://away.example/v2/a"),
        ("/strip/a/b", 307, "http://away.example/a/b"),
        ("/strip", 307, "http://away.example/"),
        ("/other", 302, "http://away.example/in/other"),
    ],
)
def test_redirects(edge: Envoy, path: str, status: int, location: str) -> None:
    answer = edge.get("away.example", path)
    assert (answer.status_code, answer.headers["location"]) == (status, location)


def test_nobody_steers_envoy_by_headers(edge: Envoy) -> None:
    answer = edge.get("any.example", "/sleep/0.3", x_envoy_upstream_rq_timeout_ms="50", x_envoy_max_retries="3")
    assert answer.status_code == 200
    seen = {name.lower() for name in answer.json()["headers"]}
    assert not {name for name in seen if name.startswith("x-envoy")}, seen
    assert not {name for name in answer.headers if name.startswith("x-envoy")}


def test_a_client_does_not_choose_its_address(edge: Envoy) -> None:
    headers = edge.get("any.example", x_forwarded_for="192.0.2.7").json()["headers"]
    assert headers["x-forwarded-for"].endswith("127.0.0.1") or "," in headers["x-forwarded-for"]
