"""What a real Envoy counts for a Gateway whose EnvoyProxy asks for more, and what it says of probes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from tests.documents import compiled
from tests.e2e.running import reserve_block
from tests.gateways.clients import OK, exchange
from tests.gateways.collectors import GrpcCollector, until
from tests.gateways.proxies import REFS, backend, gateway, proxy
from tests.gateways.rig import Rig, route, service
from tests.translate.live import BOOTSTRAP, Envoy
from xds_server.envoy_api.opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from xds_server.supervise.bootstrap import Address, Bootstrap

HOST_METRIC = "vhost.example.vcluster.requests.upstream_rq"
ALL = {
    "enableVirtualHostStats": True,
    "enablePerEndpointStats": True,
    "enableRequestResponseSizesStats": True,
    "enableGRPCStats": True,
}
CALLS = """
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: calls}
spec:
  parentRefs: [{name: edge}]
  hostnames: [grpc.example]
  rules: [{backendRefs: [{name: called, port: 80}]}]
---
"""
PROBED = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: probed}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}]
  healthCheck: {active: {type: HTTP, http: {path: /status/200}}}
---
"""


def counters(rig: Rig, pattern: str) -> dict[str, int]:
    """Counters and gauges whose names hold a pattern."""
    found = rig.envoy.admin(f"stats?format=json&filter={pattern}")["stats"]
    return {one["name"]: int(one["value"]) for one in found if "value" in one}


def histograms(rig: Rig) -> set[str]:
    """Histograms that hold something."""
    found = rig.envoy.admin("stats?format=json&usedonly&type=Histograms")["stats"]
    computed = [one for each in found if "histograms" in each for one in each["histograms"]["computed_quantiles"]]
    return {one["name"] for one in computed}


def call(rig: Rig) -> None:
    """A gRPC call through the Gateway."""
    with grpc.insecure_channel(
        f"{rig.block.address(1)}:10080", options=[("grpc.default_authority", "grpc.example")]
    ) as channel:
        export = channel.unary_unary(
            "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            request_serializer=ExportLogsServiceRequest.SerializeToString,
            response_deserializer=ExportLogsServiceResponse.FromString,
        )
        export(ExportLogsServiceRequest(), timeout=10)


def test_more_is_counted_where_it_is_asked_for(rig: Rig) -> None:
    server, called = rig.server("one"), GrpcCollector()
    host, port = server.address
    text = service("one", host, port) + route("web", "one", hostnames="shop.example")
    text += service("called", *called.address, app_protocol="kubernetes.io/h2c") + CALLS
    rig.serve(gateway("") + text)
    exchange(rig.block.address(1), 10080, OK)
    assert (counters(rig, "vcluster"), counters(rig, "\\.endpoint\\."), counters(rig, "\\.grpc\\.")) == ({}, {}, {})

    rig.serve(gateway() + proxy({"metrics": ALL}) + text)
    for _ in range(2):
        exchange(rig.block.address(1), 10080, OK)
    call(rig)
    hosts = "vhost.shop.example.vcluster.requests.upstream_rq_200"
    until(lambda: counters(rig, "vcluster").get(hosts) == 2, lambda: counters(rig, "vcluster"))
    endpoint = f"cluster.default/one_80.endpoint.{host}_{port}.rq_success"
    until(lambda: counters(rig, "\\.endpoint\\.").get(endpoint) == 2, lambda: counters(rig, "\\.endpoint\\."))
    calls = counters(rig, "\\.grpc\\.")
    assert calls["cluster.default/called_80.grpc.success"] == 1
    assert not [name for name in calls if "Export" in name]
    until(lambda: "cluster.default/one_80.upstream_rs_body_size" in histograms(rig), lambda: histograms(rig))
    called.close()


def test_probes_are_logged(rig: Rig) -> None:
    log = {"sinks": [{"type": "File", "file": {"path": "/dev/stderr"}}]}
    text = service("one", *rig.server("one").address) + route("web", "one") + PROBED
    rig.serve(gateway() + proxy({"healthCheckLog": log}) + text)
    lines = until(lambda: [one for one in rig.envoy.log().splitlines() if "add_healthy_event" in one], rig.envoy.log)
    assert json.loads(lines[-1])["cluster_name"].startswith("default/one:80")


SINK = {
    "openTelemetry": {
        **REFS,
        "resourceAttributes": {"env": "%HOSTNAME%"},
        "headers": [{"name": "X-Key", "value": "token-1"}],
        "reportCountersAsDeltas": True,
    }
}


