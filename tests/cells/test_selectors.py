"""Policies that select by label: what they cover on the border of a cell is covered in every stage."""

from __future__ import annotations

import pytest

from tests.cells.shop import BACK_AT, FRONT_AT, SHOP, binding, objects_of, on, organization, places, reply, route
from xds_server.cells.attachments import FIELDS
from xds_server.compile import Compiled, Options, compile_objects

STAGES = SHOP | {
    "org": organization(spec="{stages: [{name: dev}, {name: test}]}"),
    "front-test": binding(
        "front",
        32,
        f"{FRONT_AT}, release: working-copy, overrides: {{gateways: {{north: {{hostnames: [test.example]}}}}}}",
        stage="test",
        name="front-test",
    ),
    "back-test": binding("back", 48, f"{BACK_AT}, release: working-copy", stage="test", name="back-test"),
}
SECURITY = "SecurityPolicy"
DENY = "authorization: {defaultAction: Deny}"
ENDPOINT = "rules: [{backendRefs: [{group: cellway.dev, kind: Endpoint, name: api.http}]}]"


def compile_stages(**changes: str) -> Compiled:
    files = STAGES | {name.replace("_", "-"): text for name, text in changes.items()}
    return compile_objects(objects_of(files)[0], Options())


def selecting(selector: str, namespace: str = "back", kind: str = SECURITY, spec: str = DENY) -> str:
    return (
        f"apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: {kind}\nmetadata: {{name: p, namespace: {namespace}}}\n"
        f"spec:\n  targetSelectors: [{selector}]\n  {spec}\n"
    )


def guarded(compiled: Compiled, namespace: str = "back") -> list[set[str]]:
    """The derived routes that a SecurityPolicy guards, in every stage."""
    return [
        {item.name for item in one.objects if item.derived and (item.key.kind, item.namespace) == (SECURITY, namespace)}
        for one in compiled.stages
    ]


LABELLED = route("mine", "back", on("west.api.http"), ENDPOINT).replace("{name: mine,", "{labels: {a: b}, name: mine,")


@pytest.mark.parametrize(
    "selector",
    [
        "{kind: Gateway, matchLabels: {cellway.dev/direction: west}}",
        "{kind: Gateway, matchLabels: {cellway.dev/cell: back}, namespaces: {from: All}}",
        "{kind: HTTPRoute, matchLabels: {a: b}}",
        "{kind: HTTPRoute}",
    ],
)
def test_what_is_selected_is_guarded_in_every_stage(selector: str) -> None:
    compiled = compile_stages(p=selecting(selector), mine=LABELLED)
    assert compiled.diagnostics == ()
    assert guarded(compiled) == [{"api.http.west"}, {"api.http.west"}]


def test_a_route_on_a_whole_direction_is_selected_in_every_stage() -> None:
    added = route("mine", "back", on("west"), f"hostnames: [more.example]\n  {ENDPOINT}")
    labelled = added.replace("{name: mine,", "{labels: {a: b}, name: mine,")
    compiled = compile_stages(p=selecting("{kind: HTTPRoute, matchLabels: {a: b}}"), mine=labelled)
    assert compiled.diagnostics == ()
    assert guarded(compiled) == [{"mine"}, {"mine"}]


def test_a_broken_policy_closes_what_it_selects_in_every_stage() -> None:
    broken = selecting("{kind: Gateway, matchLabels: {cellway.dev/direction: west}}", spec="nonsense: 1")
    compiled = compile_stages(p=broken)
    for stage in ("dev", "test"):
        assert reply(compiled, f"acme/{stage}/back/west", "api.http.west") == {"Respond 500"}


def test_a_selection_that_is_of_one_stage_covers_that_stage() -> None:
    compiled = compile_stages(p=selecting("{kind: Gateway, matchLabels: {cellway.dev/stage: dev}}"))
    assert guarded(compiled) == [{"api.http.west"}, set()]


