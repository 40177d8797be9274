"""Which endpoint a request reaches: by its own wish, by zone, by the load that endpoints report; in a real Envoy."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import pytest

from tests.translate.graphs import backend, forward, gateway, host, route, setting
from tests.translate.live import Envoy
from xds_server.features.load_balancer import LoadBalancerSpec
from xds_server.graph import Backend, Setting

REPORT = "endpoint-load-metrics"
AT_ONCE = {"blackoutPeriod": "1ms", "weightUpdatePeriod": "100ms"}
BY_HEADER = {"type": "ConsistentHash", "consistentHash": {"type": "Header", "header": {"name": "x-user"}}}
KINDS: dict[str, dict[str, Any]] = {
    "round": {"type": "RoundRobin"},
    "least": {"type": "LeastRequest"},
    "random": {"type": "Random"},
    "load": {"type": "BackendUtilization"},
    "hash": BY_HEADER,
}


def balancer(**written: Any) -> Setting:
    return setting("load_balancer", LoadBalancerSpec, written)


def zoned(kind: dict[str, Any], **weights: int) -> Setting:
    zones = [{"zone": zone, "weight": weight} for zone, weight in weights.items()]
    return balancer(**kind, zoneAware={"weightedZones": zones})


def overridden(*headers: str) -> Setting:
    return balancer(type="RoundRobin", endpointOverride={"extractFrom": [{"header": name} for name in headers]})


def reported(**written: Any) -> Setting:
    return balancer(type="BackendUtilization", backendUtilization={**AT_ONCE, **written})


@dataclass
class Reports(grpc.GenericRpcHandler):
    """Keeps which methods were called, and for which authority."""

    port: int = 0
    calls: list[str] = field(default_factory=list)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> None:
        self.calls.append(handler_call_details.method)


@pytest.fixture(scope="module")
def reports() -> Iterator[Reports]:
    handler = Reports()
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((handler,))
    handler.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield handler
    server.stop(None).wait(5)


@pytest.fixture(scope="module")
def edge(envoy: Envoy, reports: Reports) -> Envoy:
    servers = [envoy.server(name) for name in ("one", "two")]
    for server, load in zip(servers, (0.9, 0.1), strict=True):
        server.headers[REPORT] = f"TEXT application_utilization={load},rps_fractional=100"
    endpoints = [
        replace(backend(server.address).endpoints[0], zone=zone) for server, zone in zip(servers, "ab", strict=True)
    ]
    both = Backend("both", tuple(endpoints))
    stream = {"reportingPeriod": "100ms", "port": reports.port, "authority": "reports.example"}
    named: dict[str, tuple[Backend, Setting]] = {
        "override": (both, overridden("x-first", "x-second")),
        "third": (both, zoned(KINDS["round"], a=3)),
        "reported": (both, reported()),
        "kept": (both, reported(keepResponseHeaders=True)),
        "stream": (replace(both, protocol="h2c"), reported(outOfBand=stream)),
        **{f"zone-{name}": (both, zoned(kind, a=0, b=5)) for name, kind in KINDS.items()},
    }
    slow, quick = envoy.server("slow"), envoy.server("quick")
    slow.delay = 0.2
    uneven = backend(slow.address, quick.address, name="uneven")
    named |= {f"uneven-{name}": (uneven, balancer(**KINDS[name])) for name in ("least", "round")}
    envoy.apply(
        gateway(
            *(
                host(f"{name}.example", route(forward(where, suffix=f"~{name}"), each))
                for name, (where, each) in named.items()
            ),
        )
    )
    return envoy


def spread(edge: Envoy, name: str, count: int = 20, **headers: str) -> Counter[str]:
    return Counter(edge.get(f"{name}.example", **headers).json()["server"] for _ in range(count))


def test_a_request_names_its_endpoint(edge: Envoy) -> None:
    one, two = (f"127.0.0.1:{server.address[1]}" for server in edge.servers[:2])
    assert spread(edge, "override", x_first=one) == {"one": 20}
    assert spread(edge, "override", x_second=two) == {"two": 20}
    assert spread(edge, "override", x_first=one, x_second=two) == {"one": 20}
    assert spread(edge, "override", x_first=f"127.0.0.1:9,{two}") == {"two": 20}
    assert spread(edge, "override") == {"one": 10, "two": 10}
    assert set(spread(edge, "override", x_first="127.0.0.1:9")) == {"one", "two"}, "no way out of the backend"


def test_zones_have_their_weights(edge: Envoy) -> None:
    assert spread(edge, "third", 40) == {"one": 30, "two": 10}


@pytest.mark.parametrize("kind", KINDS)
def test_a_zone_without_weight_gets_nothing(edge: Envoy, kind: str) -> None:
    assert spread(edge, f"zone-{kind}", 12) == {"two": 12}


def test_the_load_that_endpoints_report_counts(edge: Envoy) -> None:
    deadline = time.monotonic() + 60
    while spread(edge, "reported")["two"] < 15:
        assert time.monotonic() < deadline


def test_clients_get_no_report_unless_it_is_asked_for(edge: Envoy) -> None:
    assert REPORT not in edge.get("reported.example").headers
    assert REPORT in edge.get("kept.example").headers


def test_reports_come_by_a_stream_of_their_own(edge: Envoy, reports: Reports) -> None:
    deadline = time.monotonic() + 60
    while "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics" not in reports.calls:
        assert time.monotonic() < deadline, reports.calls
        edge.get("stream.example")
        time.sleep(0.02)


def test_a_slow_endpoint_gets_fewer_requests(edge: Envoy) -> None:
    def at_once(name: str) -> Counter[str]:
        with ThreadPoolExecutor(6) as pool:
            answers = pool.map(lambda _: edge.get(f"uneven-{name}.example").json()["server"], range(120))
            return Counter(answers)

    evenly, fewer = at_once("round")["slow"], at_once("least")["slow"]
    assert 50 <= evenly <= 70
    assert fewer < 45