@pytest.fixture
def collector() -> Iterator[GrpcCollector]:
    running = GrpcCollector()
    yield running
    running.close()


def test_metrics_go_to_a_collector_and_others_do_not_exist(tmp_path: Path, collector: GrpcCollector) -> None:
    block = reserve_block()
    named = [
        {"type": "Suffix", "value": ".downstream_rq_2xx"},
        {"type": "RegularExpression", "value": "vhost[.].*_200"},
    ]
    metrics = {"sinks": [SINK], "matches": named, "enableVirtualHostStats": True}
    text = gateway() + proxy({"metrics": metrics}) + backend("collector", collector.address)
    (built,) = compiled((text + route("web", "one")).replace("ADDR", block.prefix)).gateways
    assert built.process is not None
    started = start_with(built.process.start)
    started["stats_flush_interval"] = "0.2s"
    rig = Rig(Envoy(tmp_path, template=json.dumps(started)), block)
    try:
        rig.serve(text + service("one", *rig.server("one").address) + route("web", "one", hostnames="shop.example"))
        for _ in range(3):
            exchange(rig.block.address(1), 10080, OK)
        until(lambda: sums(collector, HOST_METRIC) == 3, lambda: sorted(collector.points))
        told = {name for name in collector.points if name.startswith(("cluster.", "vhost."))}
        assert told == {HOST_METRIC}
        first = collector.metrics[0]
        assert (first.resource["env"], first.headers["x-key"]) == ("%HOSTNAME%", "token-1")
    finally:
        rig.envoy.close()
        block.release()


def start_with(more: str) -> dict[str, Any]:
    """A bootstrap of the test with what a gateway asks for; PORT stands for that of its control plane."""
    whole: dict[str, Any] = yaml.safe_load(BOOTSTRAP)
    asked: dict[str, Any] = json.loads(more)
    whole["static_resources"]["clusters"] += asked.pop("static_resources")["clusters"]
    return {**whole, **asked}


def sums(collector: GrpcCollector, name: str) -> int:
    """What the points of a metric add up to."""
    points = [point for one in list(collector.points.get(name, ())) for point in one.sum.data_points]
    return sum(point.as_int for point in points)


def test_endpoints_of_a_collector_come_over_xds_and_the_rest_starts_with_the_envoy() -> None:
    def started(address: str, **more: Any) -> str:
        metrics = {"sinks": [{"openTelemetry": {**SINK["openTelemetry"], **more}}]}
        text = gateway() + proxy({"metrics": metrics}) + backend("collector", (address, 4317))
        result = compiled(text.replace("ADDR", "127.0.0"))
        assert not result.diagnostics
        assert result.gateways[0].process is not None
        return result.gateways[0].process.start

    assert started("127.0.0.11") == started("127.0.0.12")
    assert started("127.0.0.11") != started("127.0.0.11", resourceAttributes={"env": "b"})
    text = Bootstrap("default/edge", "n", Address("127.0.0.1", 1), zone="a", more=started("127.0.0.11")).text()
    names = [one["name"] for one in yaml.safe_load(text)["static_resources"]["clusters"]]
    assert names == ["cellway_xds", "fixed/default/collector~grpc", "cellway_zone"]
    assert yaml.safe_load(text)["stats_sinks"][0]["name"] == "envoy.stat_sinks.open_telemetry"


@pytest.mark.parametrize(
    ("metrics", "code"),
    [
        ({"sinks": [{"openTelemetry": {}}]}, "F103"),
        ({"sinks": [{"openTelemetry": {"host": "otel.example", "headers": [{"name": "a", "value": "%"}]}}]}, "F103"),
        ({"matches": [{"type": "RegularExpression", "value": "("}]}, "F100"),
    ],
)
def test_a_gateway_whose_metrics_cannot_be_kept_is_not_served(metrics: Any, code: str) -> None:
    result = compiled((gateway() + proxy({"metrics": metrics})).replace("ADDR", "127.0.0"))
    assert [one.code for one in result.diagnostics] == [code]
    assert (result.gateways[0].ports, result.gateways[0].process) == ((), None)


def test_a_log_of_probes_is_no_file_of_just_anywhere() -> None:
    def written(path: str) -> Any:
        return {"healthCheckLog": {"sinks": [{"type": "File", "file": {"path": path}}]}}

    text = gateway() + proxy(written("/etc/passwd")) + backend("one", ("127.0.0.1", 1))
    (found,) = compiled(text.replace("ADDR", "127.0.0")).diagnostics
    assert (found.code, "not to '/etc/passwd'" in found.message) == ("F103", True)