def test_of_a_route_with_other_parents_both_parts_are_selected() -> None:
    edge = (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: c}\n"
        "spec: {controllerName: cellway.dev/gateway-controller}\n---\n"
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge, namespace: back}\n"
        "spec: {gatewayClassName: c, listeners: [{name: http, protocol: HTTP, port: 80}]}\n"
    )
    parents = f"{on('west.api.http')}, {{name: edge}}"
    text = route("mine", "back", parents, "rules: [{filters: [{type: RequestRedirect, requestRedirect: {port: 1}}]}]")
    mine = text.replace("{name: mine,", "{labels: {a: b}, name: mine,")
    broken = selecting("{kind: HTTPRoute, matchLabels: {a: b}}", spec="nonsense: 1")
    compiled = compile_stages(p=broken, mine=mine, edge=edge)
    assert reply(compiled, "back/edge", "mine") == {"Respond 500"}
    for stage in ("dev", "test"):
        assert reply(compiled, f"acme/{stage}/back/west", "api.http.west") == {"Respond 500"}


GRANT = (
    "apiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\nmetadata: {name: g, namespace: back}\n"
    "spec: {from: [{group: gateway.envoyproxy.io, kind: %s, namespace: front}],"
    " to: [{group: gateway.networking.k8s.io, kind: Gateway}]}\n"
)


@pytest.mark.parametrize("kind", FIELDS)
def test_a_policy_of_another_namespace_closes_what_it_may_select(kind: str) -> None:
    """Its references mean another namespace: it cannot be one of the layers of the cell."""
    text = selecting("{kind: Gateway, matchLabels: {cellway.dev/cell: back}, namespaces: {from: All}}", "front", kind)
    text = text if kind == SECURITY else text.replace(DENY, "timeout: {http: {requestTimeout: 1s}}")
    compiled = compile_stages(p=text, grant=GRANT % kind)
    assert places(compiled.diagnostics) == [("C108", "p", 5)]
    for stage in ("dev", "test"):
        assert reply(compiled, f"acme/{stage}/back/west", "api.http.west") == {"Respond 500"}
        assert reply(compiled, f"acme/{stage}/front/east", "back.east") != {"Respond 500"}
    without = compile_stages(p=text)
    assert places(without.diagnostics) == [("A123", "p", 5)], "nobody in the cell's namespace permits it"
    assert reply(without, "acme/dev/back/west", "api.http.west") != {"Respond 500"}


@pytest.mark.parametrize("name", ["undeclared-dependency.east", "mail.south.tunnel"])
def test_settings_for_other_derived_routes_are_refused_or_those_of_the_dependency(name: str) -> None:
    """In the first stage alone they would protect something."""
    target = f"{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: {name}}}"
    text = selecting("", "front").replace("targetSelectors: []", f"targetRefs: [{target}]")
    tunnel = STAGES["mail"].replace("port: 80, protocol: HTTP", "port: 80, protocol: TCP")
    compiled = compile_stages(p=text, mail=tunnel)
    if name.startswith("mail"):
        assert compiled.diagnostics == ()
        assert guarded(compiled, "front") == [{"mail.south", "mail.south.tunnel", "mail.south.80.tcproute"}] * 2
    else:
        assert places(compiled.diagnostics) == [("C108", "p", 5)]


def patch(gateway: str) -> str:
    return (
        "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyPatchPolicy\nmetadata: {name: p, namespace: back}\n"
        f"spec:\n  type: JSONPatch\n  targetRef: {{group: gateway.networking.k8s.io, kind: Gateway, name: {gateway}}}\n"
    )


def test_gateways_of_cells_are_not_patched() -> None:
    """A patch could take away what keeps cells apart, and it would be in all stages at once."""
    files = STAGES | {"p": patch("back-west")}
    compiled = compile_objects(objects_of(files)[0], Options(extenders=("back",)))
    assert places(compiled.diagnostics) == [("C108", "p", 6)]
    assert not any(gateway.patches for gateway in compiled.gateways)


def test_patches_of_other_gateways_are_made_once_and_no_stage_misses_their_gateway() -> None:
    edge = (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge, namespace: back}\n"
        "spec: {addresses: [{value: 127.0.9.99}], listeners: [{name: http, protocol: HTTP, port: 80}]}\n"
    )
    files = STAGES | {"p": patch("edge"), "edge": edge}
    compiled = compile_objects(objects_of(files)[0], Options(extenders=("back",)))
    assert compiled.diagnostics == ()
    assert [gateway.name for gateway in compiled.gateways if gateway.patches] == ["back/edge"]
