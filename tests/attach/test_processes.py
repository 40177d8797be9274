"""How Envoys are run: what an EnvoyProxy may say of processes, and what is refused with its place."""

from __future__ import annotations

import pytest

from tests.documents import compiled, parse
from xds_server.compile import Compiled, Options
from xds_server.graph import Process

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  infrastructure: {parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: how}}
  listeners: [{name: http, protocol: HTTP, port: 8080}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: other}
spec:
  listeners: [{name: http, protocol: HTTP, port: 8081}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: how}
spec:
"""


def with_proxy(body: str) -> Compiled:
    """Two Gateways, one with an EnvoyProxy whose spec is `body`."""
    return compiled(GATEWAY + "".join(f"  {line}\n" for line in body.strip().splitlines()))


def processes(result: Compiled) -> dict[str, Process | None]:
    return {gateway.key.name: gateway.process for gateway in result.gateways}


def test_all_of_it() -> None:
    result = with_proxy(
        "concurrency: 3\n"
        "logging: {level: {upstream: warn, default: error, http: trace}}\n"
        "shutdown: {drainTimeout: 1m, minDrainDuration: 0s, healthCheckFailureDelay: 500ms}\n"
        "extraArgs: [--stats-tag, site:here, --file-flush-min-size-kb=8, --skip-deprecated-logs]"
    )
    assert [str(one) for one in result.diagnostics] == []
    levels = (("http", "trace"), ("upstream", "warning"))
    words = ("--stats-tag", "site:here", "--file-flush-min-size-kb=8", "--skip-deprecated-logs")
    expected = Process(3, "error", levels, drain=60.0, quiet=0.0, delay=0.5, arguments=words)
    assert processes(result) == {"edge": expected, "other": Process()}


@pytest.mark.parametrize(
    ("body", "place", "words"),
    [
        ("logging: {level: {nothing: warn}}", "19:30", "no component 'nothing'"),
        ("shutdown: {drainTimeout: 500ms}", "19:28", "at least 1s"),
        ("shutdown: {minDrainDuration: 2h}", "19:32", "at most 1h"),
        ("extraArgs: [--config-yaml, '{}']", "19:15", "'--config-yaml' is not among"),
        ("extraArgs: [--admin-address-path=/x]", "19:15", "not among"),
        ("extraArgs: [--restart-epoch, '1']", "19:15", "not among"),
        ("extraArgs: [-c, x]", "19:15", "not among"),
        ("extraArgs: [--log-format]", "19:15", "needs a value"),
        ("extraArgs: [--stats-tag, --config-path]", "19:15", "needs a value"),
        ("extraArgs: [--cpuset-threads=1]", "19:15", "has no value"),
        ("extraArgs: [--file-flush-interval-msec, soon]", "19:15", "whole number"),
    ],
)
def test_what_is_refused_keeps_one_gateway_alone_from_being_served(body: str, place: str, words: str) -> None:
    result = with_proxy(body)
    found = [str(one) for one in result.diagnostics]
    assert any(f":{place}" in one and words in one for one in found), found
    assert processes(result) == {"edge": None, "other": Process()}
    assert {gateway.key.name: len(gateway.ports) for gateway in result.gateways} == {"edge": 0, "other": 1}


CLASS = GATEWAY.replace("{parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: how}}", "{}").replace(
    "spec:\n  infra", "spec:\n  gatewayClassName: c\n  infra"
)
CLASS = (
    "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: c}\nspec:\n"
    "  controllerName: cellway.dev/gateway-controller\n"
    "  parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: how, namespace: default}\n---" + CLASS
)
WASM = (
    '{stats_sinks: [{name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.stat_sinks.wasm.v3.Wasm, '
    "config: {vm_config: {code: {local: {inline_bytes: AGFzbQ==}}}}}}]}"
)


def test_a_class_changes_bootstraps() -> None:
    merge = "bootstrap: {type: Merge, value: 'stats_flush_interval: 1s'}"
    patch = "bootstrap: {type: JSONPatch, jsonPatches: [{op: remove, path: /overload_manager}]}"
    for body, expected in (
        (merge, '[{"merge": {"stats_flush_interval": "1s"}}]'),
        (patch, '[{"op": "remove", "path": "/overload_manager"}]'),
    ):
        result = compiled(f"{CLASS}  {body}\n")
        assert [str(one) for one in result.diagnostics] == []
        assert processes(result) == {"edge": Process(bootstrap=expected), "other": Process()}


def test_a_namespace_that_may_extend_envoys_changes_bootstraps() -> None:
    text = f"{GATEWAY}  bootstrap: {{type: Merge, value: 'stats_flush_interval: 1s'}}\n"
    assert processes(compiled(text, Options(extenders=("other",))))["edge"] is None
    found = processes(compiled(text, Options(extenders=("default",))))["edge"]
    assert found is not None
    assert "stats_flush_interval" in found.bootstrap


@pytest.mark.parametrize(
    ("text", "body", "words"),
    [
        (GATEWAY, "{type: Merge, value: 'stats_flush_interval: 1s'}", "that a GatewayClass refers to"),
        (CLASS, "{type: Merge}", "Merge needs a value"),
        (CLASS, "{type: Merge, value: 'a: &x 1, b: *x'}", "no plain YAML"),
        (CLASS, '{type: Merge, value: "stats_sinks: &x [{}]\\nb: *x"}', "aliases"),
        (CLASS, "{type: Merge, value: 'admin: {}'}", "admin stays as it is"),
        (CLASS, "{type: Merge, value: 'a: 1', jsonPatches: [{op: add, path: /x}]}", "type JSONPatch"),
        (
            CLASS,
            "{type: Merge, value: 'cluster_manager: {outlier_detection: {event_log_path: /x}}'}",
            "is not among what",
        ),
        (CLASS, f"{{type: Merge, value: '{WASM}'}}", "stat_sinks.wasm.v3.Wasm is not for a bootstrap"),
        (CLASS, "{type: JSONPatch}", "needs jsonPatches"),
        (CLASS, "{type: JSONPatch, value: x}", "type Merge"),
        (CLASS, "{type: JSONPatch, jsonPatches: [{op: add, path: /stats_config}]}", "add needs a value"),
        (CLASS, "{type: JSONPatch, jsonPatches: [{op: move, path: /stats_config}]}", "needs 'from'"),
        (CLASS, "{type: JSONPatch, jsonPatches: [{op: remove, path: /admin}]}", "'admin' stays as it is"),
        (CLASS, "{type: JSONPatch, jsonPatches: [{op: copy, path: /stats_config, from: /node}]}", "'node' stays"),
    ],
)
def test_changes_that_are_refused(text: str, body: str, words: str) -> None:
    result = compiled(f"{text}  bootstrap: {body}\n")
    assert any(words in str(one) for one in result.diagnostics), [str(one) for one in result.diagnostics]
    assert processes(result)["edge"] is None


@pytest.mark.parametrize(
    ("body", "place"),
    [("concurrency: 0", "19:16"), ("concurrency: 513", "19:16"), ("logging: {level: {http: loud}}", "19:27")],
)
def test_values_that_nobody_knows_are_refused_where_they_stand(body: str, place: str) -> None:
    _, problems = parse(f"{GATEWAY}  {body}\n", "test.yaml")
    (problem,) = (str(one) for one in problems)
    assert problem.startswith(f"test.yaml:{place}"), problem


@pytest.mark.parametrize(
    ("move", "words"),
    [
        ("{name: envoy.filters.http.fault}", "write one of before and after"),
        ("{name: envoy.filters.http.fault, before: envoy.filters.http.cors, after: envoy.filters.http.rbac}", "one of"),
        ("{name: envoy.filters.http.fault, after: envoy.filters.http.fault}", "next to itself"),
    ],
)
def test_moves_that_lead_nowhere(move: str, words: str) -> None:
    result = with_proxy(f"filterOrder: [{move}]")
    assert any(words in str(one) for one in result.diagnostics), [str(one) for one in result.diagnostics]
    assert processes(result) == {"edge": None, "other": Process()}
