"""Class, policy and binding set the same three things: what counts is what is shown, and what Envoy does.

And two stages on one machine: the hosts of one are nothing to the north gateway of the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
import yaml

from tests.commands import cellway
from tests.e2e.running import Cellway, ask_envoy

SETTINGS = (
    "timeout: {http: {requestTimeout: %s}}, circuitBreaker: {maxParallelRequests: %d},"
    " rateLimit: {local: {rules: [{limit: {requests: %d, unit: Hour}}]}}"
)
CLASS, POLICY, BINDING = ("2s", 90, 8), ("1s", 60, 5), ("300ms", 40, 3)
POLICY_OF = """---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: NAME, namespace: front}
spec:
  targetRefs: [{group: cellway.dev, kind: Cell, name: front, sectionName: east.NAME}]
  TRAFFIC
"""
CELLS = """
apiVersion: cellway.dev/v1alpha1
kind: Organization
metadata: {name: acme}
spec: {defaultClass: standard, stages: [{name: dev}, {name: prod}]}
---
apiVersion: cellway.dev/v1alpha1
kind: CellClass
metadata: {name: standard}
spec: {defaults: {east: {traffic: {CLASS}}}}
---
apiVersion: cellway.dev/v1alpha1
kind: Cell
metadata: {name: front}
spec:
  components: [{name: web, endpoints: [{name: http, port: 3000, visibility: [public]}]}]
  dependencies:
  - {name: plain, cell: back, component: a}
  - {name: own, cell: back, component: b}
  - {name: bound, cell: back, component: c}
  gateways: {north: {hostnames: [shop.example.com]}}
---
apiVersion: cellway.dev/v1alpha1
kind: Cell
metadata: {name: back}
spec:
  components:
  - {name: a, endpoints: [{name: http, port: 3000, visibility: [organization]}]}
  - {name: b, endpoints: [{name: http, port: 3000, visibility: [organization]}]}
  - {name: c, endpoints: [{name: http, port: 3000, visibility: [organization]}]}
---
apiVersion: cellway.dev/v1alpha1
kind: CellBinding
metadata: {name: back-dev}
spec:
  cell: back
  stage: dev
  address: ADDR.16
  endpoints: {a.http: [{address: ADDR.101}], b.http: [{address: ADDR.101}], c.http: [{address: ADDR.101}]}
---
apiVersion: cellway.dev/v1alpha1
kind: CellBinding
metadata: {name: front-dev}
spec:
  cell: front
  stage: dev
  address: ADDR.0
  endpoints: {web.http: [{address: ADDR.102}]}
  overrides:
    gateways: {north: {hostnames: [dev.shop.example.com]}}
    sections: {east.bound: {traffic: {BINDING}}}
---
apiVersion: cellway.dev/v1alpha1
kind: CellBinding
metadata: {name: front-prod}
spec: {cell: front, stage: prod, release: working-copy, address: ADDR.32, endpoints: {web.http: [{address: ADDR.103}]}}
"""
_CLUSTERWIDE = "CiliumClusterwideNetworkPolicy"
DEPENDENCIES = {"plain": ("a", CLASS, ["class default"]), "own": ("b", POLICY, ["policy on dependency", "class default"]),
                "bound": ("c", BINDING, ["binding override", "policy on dependency", "class default"])}  # fmt: skip


@pytest.fixture(scope="module")
def layers(shared: Callable[..., Cellway]) -> Cellway:
    running = shared("--stage", "dev", "--stage", "prod")
    text = CELLS.replace("CLASS}", f"{SETTINGS % CLASS}}}").replace("BINDING}", f"{SETTINGS % BINDING}}}")
    spec = (SETTINGS % POLICY).replace(", circuitBreaker", "\n  circuitBreaker").replace(", rateLimit", "\n  rateLimit")
    policies = [POLICY_OF.replace("NAME", name).replace("TRAFFIC", spec) for name in ("own", "bound")]
    running.write("cells.yaml", text + "".join(policies))
    for number, name in ((101, "back"), (102, "web of dev"), (103, "web of prod")):
        running.upstream(number, name=name)
    running.start()
    return running


def ask(layers: Cellway, component: str, path: str = "/") -> int:
    address = f"http://{layers.block.address(3)}:15001{path}"
    return httpx.get(address, headers={"Host": f"{component}.back.cell.internal"}, timeout=10).status_code


def shown(layers: Cellway, section: str) -> dict[str, dict[str, Any]]:
    (cell,) = layers.api("cells/front/effective?stage=dev")["items"]
    found = next(one for one in cell["sections"] if one["section"] == section)
    return {one["field"].removeprefix("traffic."): one for one in found["settings"]}


def test_44_what_counts_of_three_layers_is_shown_with_who_set_it_and_envoy_does_it(layers: Cellway) -> None:
    (admin,) = [one["admin"] for one in layers.api("proxies")["items"] if one["gateway"] == "acme/dev/front/east"]
    clusters = ask_envoy(admin, "/clusters").text
    for name, (component, (timeout, breaker, quota), setters) in DEPENDENCIES.items():
        fields = shown(layers, f"east.{name}")
        wanted = {
            "timeout.http.requestTimeout": timeout,
            "circuitBreaker.maxParallelRequests": breaker,
            "rateLimit.local.rules": [{"limit": {"requests": quota, "unit": "Hour"}}],
        }
        for field, value in wanted.items():
            one = fields[field]
            assert (one["value"], one["setBy"]["layer"]) == (value, setters[0]), (name, field)
            assert [lost["layer"] for lost in reversed(one["overridden"])] == setters[1:], (name, field)
            assert "cells.yaml:" in one["setBy"]["source"]
        assert f"east|back.{component}.http::default_priority::max_requests::{breaker}\n" in clusters
        slow = [ask(layers, component, f"/delay/{seconds}") for seconds in ("0.6", "1.5")]
        assert slow == {"2s": [200, 200], "1s": [200, 504], "300ms": [504, 504]}[timeout], name
        assert [ask(layers, component) for _ in range(quota)] == [200] * (quota - 2) + [429] * 2, name


@pytest.mark.parametrize(("stage", "number"), [("dev", 1), ("prod", 33)])
def test_20_the_hosts_of_a_stage_are_nothing_to_the_other(layers: Cellway, stage: str, number: int) -> None:
    hosts = {"dev": "dev.shop.example.com", "prod": "shop.example.com"}
    for name, host in hosts.items():
        answer = httpx.get(f"http://{layers.block.address(number)}:8080/", headers={"Host": host}, timeout=10)
        if name == stage:
            assert (answer.status_code, answer.json()["server"]) == (200, f"web of {stage}")
        else:
            assert (answer.status_code, answer.content) == (404, b"")


def test_network_policies_of_what_is_live_come_from_the_server(layers: Cellway) -> None:
    found = layers.api("network-policies?stage=prod&cilium&xdsPort=15010")
    assert {
        one["metadata"].get("namespace", "cell-front-prod") for one in found["items"] if one["kind"] != _CLUSTERWIDE
    } == {"cell-front-prod"}
    assert "15010" in str(found["items"])
    admin = layers.admin.removeprefix("http://")
    ran = cellway("export", "network-policy", "--stage", "dev", "--admin", admin)
    names = {one["metadata"].get("namespace") for one in yaml.safe_load_all(ran.stdout)}
    assert (ran.returncode, names) == (0, {None, "cell-front-dev", "cell-back-dev"}), ran.stderr
