"""What a real Envoy counts for a Gateway whose EnvoyProxy asks for more, and what it says of probes."""

from __future__ import annotations

import json
from typing import Any

import grpc

from tests.documents import compiled
from tests.gateways.clients import OK, exchange
from tests.gateways.collectors import GrpcCollector, until
from tests.gateways.proxies import backend, gateway, proxy
from tests.gateways.rig import Rig, route, service
from xds_server.envoy_api.opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

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


def test_a_log_of_probes_is_no_file_of_just_anywhere() -> None:
    def written(path: str) -> Any:
        return {"healthCheckLog": {"sinks": [{"type": "File", "file": {"path": path}}]}}

    text = gateway() + proxy(written("/etc/passwd")) + backend("one", ("127.0.0.1", 1))
    (found,) = compiled(text.replace("ADDR", "127.0.0")).diagnostics
    assert (found.code, "nor a file below" in found.message) == ("F103", True)
