"""Routes that users attach to cells: in place of an endpoint's own, on top of it, or refused."""

from __future__ import annotations

import pytest

from tests.cells.shop import (
    BACK,
    compile_shop,
    effective_backends,
    lower,
    named,
    on,
    organization,
    places,
    policy,
    reply,
    route,
    spec_of,
)
from xds_server.compile import Compiled

CANARY = """rules:
  - backendRefs:
    - {group: cellway.dev, kind: Endpoint, name: api.http, weight: 90}
    - {group: cellway.dev, kind: Endpoint, name: next.http, weight: 10}"""
TO_NEXT = "rules: [{backendRefs: [{group: cellway.dev, kind: Endpoint, name: next.http}]}]"
NAMES = ["http.api.back.cell.internal", "api.back.cell.internal"]
NORTH = "{group: cellway.dev, kind: Cell, name: front, sectionName: north}"
TO_WEB = "rules: [{backendRefs: [{group: cellway.dev, kind: Endpoint, name: web.http}]}]"


def test_a_route_stands_in_place_of_the_endpoints_own_and_takes_over_its_names() -> None:
    lowered = lower(canary=route("canary", "back", on("west.api.http"), CANARY))
    assert lowered.diagnostics == ()
    spec = spec_of(lowered, "HTTPRoute", "back", "api.http.west")
    assert spec["hostnames"] == NAMES
    assert spec["parentRefs"] == [{"name": "back-west"}]
    assert effective_backends(spec) == {"west|back.api.http": 90, "west|back.next.http": 10}
    assert "back/canary" not in named(lowered, "HTTPRoute")


def test_a_route_in_place_keeps_to_allow() -> None:
    spec = spec_of(
        lower(canary=route("canary", "back", on("west.api.http"), CANARY)), "HTTPRoute", "back", "api.http.west"
    )
    assert [rule["filters"][-1]["extensionRef"]["name"] for rule in spec["rules"]] == ["api.http.west"]


def test_an_added_route_on_west_is_for_gateways_of_the_stage() -> None:
    text = route("extra", "back", on("west"), "hostnames: [extra.example]\n  " + CANARY)
    spec = spec_of(lower(extra=text), "HTTPRoute", "back", "extra")
    assert [rule["filters"][-1]["extensionRef"]["name"] for rule in spec["rules"]] == ["any-cell"]


def test_a_route_in_place_on_north_takes_over_host_and_path() -> None:
    text = route("mine", "front", NORTH.replace("north", "north.web.http"), TO_WEB)
    spec = spec_of(lower(mine=text), "HTTPRoute", "front", "web.http.north")
    assert spec["hostnames"] == ["front.example"]
    assert spec["rules"][0]["matches"] == [{"path": {"type": "PathPrefix", "value": "/"}}]


def test_of_two_routes_in_place_of_one_the_older_counts() -> None:
    texts = {name: route(name, "back", on("west.api.http"), rules) for name, rules in (("a", CANARY), ("b", TO_NEXT))}
    lowered = lower(**texts)
    assert places(lowered.diagnostics) == [("C108", "b", 5)]
    assert len(effective_backends(spec_of(lowered, "HTTPRoute", "back", "api.http.west"))) == 2


def test_a_route_on_a_direction_is_added() -> None:
    lowered = lower(extra=route("extra", "front", NORTH, TO_WEB))
    assert {"front/extra", "front/web.http.north"} <= named(lowered, "HTTPRoute")
    assert lowered.diagnostics == ()


@pytest.mark.parametrize("parent", ["{name: front-north}", "{name: edge}", "{name: front-north, namespace: front}"])
def test_a_gateway_of_the_cell_and_an_alias_are_parents_too(parent: str) -> None:
    org = organization(spec="{stages: [{name: dev}], gatewayAliases: {edge: north}}")
    spec = spec_of(lower(org=org, extra=route("extra", "front", parent, TO_WEB)), "HTTPRoute", "front", "extra")
    assert spec["parentRefs"] == [{"name": "front-north"}]


