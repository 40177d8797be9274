"""Objects with status: Gateway API's form, and Programmed by what Envoys acknowledged."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.documents import compiled
from xds_server.compile import Compiled
from xds_server.observe.metrics import Metrics, State, validities
from xds_server.observe.status_view import Live, Programming, lowered_view, objects_view
from xds_server.types import GATEWAY_GROUP, Condition, Key

TEXT = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, labels: {a: b}, annotations: {c: d}, creationTimestamp: "2026-01-02T03:04:05Z", generation: 7}
spec:
  addresses: [{value: 127.0.0.1}]
  listeners:
  - {name: http, protocol: HTTP, port: 8080}
  - {name: bad, protocol: example.com/odd, port: 8081}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, uid: x}
spec:
  parentRefs: [{name: edge, sectionName: http}]
  rules: [{backendRefs: [{name: nowhere, port: 80}]}]
status: {parents: [{stale: true}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: limit}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}]
  rateLimit: {local: {rules: [{limit: {requests: 5, unit: Minute}}]}}
---
apiVersion: v1
kind: Secret
metadata: {name: s}
stringData: {password: hunter2}
"""


@pytest.fixture(scope="module")
def result() -> Compiled:
    return compiled(TEXT)


def shown(result: Compiled, kind: str, live: Live | None = None) -> dict[str, Any]:
    return next(view for view in objects_view(result, "cellway.dev/test", live) if view["kind"] == kind)


def conditions(views: list[dict[str, Any]]) -> dict[str, str]:
    return {view["type"]: view["status"] for view in views}


def live(**programming: Programming) -> Live:
    states = {Key(GATEWAY_GROUP, "Gateway", "default", name): state for name, state in programming.items()}
    return Live(states, {}, lambda key, place, condition: f"{key.name}@{place}@{condition.type}")


def test_metadata_is_what_was_written_and_meant(result: Compiled) -> None:
    view = shown(result, "Gateway")
    assert view["metadata"] == {
        "name": "edge",
        "namespace": "default",
        "labels": {"a": "b"},
        "annotations": {"c": "d"},
        "creationTimestamp": "2026-01-02T03:04:05Z",
        "generation": 7,
    }
    assert view["spec"]["listeners"][0]["port"] == 8080
    assert view["source"] == "test.yaml:2:1"


def test_a_gateway_has_listeners_and_addresses(result: Compiled) -> None:
    status = shown(result, "Gateway")["status"]
    assert status["addresses"] == [{"type": "IPAddress", "value": "127.0.0.1"}]
    good, bad = status["listeners"]
    assert good["supportedKinds"] == [
        {"group": "gateway.networking.k8s.io", "kind": kind} for kind in ("HTTPRoute", "GRPCRoute")
    ]
    assert good["attachedRoutes"] == 1
    assert conditions(good["conditions"])["Accepted"] == "True"
    assert conditions(bad["conditions"])["Accepted"] == "False"
    assert {condition["observedGeneration"] for condition in status["conditions"]} == {7}
    assert "lastTransitionTime" not in str(status)


def test_a_route_has_parents_and_what_was_written_as_status_is_gone(result: Compiled) -> None:
    status = shown(result, "HTTPRoute")["status"]
    (parent,) = status["parents"]
    assert parent["parentRef"] == {
        "group": "gateway.networking.k8s.io",
        "kind": "Gateway",
        "namespace": "default",
        "name": "edge",
        "sectionName": "http",
    }
    assert parent["controllerName"] == "cellway.dev/test"
    assert conditions(parent["conditions"]) == {"Accepted": "True", "ResolvedRefs": "False"}


def test_a_policy_has_ancestors(result: Compiled) -> None:
    (ancestor,) = shown(result, "BackendTrafficPolicy")["status"]["ancestors"]
    assert ancestor["ancestorRef"]["name"] == "web"
    assert conditions(ancestor["conditions"])["Accepted"] == "True"


