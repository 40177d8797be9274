"""Timeouts, retries, limits, balancing and passive health checks in a real Envoy."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from typing import Any

import pytest
from httpx import Response

from tests.translate.graphs import backend, forward, gateway, host, route, setting
from tests.translate.live import Envoy
from xds_server.features.circuit_breaker import CircuitBreakerSpec
from xds_server.features.health import HealthCheckSpec
from xds_server.features.load_balancer import LoadBalancerSpec
from xds_server.features.retry import RetrySpec
from xds_server.features.route_timeout import RouteTimeoutSpec
from xds_server.features.timeout import TimeoutSpec
from xds_server.graph import Backend, Endpoint, Setting, VirtualHost


def timeout(**written: Any) -> Setting:
    return setting("timeout", TimeoutSpec, written)


def own_timeout(**written: Any) -> Setting:
    return setting("route_timeout", RouteTimeoutSpec, written)


def retry(**written: Any) -> Setting:
    return setting("retry", RetrySpec, written)


def balancer(**written: Any) -> Setting:
    return setting("load_balancer", LoadBalancerSpec, written)


def breaker(**written: Any) -> Setting:
    return setting("circuit_breaker", CircuitBreakerSpec, written)


HASHED: dict[str, dict[str, Any]] = {
    "header": {"type": "Header", "header": {"name": "x-user"}},
    "cookie": {"type": "Cookie", "cookie": {"name": "sticky", "ttl": "60s", "attributes": {"SameSite": "Lax"}}},
    "query": {"type": "QueryParams", "queryParams": [{"name": "u"}], "tableSize": 10007},
    "source": {"type": "SourceIP"},
}
REPORTS = {"blackoutPeriod": "1s", "errorUtilizationPenaltyPercent": 50}
BALANCED: dict[str, dict[str, Any]] = {
    "least": {"type": "LeastRequest", "slowStart": {"window": "1s"}},
    "random": {"type": "Random"},
    "round": {"type": "RoundRobin", "slowStart": {"window": "1s"}},
    "load": {"type": "BackendUtilization", "backendUtilization": REPORTS},
}
EVERY_TIMEOUT = {
    "connectionIdleTimeout": "10s",
    "maxConnectionDuration": "60s",
    "maxStreamDuration": "500ms",
    "streamIdleTimeout": "20s",
}
SOON = {"timeout": "1s", "backOff": {"baseInterval": "1ms", "maxInterval": "2ms"}}
FEW = {"maxConnections": 2, "maxPendingRequests": 1, "maxParallelRequests": 2, "maxParallelRetries": 1}
BUDGET = {"percent": {"numerator": 20}, "minRetryConcurrency": 3}
PASSIVE = {"consecutive5XxErrors": 3, "interval": "1s", "baseEjectionTime": "3s", "maxEjectionPercent": 100}


def timeouts(one: Backend) -> list[VirtualHost]:
    quick = timeout(http={"requestTimeout": "100ms"})
    stream = timeout(tcp={"connectTimeout": "1s"}, http=EVERY_TIMEOUT)
    again = retry(retryOn={"triggers": ["5xx", "reset"]})
    to_one = forward(one)
    return [
        host("quick.example", route(to_one, timeout(http={"requestTimeout": "200ms"}))),
        host("stream.example", route(forward(one, suffix="~s"), stream)),
        host(
            "own.example",
            route(to_one, quick, own_timeout(request="1s"), path="/sleep/0.3"),
            route(to_one, quick, own_timeout(request="0s")),
        ),
        host("attempt.example", route(to_one, own_timeout(backendRequest="200ms"))),
        host("attempts.example", route(to_one, again, own_timeout(backendRequest="100ms", request="2s"))),
    ]


def retries(one: Backend, two: Backend, everywhere: Backend) -> list[VirtualHost]:
    half = Backend("half", (Endpoint("127.0.0.1", 9), *one.endpoints))
    to_two = forward(two)
    codes = retry(retryOn={"httpStatusCodes": [503, 504]}, perRetry=SOON, numAttemptsPerPriority=1)
    connecting = retry(numRetries=1, retryOn={"triggers": ["connect-failure"]})
    return [
        host("connect.example", route(forward(half), connecting)),
        host("codes.example", route(to_two, codes)),
        host("default.example", route(to_two, retry())),
        host("never.example", route(to_two, retry(numRetries=0))),
        host("other.example", route(forward(everywhere, suffix="~other"), retry(retryOn={"triggers": ["5xx"]}))),
    ]


def limits(one: Backend, three: Backend) -> list[VirtualHost]:
    budget = breaker(maxRequestsPerConnection=1, retryBudget=BUDGET, perEndpoint={"maxConnections": 8})
    ejecting = setting("health", HealthCheckSpec, {"panicThreshold": 0, "passive": PASSIVE})
    return [
        host("breaker.example", route(forward(one, suffix="~breaker"), breaker(**FEW))),
        host("budget.example", route(forward(one, suffix="~budget"), budget)),
        host("health.example", route(forward(three, suffix="~health"), ejecting)),
    ]


def balancing(one: Backend, two: Backend, everywhere: Backend) -> list[VirtualHost]:
    hashed = {name: balancer(type="ConsistentHash", consistentHash=written) for name, written in HASHED.items()}
    used = {name: balancer(**written) for name, written in BALANCED.items()}
    versions = forward(one, two, weights=(50, 50), suffix="~versions")
    named = {
        **{f"{name}.hash": one for name, one in hashed.items()},
        **{f"{name}.load": one for name, one in used.items()},
    }
    hosts = [
        host(f"{name}.example", route(forward(everywhere, suffix=f"~{name}"), each)) for name, each in named.items()
    ]
    return [*hosts, host("versions.example", route(versions, hashed["header"]))]


@pytest.fixture(scope="module")
def edge(envoy: Envoy) -> Envoy:
    servers = [envoy.server(name) for name in ("one", "two", "three")]
    one, two, three = (backend(server.address, name=server.name) for server in servers)
    everywhere = Backend("all", (*one.endpoints, *two.endpoints, *three.endpoints))
    hosts = [*timeouts(one), *retries(one, two, everywhere), *limits(one, three), *balancing(one, two, everywhere)]
    envoy.apply(gateway(*hosts))
    return envoy


def test_a_request_has_its_time(edge: Envoy) -> None:
    assert edge.get("quick.example", "/sleep/0.05").status_code == 200
    answer = edge.get("quick.example", "/sleep/0.6")
    assert (answer.status_code, answer.text) == (504, "upstream request timeout")
    assert edge.get("stream.example", "/sleep/0.05").status_code == 200
    assert edge.get("stream.example", "/sleep/1").status_code in (408, 504)


def test_the_routes_own_timeout_wins(edge: Envoy) -> None:
    assert edge.get("own.example", "/sleep/0.3").status_code == 200
    assert edge.get("own.example", "/sleep/0.4").status_code == 200


def test_one_attempt_has_its_time(edge: Envoy) -> None:
    assert edge.get("attempt.example", "/sleep/0.6").status_code == 504
    edge.servers[0].seen.clear()
    assert edge.get("attempts.example", "/sleep/0.5").status_code == 504
    assert len(edge.servers[0].seen) == 3, "the first attempt and two more"


def test_a_connection_that_fails_is_tried_elsewhere(edge: Envoy) -> None:
    assert {edge.get("connect.example").status_code for _ in range(10)} == {200}


@pytest.mark.parametrize(
    ("name", "path", "attempts"),
    [
        ("codes.example", "/status/503", 3),
        ("codes.example", "/status/504", 3),
        ("codes.example", "/status/500", 1),
        ("default.example", "/status/503", 3),
        ("default.example", "/status/500", 1),
        ("never.example", "/status/503", 1),
    ],
)
def test_which_answers_are_tried_again(edge: Envoy, name: str, path: str, attempts: int) -> None:
    edge.servers[1].seen.clear()
    assert edge.get(name, path).status_code == int(path.rpartition("/")[2])
    assert len(edge.servers[1].seen) == attempts


def test_a_retry_goes_to_another_endpoint(edge: Envoy) -> None:
    for server in edge.servers:
        server.seen.clear()
    assert edge.get("other.example", "/status/500").status_code == 500
    assert [len(server.seen) for server in edge.servers] == [1, 1, 1]


def test_a_circuit_breaker_answers_at_once(edge: Envoy) -> None:
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(edge.get, "breaker.example", "/hold/1") for _ in range(8)]
        refused = [one.result() for one in islice(as_completed(asked), 5)]  # while the others are held
        edge.servers[0].gate.set()
        answers = [one.result() for one in asked]
    assert Counter(answer.status_code for answer in answers) == {200: 3, 503: 5}, "two run, one waits"
    assert {(answer.status_code, answer.headers["x-envoy-overloaded"]) for answer in refused} == {(503, "true")}
    assert edge.get("breaker.example").status_code == 200
    assert edge.get("budget.example").status_code == 200


def answer_of(edge: Envoy, path: str, status: int) -> Response:
    """The first answer with `status`."""
    deadline = time.monotonic() + 60
    while (answer := edge.get("health.example", path)).status_code != status:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.01)
    return answer


def test_a_failing_endpoint_is_left_out_for_a_while(edge: Envoy) -> None:
    seen = [edge.get("health.example", "/status/500").status_code for _ in range(3)]
    assert seen == [500] * 3
    # A worker counts, the main thread ejects: the request right after the third may still come through.
    assert answer_of(edge, "/status/500", 503).text == "no healthy upstream"
    answer_of(edge, "/", 200)


def servers_of(edge: Envoy, name: str, path: str = "/", **headers: str) -> set[str]:
    return {edge.get(name, path, **headers).json()["server"] for _ in range(6)}


def test_clients_stay_with_their_endpoint(edge: Envoy) -> None:
    users = [servers_of(edge, "header.hash.example", x_user=f"user-{number}") for number in range(40)]
    assert all(len(one) == 1 for one in users)
    assert len(set.union(*users)) == 3
    assert len(servers_of(edge, "query.hash.example", "/?u=7")) == 1
    assert len(servers_of(edge, "source.hash.example")) == 1
    made = edge.get("cookie.hash.example").headers["set-cookie"]
    assert "SameSite=Lax" in made
    assert "Max-Age=60" in made
    assert len(servers_of(edge, "cookie.hash.example", cookie=made.partition(";")[0])) == 1


def test_clients_stay_with_their_version(edge: Envoy) -> None:
    users = [servers_of(edge, "versions.example", x_user=f"user-{number}") for number in range(24)]
    assert all(len(one) == 1 for one in users)
    assert set.union(*users) == {"one", "two"}


@pytest.mark.parametrize("kind", ["least", "random", "round", "load"])
def test_other_ways_to_balance(edge: Envoy, kind: str) -> None:
    seen = Counter(edge.get(f"{kind}.load.example").json()["server"] for _ in range(60))
    assert len(seen) == 3
    assert min(seen.values()) >= 5, seen