REFUSED = {
    "east": route("r", "front", NORTH.replace("north", "east"), TO_WEB),
    "the whole cell": route("r", "front", "{group: cellway.dev, kind: Cell, name: front}", TO_WEB),
    "another cell": route("r", "front", on("west"), TO_WEB),
    "no such section": route("r", "front", NORTH.replace("north", "north.wbe.http"), TO_WEB),
    "no such cell": route("r", "none", NORTH.replace("front", "none"), TO_WEB),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_route_is_refused(what: str) -> None:
    lowered = lower(r=REFUSED[what])
    assert places(lowered.diagnostics) == [("C108", "r", 5)]
    plain = lower()
    assert {str(item.key): item.document for item in lowered.objects} == {
        str(item.key): item.document for item in plain.objects
    }


def test_a_route_added_to_west_needs_names() -> None:
    lowered = lower(r=route("r", "back", on("west"), TO_NEXT))
    assert places(lowered.diagnostics) == [("C110", "r", 5)]
    assert lower(r=route("r", "back", on("west"), f"hostnames: [x.example]\n  {TO_NEXT}")).diagnostics == ()


def test_an_unknown_endpoint_is_reported_and_its_share_is_answered_with_500() -> None:
    text = route("canary", "back", on("west.api.http"), CANARY.replace("next.http", "nxt.http"))
    assert places(lower(canary=text).diagnostics) == [("C110", "canary", 9)]
    compiled = compile_shop(canary=text)
    assert reply(compiled, "acme/dev/back/west", "api.http.west") >= {"Forward"}


EXITS = {
    "a Backend": "{group: gateway.envoyproxy.io, kind: Backend, name: anywhere}",
    "a Service": "{name: next, port: 80}",
    "an endpoint of another cell": "{group: cellway.dev, kind: Endpoint, name: web.http}",
    "another namespace": "{group: gateway.envoyproxy.io, kind: Backend, name: anywhere, namespace: front}",
}
ANYWHERE = (
    "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: Backend\nmetadata: {name: anywhere, namespace: back}\n"
    "spec: {type: DynamicResolver}\n"
)


@pytest.mark.parametrize("what", EXITS)
def test_a_route_leads_to_endpoints_of_its_cell_alone(what: str) -> None:
    text = route("out", "back", on("west.api.http"), f"rules: [{{backendRefs: [{EXITS[what]}]}}]")
    compiled = compile_shop(anywhere=ANYWHERE, out=text)
    assert places(compiled.diagnostics, "C110") == [("C110", "out", 6)]
    assert not any("anywhere" in name for name in clusters(compiled))


def clusters(compiled: Compiled) -> set[str]:
    """What the west gateway can reach."""
    found = compiled.snapshots["acme/dev/back/west"].resources
    return {name for kind, named in found.items() if "Cluster" in kind for name in named}


def test_copies_of_requests_go_to_endpoints_of_the_cell_alone() -> None:
    mirror = "filters: [{type: RequestMirror, requestMirror: {backendRef: %s}}]"
    endpoint = "{group: cellway.dev, kind: Endpoint, name: next.http}"
    texts = {
        ref: route("m", "back", on("west.api.http"), f"rules: [{{{mirror % ref}}}]")
        for ref in (endpoint, *EXITS.values())
    }
    fine = lower(m=texts.pop(endpoint))
    assert fine.diagnostics == ()
    (copy, _) = spec_of(fine, "HTTPRoute", "back", "api.http.west")["rules"][0]["filters"]
    assert copy["requestMirror"]["backendRef"]["name"] == "west|back.next.http"
    for text in texts.values():
        refused = compile_shop(anywhere=ANYWHERE, m=text)
        assert ("C110", "m", 6) in places(refused.diagnostics)
        assert not any("anywhere" in name for name in clusters(refused))


def test_a_policy_on_a_written_route_goes_where_the_route_goes() -> None:
    target = "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: canary}"
    text = policy("p", "back", "X", "jwt: {providers: [{name: who}]}", "SecurityPolicy")
    text = text.replace("{group: cellway.dev, kind: Cell, name: back, sectionName: X}", target)
    compiled = compile_shop(canary=route("canary", "back", on("west.api.http"), CANARY), p=text)
    assert reply(compiled, "acme/dev/back/west", "api.http.west") == {"Respond 500"}


@pytest.mark.parametrize("kind", ["GRPCRoute", "TLSRoute", "TCPRoute"])
@pytest.mark.parametrize("gateway", ["front-north", "front-east", "front-south"])
def test_only_http_routes_are_on_gateways_of_a_cell(kind: str, gateway: str) -> None:
    text = (
        f"apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: out, namespace: front}}\nspec:\n"
        f"  parentRefs: [{{name: {gateway}}}]\n"
        "  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: evil}]}]\n"
    )
    done = lower(out=text)
    assert places(done.diagnostics, "C108") == [("C108", "out", 5)]
    assert not named(done, kind)


RULES = """rules:
  - name: free
    matches: [{path: {value: /free}}]
    backendRefs: [{group: cellway.dev, kind: Endpoint, name: api.http}]
  - name: guarded
    backendRefs: [{group: cellway.dev, kind: Endpoint, name: api.http}]"""


def on_rule(rule: str) -> str:
    target = f"{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: ruled, sectionName: {rule}}}"
    text = policy("p", "back", "X", "jwt: {providers: [{name: who}]}", "SecurityPolicy")
    return text.replace("{group: cellway.dev, kind: Cell, name: back, sectionName: X}", target)


def test_a_policy_on_a_rule_of_a_written_route_leaves_its_other_rules_alone() -> None:
    written = route("ruled", "back", on("west.api.http"), RULES)
    compiled = compile_shop(ruled=written, p=on_rule("guarded"))
    assert reply(compiled, "acme/dev/back/west", "api.http.west/rule/guarded") == {"Respond 500"}
    assert reply(compiled, "acme/dev/back/west", "api.http.west/rule/free") == {"Forward"}


def test_a_policy_on_a_rule_that_is_not_there_is_refused_with_a_hint() -> None:
    done = lower(ruled=route("ruled", "back", on("west.api.http"), RULES), p=on_rule("garded"))
    (problem,) = (one for one in done.diagnostics if one.code == "C108")
    assert "no rule of the name 'garded'" in problem.message
    assert problem.hint == "did you mean 'guarded'?"


def test_a_policy_on_a_route_with_other_parents_counts_there_too() -> None:
    target = "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: both}"
    text = policy("p", "front", "X", "timeout: {http: {requestTimeout: 1s}}")
    text = text.replace("{group: cellway.dev, kind: Cell, name: front, sectionName: X}", target)
    lowered = lower(both=route("both", "front", f"{NORTH}, {{name: mine}}", TO_WEB), p=text)
    assert named(lowered, "HTTPRoute") >= {"front/both", "front/both.north"}
    assert "front/p" in named(lowered, "BackendTrafficPolicy")
    assert spec_of(lowered, "BackendTrafficPolicy", "front", "both.north")["timeout"]


GATEWAY = (
    "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: back-west, namespace: back}\n"
    "spec: {gatewayClassName: x, listeners: [{name: http, protocol: HTTP, port: 9999}]}\n"
)


def test_a_written_object_cannot_take_the_name_of_a_derived_one() -> None:
    lowered = lower(gateway=GATEWAY, sneak=route("sneak", "back", "{name: back-west}", TO_NEXT))
    assert ("C110", "gateway", 4) in places(lowered.diagnostics)
    assert spec_of(lowered, "Gateway", "back", "back-west")["listeners"][0]["port"] == 15443
    assert places(lowered.diagnostics, "C110") == [("C110", "gateway", 4), ("C110", "sneak", 5)], (
        "on west it needs names"
    )
    compiled = compile_shop(gateway=GATEWAY, sneak=route("sneak", "back", "{name: back-west}", TO_NEXT))
    assert reply(compiled, "acme/dev/back/west", "sneak") == {"Respond 500"}


def test_the_short_name_of_a_component_is_that_of_its_endpoint_http() -> None:
    two = BACK.replace(
        "{name: api, endpoints: [", "{name: api, endpoints: [{name: admin, port: 81, visibility: [organization]}, "
    )
    lowered = lower(back=two)
    assert spec_of(lowered, "HTTPRoute", "back", "api.admin.west")["hostnames"] == ["admin.api.back.cell.internal"]
    assert spec_of(lowered, "HTTPRoute", "back", "api.http.west")["hostnames"] == NAMES
