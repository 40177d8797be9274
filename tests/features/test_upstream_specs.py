"""What the features about reaching backends refuse, and where they point."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tests.translate.graphs import Reporter, feature
from xds_server.envoy_api.envoy.config.cluster.v3.cluster_pb2 import Cluster
from xds_server.envoy_api.envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from xds_server.features.admission_control import AdmissionControlSpec
from xds_server.features.backend_proxy_protocol import BackendProxyProtocolSpec
from xds_server.features.connection import ConnectionSpec
from xds_server.features.contract import ClusterParts
from xds_server.features.dns import DnsSpec
from xds_server.features.health import HealthCheckSpec
from xds_server.features.load_balancer import LoadBalancerSpec
from xds_server.features.parts.http2_settings import Http2SettingsSpec
from xds_server.spec import Spec
from xds_server.types import parse_quantity

SPECS: dict[str, type[Spec]] = {
    "health": HealthCheckSpec,
    "load_balancer": LoadBalancerSpec,
    "connection": ConnectionSpec,
    "dns": DnsSpec,
    "backend_http2": Http2SettingsSpec,
    "backend_proxy_protocol": BackendProxyProtocolSpec,
}


def probe(**written: Any) -> dict[str, Any]:
    return {"active": {"type": "HTTP", "http": {"path": "/"}, **written}}


def log(path: str = "/dev/stdout", *matches: str) -> dict[str, Any]:
    return probe(healthCheckLog={"sinks": [{"type": "File", "file": {"path": path}}], "matches": matches})


def text(size: int = 1) -> dict[str, Any]:
    return {"type": "Text", "text": "x" * size}


def zones(**weights: int) -> dict[str, Any]:
    listed = [{"zone": name, "weight": weight} for name, weight in weights.items()]
    return {"type": "Random", "zoneAware": {"weightedZones": listed}}


FILE = ("active", "healthCheckLog", "sinks", 0, "file", "path")
CASES: list[tuple[str, dict[str, Any], tuple[str | int, ...]]] = [
    ("health", {"active": {"type": "HTTP"}}, ("active",)),
    ("health", {"active": {"type": "TCP", "http": {"path": "/"}}}, ("active", "http")),
    ("health", probe(grpc={}), ("active", "grpc")),
    ("health", probe(interval="0s"), ("active",)),
    ("health", probe(timeout="0s"), ("active",)),
    ("health", probe(http={"path": "/", "expectedResponse": {"type": "Text"}}), ("active", "http", "expectedResponse")),
    ("health", probe(http={"path": "/", "expectedResponse": text(0)}), ("active", "http", "expectedResponse")),
    ("health", probe(http={"path": "/", "expectedResponse": text(1025)}), ("active", "http", "expectedResponse")),
    ("health", probe(http={"path": "/", "method": "HEAD", "expectedResponse": text()}),
     ("active", "http", "expectedResponse")),
    ("health", probe(http={"path": "/", "requestBody": text()}), ("active", "http", "requestBody")),
    ("health", {"active": {"type": "TCP", "tcp": {"send": {**text(), "binary": "eA=="}}}}, ("active", "tcp", "send")),
    ("health", {"active": {"type": "TCP", "tcp": {"receive": {"type": "Binary"}}}}, ("active", "tcp", "receive")),
    ("health", log("/etc/cron.d/x"), FILE),
    ("health", log("/var/log/../../etc/passwd"), FILE),
    ("health", log("/dev/stdout", "Failure"), ("active", "healthCheckLog", "matches")),
    ("health", probe(healthCheckLog={"sinks": [{"type": "File"}]}), ("active", "healthCheckLog", "sinks", 0)),
    ("connection", {"bufferLimit": 0}, ("bufferLimit",)),
    ("connection", {"bufferLimit": "4Gi"}, ("bufferLimit",)),
    ("connection", {"socketBufferLimit": "2Gi"}, ("socketBufferLimit",)),
    ("dns", {"dnsRefreshRate": "1ms"}, ("dnsRefreshRate",)),
    ("backend_http2", {"initialStreamWindowSize": "1Ki"}, ("initialStreamWindowSize",)),
    ("backend_http2", {"initialConnectionWindowSize": "2Gi"}, ("initialConnectionWindowSize",)),
    ("backend_http2", {"connectionKeepalive": {}}, ("connectionKeepalive",)),
    ("backend_http2", {"connectionKeepalive": {"interval": "1s", "timeout": "0s"}}, ("connectionKeepalive", "timeout")),
    ("load_balancer", zones(a=1, b=2**32 - 1), ("zoneAware",)),
    ("load_balancer", {"type": "Random", "zoneAware": {"weightedZones": [{"zone": "a", "weight": 1}] * 2}}, ("zoneAware",)),
]  # fmt: skip
IMPOSSIBLE: list[tuple[str, dict[str, Any]]] = [
    ("connection", {"bufferLimit": "32 KB"}),
    ("connection", {"bufferLimit": "1.5"}),
    ("connection", {"bufferLimit": -1}),
    ("connection", {"bufferLimit": True}),
    ("connection", {"preconnect": {"perEndpointPercent": 99}}),
    ("connection", {"preconnect": {"predictivePercent": 301}}),
    ("dns", {"lookupFamily": "IPv5"}),
    ("backend_http2", {"maxConcurrentStreams": 0}),
    ("backend_http2", {"onInvalidMessage": "Ignore"}),
    ("backend_proxy_protocol", {"version": "V3"}),
    ("load_balancer", {"type": "Random", "endpointOverride": {"extractFrom": []}}),
    ("load_balancer", {"type": "Random", "endpointOverride": {"extractFrom": [{"header": "a"}] * 11}}),
    ("load_balancer", {"type": "Random", "endpointOverride": {"extractFrom": [{"header": "a b"}]}}),
    ("load_balancer", zones(a=-1)),
    ("health", {"active": {}}),
    ("health", probe(type="REDIS")),
    ("health", probe(unhealthyThreshold=0)),
    ("health", probe(healthyThreshold=2**32)),
    ("health", probe(overrides={"port": 65536})),
    ("health", probe(http={"path": "health"})),
    ("health", probe(http={"path": "/a\nb"})),
    ("health", probe(http={"path": "/", "method": "CONNECT"})),
    ("health", probe(http={"path": "/", "expectedStatuses": [99]})),
    ("health", probe(http={"path": "/", "expectedResponse": {"type": "Binary", "binary": "?"}})),
]


@pytest.mark.parametrize(("name", "written", "path"), CASES, ids=range(len(CASES)))
def test_refusals_name_their_place(name: str, written: dict[str, Any], path: tuple[str | int, ...]) -> None:
    reporter = Reporter()
    assert feature(name).resolve(SPECS[name].model_validate(written), reporter) is None
    assert [(one[0], one[1]) for one in reporter.found] == [("F103", path)]


@pytest.mark.parametrize(("name", "written"), IMPOSSIBLE, ids=range(len(IMPOSSIBLE)))
def test_specs_refuse_what_no_one_can_mean(name: str, written: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SPECS[name].model_validate(written)


@pytest.mark.parametrize(
    ("text", "number"),
    [("4096", 4096), ("32Ki", 32768), ("1.5Ki", 1536), ("1k", 1000), ("2Mi", 2**21), ("1K", None), ("1.5", None)],
)
def test_quantities(text: str, number: int | None) -> None:
    assert parse_quantity(text) == number


@pytest.mark.parametrize(
    "names", [("admission_control", "private_addresses"), ("private_addresses", "admission_control")]
)
def test_filters_of_a_cluster_end_with_the_one_that_sends(names: tuple[str, str]) -> None:
    parts = ClusterParts(Cluster(), HttpProtocolOptions())
    values: dict[str, Any] = {
        "admission_control": feature("admission_control").resolve(AdmissionControlSpec(), Reporter()),
        "private_addresses": feature("private_addresses").resolve(True, Reporter()),
    }
    for name in names:
        feature(name).cluster(values[name], parts)
    found = [one.name.rpartition(".")[2] for one in parts.http.http_filters]
    assert (len(found), found[-1]) == (3, "upstream_codec")
    assert set(found[:2]) == {"admission_control", "upstream_rbac"}


WEIGHTS = [{"zone": "a", "weight": 1}]
COSTS = {"zones": [{"zone": "a", "cost": 1}, {"zone": "a", "cost": 2}]}


@pytest.mark.parametrize(
    ("kind", "zones", "said"),
    [
        ("ConsistentHash", {"preferLocal": {}}, "preferLocal does not go with"),
        ("BackendUtilization", {"preferLocal": {}}, "preferLocal does not go with"),
        ("ConsistentHash", {"loadAware": {}}, "loadAware does not go with"),
        ("Random", {"preferLocal": {}, "weightedZones": WEIGHTS}, "not both preferLocal and weightedZones"),
        ("Random", {"failover": [{"zones": ["a"]}], "loadAware": {}}, "not both failover and loadAware"),
        ("Random", {"failover": [{"zones": ["a"]}, {"zones": ["b", "a"]}]}, "'a' is there twice in failover"),
        ("Random", {"costs": COSTS}, "'a' is there twice in costs"),
        ("Random", {"weightedZones": WEIGHTS * 2}, "'a' is there twice in weightedZones"),
        ("Random", {"loadAware": {"updatePeriod": "99ms"}}, "at least 100ms"),
        ("Random", {"loadAware": {"smoothing": "0s"}}, "longer than 0s"),
    ],
)
def test_ways_to_choose_zones_that_do_not_fit(kind: str, zones: dict[str, Any], said: str) -> None:
    reporter = Reporter()
    hashed = {"consistentHash": {"type": "SourceIP"}} if kind == "ConsistentHash" else {}
    spec = LoadBalancerSpec.model_validate({"type": kind, "zoneAware": zones, **hashed})
    assert feature("load_balancer").resolve(spec, reporter) is None
    ((code, path, message),) = reporter.found
    assert (code, path) == ("F103", ("zoneAware",))
    assert said in message
