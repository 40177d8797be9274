"""Who gets how much when there is too little: classes of requests, fair shares of bytes, limits that follow latency."""

from __future__ import annotations

import gzip
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.translate.graphs import Listed, Plain, Reporter, backend, forward, gateway, host, route, setting
from tests.translate.live import Envoy, Server
from xds_server.features.adaptive_concurrency import AdaptiveConcurrencySpec
from xds_server.features.bandwidth_share import BandwidthShareSpec
from xds_server.features.circuit_breaker import CircuitBreakerSpec
from xds_server.features.decompression import DecompressionSpec
from xds_server.features.telemetry import TelemetrySpec
from xds_server.graph import Setting

KIB = 1024
LENGTH = 256 * KIB


def adaptive(**written: object) -> Setting:
    return setting("adaptive_concurrency", AdaptiveConcurrencySpec, written)


def shared(owner: str, **written: object) -> Setting:
    rate = {"limit": {"value": "256Ki", "unit": "Second"}}
    by_header = {"type": "Header", "header": "X-Client"}
    spec = {"response": rate, "client": by_header, **written}
    return setting("bandwidth_share", BandwidthShareSpec, spec, Reporter(owner=owner))


def plain(*written: tuple[str, str]) -> Setting:
    specs = [{"type": kind, "direction": direction} for kind, direction in written]
    return setting("decompression", Listed(DecompressionSpec), specs)


@pytest.fixture(scope="module")
def packed(envoy: Envoy) -> Server:
    server = envoy.server("packed")
    server.body = gzip.compress(b"a plain page" * 10)
    server.headers["content-encoding"] = "gzip"
    return server


@pytest.fixture(scope="module")
def edge(envoy: Envoy, packed: Server) -> Envoy:
    web, large = envoy.server(), envoy.server("large")
    large.body = "x" * LENGTH
    action, slow = forward(backend(web.address)), forward(backend(web.address, name="classes"))
    limits = {"maxParallelRequests": 1, "critical": {"maxParallelRequests": 2}}
    breaker = setting("circuit_breaker", CircuitBreakerSpec, limits)
    critical, rest = (setting("priority_class", Plain(), name) for name in ("Critical", "BestEffort"))
    bytes_of = forward(backend(large.address, name="large"))
    name = "%ROUTE_KIND%_%ROUTE_NAMESPACE%_%ROUTE_NAME%_%ROUTE_RULE_NAME%"
    counted = setting("telemetry", TelemetrySpec, {"metrics": {"routeStatName": name}})
    envoy.apply(
        gateway(
            host(
                "classes.example",
                route(slow, breaker, critical, path="/critical", name="critical"),
                route(slow, breaker, rest, name="rest"),
            ),
            host("fair.example", route(bytes_of, shared("fair"))),
            host("weighted.example", route(bytes_of, shared("heavy", weights=[{"client": "quiet", "weight": 4}]))),
            host("address.example", route(bytes_of, shared("address", client={"type": "SourceIP"}))),
            host(
                "adaptive.example",
                route(action, adaptive(minLimit=1, maxLimit=50, baseline={"fixed": "50ms"}, tolerancePercent=100)),
            ),
            host("plain.example", route(action, plain(("Gzip", "Request"), ("Brotli", "Both")))),
            host(
                "unpacked.example", route(forward(backend(packed.address, name="packed")), plain(("Gzip", "Response")))
            ),
            host("packed.example", route(forward(backend(packed.address, name="packed")))),
            host("counted.example", route(action, counted, name="httproute/shop/web/rule/first/match/0")),
        )
    )
    return envoy


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_critical_requests_have_room_of_their_own(edge: Envoy) -> None:
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(edge.get, "classes.example", "/sleep/5")
        until(lambda: edge.stat("cluster.classes.upstream_rq_active") == 1)
        refused = edge.get("classes.example")
        assert (refused.status_code, refused.headers["x-envoy-overloaded"]) == (503, "true")
        assert [edge.get("classes.example", "/critical").status_code for _ in range(3)] == [200] * 3
        assert first.result().status_code == 200
    until(lambda: edge.get("classes.example").status_code == 200)


def received(edge: Envoy, name: str, greedy: int) -> tuple[int, int]:
    """Bytes of a greedy client with many requests while a quiet one has one, and of the quiet one."""
    got: Counter[str] = Counter()
    stop = threading.Event()

    def load(client: str) -> None:
        url, headers = f"http://127.0.0.1:{edge.port}/", {"Host": name, "x-client": client}
        with httpx.Client(timeout=30) as each, each.stream("GET", url, headers=headers) as answer:
            for part in answer.iter_raw(4 * KIB):
                got[client] += len(part)
                if stop.is_set():
                    return

    with ThreadPoolExecutor(greedy) as pool:
        running = [pool.submit(load, "greedy") for _ in range(greedy)]
        until(lambda: got["greedy"] > 16 * KIB)
        before = got["greedy"]
        load("quiet")
        taken = got["greedy"] - before
        stop.set()
        for one in running:
            one.result()
    return taken, got["quiet"]


def test_a_client_with_many_requests_gets_no_more_than_one_with_one(edge: Envoy) -> None:
    greedy, quiet = received(edge, "fair.example", 6)
    assert quiet == LENGTH
    assert greedy < 2.5 * quiet, "by requests it would be six times as much"


def test_a_client_may_have_more_shares(edge: Envoy) -> None:
    greedy, quiet = received(edge, "weighted.example", 6)
    assert greedy < 0.8 * quiet, "a quarter, and what was under way already"


def test_without_a_header_requests_of_one_address_are_one_client(edge: Envoy) -> None:
    greedy, quiet = received(edge, "address.example", 4)
    assert greedy > 1.5 * quiet


def test_a_limit_follows_what_the_backend_can_do(edge: Envoy) -> None:
    def answers(path: str, count: int) -> Counter[int]:
        with ThreadPoolExecutor(count) as pool:
            found = pool.map(lambda _: edge.get("adaptive.example", path).status_code, range(count))
            return Counter(found)

    until(lambda: answers("/sleep/0.5", 10)[503] > 0)  # it begins with the least
    until(lambda: answers("/", 10) == {200: 10})
    until(lambda: answers("/sleep/0.5", 10)[503] > 0)
    until(lambda: answers("/", 10) == {200: 10})


def test_bodies_of_requests_go_on_plain(edge: Envoy) -> None:
    sent = gzip.compress(b"hello" * 100)
    seen = edge.send("plain.example", "/", "POST", sent, content_encoding="gzip").json()
    assert seen["body"] == "hello" * 100
    assert "content-encoding" not in {name.lower() for name in seen["headers"]}
    odd = edge.send("plain.example", "/", "POST", b"zzz", content_encoding="deflate").json()
    assert odd["body"] == "zzz", "what nobody knows passes"
    asked = edge.get("plain.example", accept_encoding="identity").json()["headers"]
    assert "gzip" not in {name.lower(): text for name, text in asked.items()}.get("accept-encoding", "")


def test_answers_come_plain(edge: Envoy) -> None:
    answer = edge.get("unpacked.example")
    assert (answer.text, answer.headers.get("content-encoding")) == ("a plain page" * 10, None)
    assert edge.get("packed.example").headers["content-encoding"] == "gzip"


def test_a_route_is_counted_by_its_name(edge: Envoy) -> None:
    edge.get("counted.example")
    name = "vhost.counted.example.route.httproute_shop_web_first.upstream_rq_2xx"
    until(lambda: edge.stat(name.replace(".", "[.]")) == 1)
