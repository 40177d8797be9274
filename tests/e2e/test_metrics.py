"""An Envoy that is to send metrics is replaced by one that does."""

from __future__ import annotations

from typing import Any

import yaml

from tests.e2e.running import Cellway
from tests.e2e.test_replacement import POLICY, the_envoy
from tests.gateways.collectors import GrpcCollector, until
from tests.gateways.proxies import REFS, backend

PROXY: dict[str, Any] = {
    "apiVersion": "gateway.envoyproxy.io/v1alpha1",
    "kind": "EnvoyProxy",
    "metadata": {"name": "how"},
    "spec": {"shutdown": {"drainTimeout": "1s", "minDrainDuration": "0s"}},
}


def test_metrics_begin_with_another_envoy(cellway: Cellway) -> None:
    collector = GrpcCollector()
    cellway.write("policy.yaml", POLICY + "---\n" + backend("collector", collector.address))
    cellway.write("proxy.yaml", yaml.safe_dump(PROXY))
    cellway.start()
    before = the_envoy(cellway)
    metrics = {"sinks": [{"openTelemetry": REFS}], "matches": [{"type": "Prefix", "value": "server.live"}]}
    telling = PROXY | {"spec": {**PROXY["spec"], "telemetry": {"metrics": metrics}}}
    cellway.write("proxy.yaml", yaml.safe_dump(telling))
    cellway.wait()
    assert the_envoy(cellway)["pid"] != before["pid"]
    until(lambda: "server.live" in collector.points, cellway.log)
    assert "server.memory_heap_size" not in collector.points
    collector.close()