def test_secrets_have_keys_and_no_values(result: Compiled) -> None:
    assert shown(result, "Secret")["stringData"] == {"password": "[redacted]"}
    assert "hunter2" not in str(objects_view(result, "c")) + str(lowered_view(result))


@pytest.mark.parametrize(
    ("state", "status", "reason", "message"),
    [
        (Programming(3, 3), "True", "Programmed", "3 of 3 proxies"),
        (Programming(2, 3), "False", "Pending", "2 of 3 proxies"),
        (Programming(0, 0), "False", "Pending", "no proxy is connected"),
        (Programming(0, 1, "no (a.yaml:1:1)"), "False", "Rejected", "0 of 1 proxies; no (a.yaml:1:1)"),
    ],
)
def test_programmed_is_what_envoys_acknowledged(
    result: Compiled, state: Programming, status: str, reason: str, message: str
) -> None:
    view = shown(result, "Gateway", live(edge=state))["status"]
    programmed = next(one for one in view["conditions"] if one["type"] == "Programmed")
    assert (programmed["status"], programmed["reason"], programmed["message"]) == (status, reason, message)
    assert programmed["lastTransitionTime"] == "edge@@Programmed"
    good, bad = view["listeners"]
    assert conditions(good["conditions"])["Programmed"] == status
    assert conditions(bad["conditions"])["Programmed"] == "False", "what cannot be served is not programmed"


def test_since_is_asked_for_each_condition_of_each_place(result: Compiled) -> None:
    asked: list[tuple[Key, str, Condition]] = []

    def since(key: Key, place: str, condition: Condition) -> str:
        asked.append((key, place, condition))
        return ""

    objects_view(result, "c", Live({}, {}, since))
    places = [(key.name, place, condition.type) for key, place, condition in asked]
    assert len(places) == len(set(places))
    assert ("web", "parents/0", "Accepted") in places
    assert ("edge", "listeners/bad", "Accepted") in places


def test_metrics_come_from_closed_sets(result: Compiled) -> None:
    proxies, valid = {("default/edge", "synced"): 2}, validities(result)
    state = State(result, result.diagnostics, {"delta": 2}, proxies, {"a.b.Listener": 3}, valid=valid)
    metrics = Metrics("1", "2", lambda: state)
    metrics.reloaded("applied", 12.5)
    metrics.reloaded("rejected", 13.5)
    metrics.took("load", 0.25)
    metrics.lagged(0.002)
    metrics.acknowledged("a.b.Listener", 0.002)
    text = metrics.text().decode()
    for sample in (
        'cellway_build_info{envoy_api="2",version="1"} 1.0',
        "cellway_config_last_reload_successful 0.0",
        "cellway_config_last_reload_success_timestamp_seconds 12.5",
        'cellway_documents{kind="Secret"} 1.0',
        'cellway_diagnostics{code="A112",severity="error"}',
        'cellway_streams{protocol="sotw"} 0.0',
        'cellway_proxies{gateway="default/edge",state="synced"} 2.0',
        'cellway_responses_total{type="Listener"} 3.0',
        'cellway_push_ack_seconds_bucket{le="0.0025",type="Listener"} 1.0',
        'cellway_compile_seconds_sum{stage="load"} 0.25',
        'cellway_event_loop_lag_seconds_bucket{le="0.0025"} 1.0',
    ):
        assert sample in text, sample


def test_a_gateway_class_names_what_is_supported_and_the_page_shows_each() -> None:
    text = (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: ours}\n"
        "spec: {controllerName: cellway.dev/gateway-controller}\n"
    )
    names = [one["name"] for one in shown(compiled(text), "GatewayClass")["status"]["supportedFeatures"]]
    assert names == sorted(set(names))
    assert len(names) <= 64  # Gateway API's limit
    page = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text(encoding="utf-8")
    assert set(names) == set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    foreign = compiled(text.replace("cellway.dev/gateway-controller", "example.com/other"))
    assert shown(foreign, "GatewayClass")["status"] == {}
