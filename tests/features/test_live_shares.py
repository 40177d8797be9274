"""Who gets how much when there is too little: classes of requests, fair shares of bytes, limits that follow latency."""

from __future__ import annotations

import gzip
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
from xds_server.features.parts.route_telemetry import TelemetrySpec
from xds_server.graph import Setting

KIB = 1024
LENGTH = 192 * KIB


def adaptive(**written: object) -> Setting:
    return setting("adaptive_concurrency", AdaptiveConcurrencySpec, written)


def shared(owner: str, rate: str, **written: object) -> Setting:
    by_header = {"type": "Header", "header": "X-Client"}
    spec = {"response": {"limit": {"value": rate, "unit": "Second"}}, "client": by_header, **written}
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
            host("fair.example", route(bytes_of, shared("fair", "96Ki"))),
            host(
                "weighted.example", route(bytes_of, shared("heavy", "48Ki", weights=[{"client": "quiet", "weight": 4}]))
            ),
            host("address.example", route(bytes_of, shared("address", "512Ki", client={"type": "SourceIP"}))),
            host(
                "adaptive.example",
                route(action, adaptive(minLimit=1, maxLimit=12, baseline={"fixed": "500ms"}, tolerancePercent=100)),
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
        first = pool.submit(edge.get, "classes.example", "/hold/1")
        until(lambda: edge.stat("cluster.classes.upstream_rq_active") == 1)
        refused = edge.get("classes.example")
        assert (refused.status_code, refused.headers["x-envoy-overloaded"]) == (503, "true")
        assert [edge.get("classes.example", "/critical").status_code for _ in range(3)] == [200] * 3
        edge.servers[1].gate.set()
        assert first.result().status_code == 200
    until(lambda: edge.get("classes.example").status_code == 200)


def order(edge: Envoy, name: str, greedy: int, ahead: int) -> list[str]:
    """Who has got a whole answer, in that order, until the quiet client has. The greedy one begins, with many requests."""
    got: Counter[str] = Counter()
    ended: list[str] = []

    def load(client: str) -> None:
        url, headers = f"http://127.0.0.1:{edge.port}/", {"Host": name, "x-client": client}
        with httpx.Client(timeout=60) as each, each.stream("GET", url, headers=headers) as answer:
            for part in answer.iter_raw(4 * KIB):
                got[client] += len(part)
                if "quiet" in ended:
                    return
        ended.append(client)

    with ThreadPoolExecutor(greedy) as pool:
        running = [pool.submit(load, "greedy") for _ in range(greedy)]
        until(lambda: got["greedy"] > ahead)
        load("quiet")
        for one in running:
            one.result()
    return ended[: ended.index("quiet") + 1]


def test_a_client_with_many_requests_gets_no_more_than_one_with_one(edge: Envoy) -> None:
    assert order(edge, "fair.example", greedy=8, ahead=16 * KIB) == ["quiet"], "it has half of all for its one request"


def test_a_client_may_have_more_shares(edge: Envoy) -> None:
    assert order(edge, "weighted.example", greedy=1, ahead=8 * KIB) == ["quiet"], "it has four fifths"


def test_requests_of_one_client_get_the_same(edge: Envoy) -> None:
    assert "greedy" in order(edge, "address.example", greedy=4, ahead=LENGTH), "by address there is but one client"


def test_a_limit_follows_what_the_backend_can_do(edge: Envoy) -> None:
    def answers(path: str, count: int) -> Counter[int]:
        with ThreadPoolExecutor(count) as pool:
            found = pool.map(lambda _: edge.get("adaptive.example", path).status_code, range(count))
            return Counter(found)

    until(lambda: answers("/sleep/0.5", 10)[503] > 0)  # it begins with the least
    until(lambda: answers("/", 10) == {200: 10})
    until(lambda: answers("/sleep/3", 10)[503] > 0)
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
