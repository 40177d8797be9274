"""Zones in a real Envoy: its own first, those that stand in for others, the cheap ones, and those with headroom."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.translate.graphs import backend, forward, gateway, host, route, setting
from tests.translate.live import Envoy, Server
from xds_server.features.health import HealthCheckSpec
from xds_server.features.load_balancer import LoadBalancerSpec
from xds_server.graph import Backend, Setting

REPORT = "endpoint-load-metrics"
KINDS = ("RoundRobin", "Random", "LeastRequest")
HOME = {"minEndpointsThreshold": 1}


def zoned(kind: str = "RoundRobin", **written: Any) -> Setting:
    return setting("load_balancer", LoadBalancerSpec, {"type": kind, "zoneAware": written})


def costs(strategy: str, **zones: int) -> Setting:
    table = [{"zone": zone, "cost": cost} for zone, cost in zones.items()]
    return zoned(costs={"strategy": strategy, "zones": table})


def groups(*zones: str) -> list[dict[str, list[str]]]:
    return [{"zones": list(group)} for group in zones]


@pytest.fixture(scope="module")
def envoy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Envoy]:
    running = Envoy(tmp_path_factory.mktemp("envoy"), zone="b")
    yield running
    running.close()


def across(servers: dict[str, Server], name: str) -> Backend:
    endpoints = (replace(backend(server.address).endpoints[0], zone=zone) for zone, server in servers.items())
    return Backend(name, tuple(endpoints))


@pytest.fixture(scope="module")
def servers(envoy: Envoy) -> dict[str, Server]:
    found = {zone: envoy.server(zone) for zone in "abc"}
    for zone, load in (("a", 0.9), ("b", 0.9), ("c", 0.1)):
        found[zone].headers[REPORT] = f"TEXT application_utilization={load},rps_fractional=100"
    return found


@pytest.fixture(scope="module")
def edge(envoy: Envoy, servers: dict[str, Server]) -> Envoy:
    probe = {
        "type": "HTTP",
        "interval": "100ms",
        "timeout": "2s",
        "unhealthyThreshold": 1,
        "http": {"path": "/healthz"},
    }
    probed = setting("health", HealthCheckSpec, {"active": probe})
    by_load = {"updatePeriod": "100ms", "smoothing": "100ms", "probePercent": 20}
    named: dict[str, tuple[Setting, ...]] = {
        **{f"home-{kind}": (zoned(kind, preferLocal=HOME),) for kind in KINDS},
        "crowd": (zoned(preferLocal={**HOME, "force": {"minEndpointsInZoneThreshold": 2}}),),
        "half": (zoned(preferLocal={**HOME, "percentageEnabled": 50}),),
        "few": (zoned(preferLocal={}),),
        "order": (zoned(failover=groups("a", "bc")), probed),
        "rest": (zoned(failover=groups("x", "c")),),
        "cheap": (costs("CheapestFirst", a=3, b=2, c=2),),
        "dear": (costs("Proportional", a=10, b=20, c=50),),
        "load": (zoned(loadAware=by_load),),
        "plain": (probed,),
    }
    envoy.apply(
        gateway(
            *(
                host(f"{name}.example", route(forward(across(servers, name)), *settings))
                for name, settings in named.items()
            )
        )
    )
    return envoy


def spread(edge: Envoy, name: str, count: int = 24) -> Counter[str]:
    answers = [edge.get(f"{name}.example") for _ in range(count)]
    return Counter(answer.json()["server"] if answer.status_code == 200 else "lost" for answer in answers)


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_the_own_zone_comes_first(edge: Envoy, kind: str) -> None:
    assert spread(edge, f"home-{kind}") == {"b": 24}


def test_the_own_zone_must_be_large_enough(edge: Envoy) -> None:
    assert set(spread(edge, "crowd")) == {"a", "b", "c"}
    assert set(spread(edge, "few")) == {"a", "b", "c"}, "less than six endpoints in all"


def test_a_part_of_the_requests_prefers_the_own_zone(edge: Envoy) -> None:
    found = spread(edge, "half", 120)
    assert found["b"] > found["a"] + found["c"]
    assert found["a"] + found["c"] > 10


def test_the_cheapest_zones_get_all(edge: Envoy) -> None:
    found = spread(edge, "cheap")
    assert found.keys() == {"b", "c"}
    assert abs(found["b"] - found["c"]) <= 4


def test_zones_get_requests_by_their_price(edge: Envoy) -> None:
    found = spread(edge, "dear", 170)
    assert all(abs(found[zone] - wanted) <= 8 for zone, wanted in {"a": 100, "b": 50, "c": 20}.items()), found


def test_zones_that_are_not_listed_come_last(edge: Envoy) -> None:
    assert spread(edge, "rest") == {"c": 24}


def test_the_zone_with_headroom_gets_more(edge: Envoy) -> None:
    until(lambda: spread(edge, "load", 40)["c"] > 20)
    assert REPORT not in edge.get("load.example").headers


def test_zones_stand_in_for_each_other(edge: Envoy, servers: dict[str, Server]) -> None:
    until(lambda: spread(edge, "order") == {"a": 24})
    servers["a"].broken.add("/healthz")
    until(lambda: spread(edge, "order").keys() == {"b", "c"})
    servers["a"].broken.clear()
    until(lambda: spread(edge, "order") == {"a": 24})


def test_a_zone_is_lost_and_no_request_is(edge: Envoy, servers: dict[str, Server]) -> None:
    until(lambda: set(spread(edge, "plain")) == {"a", "b", "c"})
    servers["a"].broken |= {"/", "/healthz"}
    for name in ("plain", "order"):
        until(lambda name=name: set(spread(edge, name)) == {"b", "c"})  # type: ignore[misc]
        assert set(spread(edge, name, 100)) == {"b", "c"}
