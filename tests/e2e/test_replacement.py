"""An Envoy that is to run in another way is replaced while requests go on: none is lost."""

from __future__ import annotations

import threading
import time
from typing import Any

import httpx

from tests.e2e.load import Load
from tests.e2e.load_http2 import Http2
from tests.e2e.running import Cellway, ask_envoy

POLICY = """
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: local}
spec:
  controllerName: cellway.dev/gateway-controller
  parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: how, namespace: default}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: local
  addresses: [{type: IPAddress, value: ADDR.1}]
  listeners: [{name: http, protocol: HTTP, port: 8080}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: one}
spec: {endpoints: [{ip: {address: ADDR.11, port: 3000}}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: one}]}]
"""

PROXY = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: how}
spec:
  shutdown: {drainTimeout: 3s, minDrainDuration: 0s}
"""


LESS_MEMORY = """
  bootstrap:
    type: JSONPatch
    jsonPatches:
    - {op: replace, path: /overload_manager/WHERE/typed_config/max_heap_size_bytes, value: 536870912}
"""


def the_envoy(cellway: Cellway) -> dict[str, Any]:
    """The gateway's Envoy, once there is one alone."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        answer = cellway.api("proxies")
        if len(answer["items"]) == 1 and not answer["changing"]:
            return dict(answer["items"][0])
        time.sleep(0.05)
    raise AssertionError(f"{answer}\n{cellway.log()}")


def concurrency(envoy: dict[str, Any]) -> int:
    """How many workers an Envoy has."""
    info = ask_envoy(envoy["admin"], "/server_info").json()
    return int(info["command_line_options"]["concurrency"])


def test_another_way_to_run_costs_no_request(cellway: Cellway) -> None:
    cellway.write("policy.yaml", POLICY)
    cellway.write("proxy.yaml", PROXY)
    cellway.upstream(11)
    cellway.start()
    first = the_envoy(cellway)
    assert concurrency(first) == 1
    address = cellway.block.address(1)
    slow: list[int] = []
    waiting = threading.Thread(
        target=lambda: slow.append(httpx.get(f"http://{address}:8080/delay/2", timeout=20).status_code)
    )
    kept = Load(address, 8080, "x", rate=100)
    fresh = Load(address, 8080, "x", rate=100, kept=False)
    with kept, fresh, Http2(address, 8080) as multiplexed:
        waiting.start()
        while len(multiplexed.outcomes) == 0 or min(kept.total, fresh.total) < 20:
            time.sleep(0.02)
        cellway.write("proxy.yaml", PROXY + "  concurrency: 2\n  logging: {level: {default: error, http: warn}}\n")
        cellway.wait()
        second = the_envoy(cellway)
        before = kept.total, fresh.total, multiplexed.outcomes["200"]
        while any(
            now < then + 20
            for now, then in zip((kept.total, fresh.total, multiplexed.outcomes["200"]), before, strict=True)
        ):
            time.sleep(0.02)
        waiting.join(20)
    assert second["pid"] != first["pid"]
    assert concurrency(second) == 2
    assert multiplexed.connections > 1
    assert (kept.failures(), fresh.failures(), dict(multiplexed.outcomes), slow) == (
        {},
        {},
        {"200": multiplexed.outcomes["200"]},
        [200],
    )

    cellway.write("proxy.yaml", PROXY + "  extraArgs: [--stats-tag, no.tag]\n")
    problem, deadline = "", time.monotonic() + 60
    while "no.tag" not in problem and time.monotonic() < deadline:
        problem = " ".join(cellway.api("proxies")["changing"])
    assert "the new Envoy of default/edge does not come up, the one before goes on" in problem
    assert httpx.get(f"http://{address}:8080/", timeout=10).status_code == 200
    assert cellway.api("proxies")["items"][0]["pid"] == second["pid"]
    cellway.write("proxy.yaml", PROXY + LESS_MEMORY.replace("WHERE", "resource_monitors/7"))
    deadline = time.monotonic() + 60
    while "/overload_manager/resource_monitors/7" not in problem and time.monotonic() < deadline:
        problem = " ".join(cellway.api("proxies")["changing"])
    assert "its bootstrap cannot be changed so: replace cannot be done at" in problem
    cellway.write("proxy.yaml", PROXY + LESS_MEMORY.replace("WHERE", "resource_monitors/0"))
    cellway.wait()
    third = the_envoy(cellway)
    assert "536870912" in ask_envoy(third["admin"], "/config_dump").text
    assert httpx.get(f"http://{address}:8080/", timeout=10).status_code == 200
    assert cellway.stop() == 0
