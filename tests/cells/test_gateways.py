"""Which gateways, routes and refusals a cell means, and what is said of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cells.shop import (
    BACK,
    BACK_AT,
    FRONT,
    FRONT_AT,
    SHOP,
    binding,
    cell,
    compile_shop,
    condition,
    external,
    find,
    lower,
    named,
    objects_of,
    places,
    spec_of,
)
from xds_server.cells.lower import Lowered, lower_cells
from xds_server.model.object import Object
from xds_server.types import ENVOY_GATEWAY_GROUP, Key


def test_a_gateway_is_there_only_where_it_is_needed() -> None:
    lowered = lower()
    assert named(lowered, "Gateway") == {"front/front-north", "front/front-east", "front/front-south", "back/back-west"}
    assert lowered.diagnostics == ()


def test_derived_objects_have_stable_names() -> None:
    lowered = lower()
    assert named(lowered, "HTTPRoute") == {
        "front/web.http.north", "front/back.east", "front/mail.south",
        "front/undeclared-dependency.east", "front/external-not-allowed.south", "back/api.http.west",
    }  # fmt: skip
    assert named(lowered, "Backend") == {
        "front/north|front.web.http", "front/east|back.api.http", "front/south|mail", "back/west|back.api.http",
    }  # fmt: skip


def test_addresses_follow_from_the_binding() -> None:
    lowered = lower()
    found = {
        item.name: item.document["spec"]["addresses"][0]["value"]
        for item in lowered.objects
        if item.key.kind == "Gateway"
    }
    assert found == {
        "front-north": "127.0.9.1", "front-east": "127.0.9.3", "front-south": "127.0.9.4", "back-west": "127.0.9.18",
    }  # fmt: skip


def test_no_object_of_a_cell_kind_is_left_and_all_know_where_they_come_from() -> None:
    lowered = lower()
    assert all(item.key.group != "cellway.dev" for item in lowered.objects)
    assert all(origin.span.file in SHOP for item in lowered.objects for origin in item.origins)
    assert {origin.span.file for origin in find(lowered, "Gateway", "back", "back-west").origins} == {"back", "back-at"}


def test_a_cell_without_a_binding_has_no_gateway_and_says_so() -> None:
    lowered = lower(back_at="")
    assert "back/back-west" not in named(lowered, "Gateway")
    assert condition(lowered, "Cell", "back", "Bound").reason == "NotBound"
    assert condition(lowered, "Cell", "front", "ResolvedRefs").reason == "NotBound"


REFUSED = {
    "undeclared-dependency": ("NotFound", FRONT.replace("cell: back", "cell: nowhere"), BACK),
    "not-visible": ("NotVisible", FRONT, BACK.replace("[organization]", "[public]")),
    "not-allowed": ("NotAllowed", FRONT, BACK.replace("cells: [front]", "cells: [frontier]")),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_one_side_alone_opens_nothing_and_the_reason_is_told(reason: str) -> None:
    said, front, back = REFUSED[reason]
    lowered = lower(front=front, back=back)
    rules = spec_of(lowered, "HTTPRoute", "front", "back.east")["rules"]
    assert [one["filters"][0]["extensionRef"]["name"] for one in rules] == [f"deny-{reason}"]
    assert "backendRefs" not in rules[0]
    answer = spec_of(lowered, "HTTPRouteFilter", "front", f"deny-{reason}")["directResponse"]
    assert answer == {"statusCode": 403, "header": {"set": [{"name": "x-cell-deny", "value": reason}]}}
    found = condition(lowered, "Cell", "front", "ResolvedRefs")
    assert (found.status, found.reason) == (False, said)
    assert places(lowered.diagnostics) == [("C103", "front", 4)]


def test_an_unknown_endpoint_is_not_found() -> None:
    lowered = lower(front=FRONT.replace("component: api", "component: apo"))
    assert condition(lowered, "Cell", "front", "ResolvedRefs").reason == "NotFound"
    assert "front/east|back.apo.http" not in named(lowered, "Backend")


@pytest.mark.parametrize(
    ("allow", "reason"), [("{cells: [back]}", "NotAllowed"), ("{cells: [front]}", ""), ("{all: true}", "")]
)
def test_an_external_service_says_who_may_use_it(allow: str, reason: str) -> None:
    spec = f"{{allow: {allow}, hosts: [mail.example], ports: [{{port: 80, protocol: HTTP}}]}}"
    lowered = lower(mail=external("mail", spec))
    found = condition(lowered, "Cell", "front", "ResolvedRefs")
    assert (found.status, found.reason) == ((False, reason) if reason else (True, "ResolvedRefs"))
    assert ("front/south|mail" in named(lowered, "Backend")) == (not reason)


def test_an_external_service_that_is_not_there_is_refused() -> None:
    lowered = lower(mail="")
    assert places(lowered.diagnostics) == [("C103", "front", 4)]
    rules = spec_of(lowered, "HTTPRoute", "front", "mail.south")["rules"]
    assert [one["filters"][0]["extensionRef"]["name"] for one in rules] == ["deny-external-not-allowed"]


def test_what_nobody_declared_is_refused() -> None:
    lowered = lower()
    for name, direction in (("undeclared-dependency", "east"), ("external-not-allowed", "south")):
        spec = spec_of(lowered, "HTTPRoute", "front", f"{name}.{direction}")
        assert "hostnames" not in spec
        assert {"method": "CONNECT"} in spec["rules"][0]["matches"]
        assert spec["rules"][0]["filters"][0]["extensionRef"]["name"] == f"deny-{name}"


def allowed(lowered: Lowered, name: str = "api.http.west") -> object:
    """Whom the filter of a west route lets in."""
    return spec_of(lowered, "HTTPRouteFilter", "back", name)["peers"]["allow"]


def test_west_lets_in_whom_allow_names_and_nobody_else() -> None:
    lowered = lower()
    rules = spec_of(lowered, "HTTPRoute", "back", "api.http.west")["rules"]
    assert [one["filters"][-1]["extensionRef"]["name"] for one in rules] == ["api.http.west"]
    assert allowed(lowered) == [{"uris": ["spiffe://dev.cell.internal/cell/front/gw/east"]}]
    assert allowed(lower(back=BACK.replace("{cells: [front]}", "{cells: []}"))) == []


def test_without_allow_west_lets_in_the_east_gateways_of_the_stage() -> None:
    wanted = [{"pattern": r"spiffe://dev\.cell\.internal/cell/[^/]+/gw/east"}]
    assert allowed(lower(back=BACK.replace(", allow: {cells: [front]}", ""))) == wanted
    assert allowed(lower(back=BACK.replace("{cells: [front]}", "{all: true}"))) == wanted


def test_methods_and_operators_are_rules_of_their_own() -> None:
    text = BACK.replace("{cells: [front]}", "{cells: [front, admin], methods: {front: [GET]}, operators: [ann]}")
    domain = "spiffe://dev.cell.internal"
    lowered = lower(back=text)
    assert allowed(lowered) == [
        {"uris": [f"{domain}/cell/admin/gw/east"]},
        {"uris": [f"{domain}/operator/ann"], "withoutHeaders": ["x-cell-component"]},
        {"uris": [f"{domain}/cell/front/gw/east"], "methods": ["GET"]},
    ]
    rules = spec_of(lowered, "HTTPRoute", "front", "back.east")["rules"]
    assert rules[0]["matches"] == [{"method": "GET"}]
    assert rules[1]["filters"][0]["extensionRef"]["name"] == "deny-method-not-allowed"


def test_methods_of_a_cell_that_is_not_allowed_are_an_error() -> None:
    text = BACK.replace("{cells: [front]}", "{cells: [front], methods: {fornt: [GET]}}")
    found = objects_of({"back": text})[1]
    assert places(found) == [("M112", "back", 4)]
    assert "'fornt'" in found[0].message


def test_an_endpoint_of_the_cell_alone_has_no_door() -> None:
    assert not any("next" in name for kind in ("HTTPRoute", "Backend") for name in named(lower(), kind))


def test_from_is_said_not_to_be_enforced() -> None:
    lowered = lower(front=FRONT.replace("component: api}", "component: api, from: [web]}"))
    assert condition(lowered, "Cell", "front", "Enforcement").reason == "Cell"


TWIN = cell(
    "twin", "{components: [{name: web, endpoints: [{name: http, port: 80, visibility: [public]}]}], HOSTS}"
).replace("HOSTS", "gateways: {north: {hostnames: [front.example]}}")


def test_one_host_and_path_leads_to_one_endpoint() -> None:
    at = binding("twin", 32, FRONT_AT.replace("201", "204"))
    lowered = lower(twin=TWIN, twin_at=at)
    assert places(lowered.diagnostics) == [("C107", "twin", 4)]
    assert "twin/web.http.north" not in named(lowered, "HTTPRoute")
    other_path = lower(twin=TWIN.replace("port: 80", "port: 80, basePath: /twin"), twin_at=at)
    assert other_path.diagnostics == ()


def test_repeated_and_reserved_names_are_reported_and_the_first_counts() -> None:
    again = "{name: back, external: mail}, {name: undeclared-dependency, external: mail}"
    lowered = lower(
        front=FRONT.replace("dependencies: [", "dependencies: [").replace("{name: mail, e", again + ", {name: mail, e")
    )
    assert places(lowered.diagnostics) == [("C110", "front", 4), ("C110", "front", 4)]
    assert "front/back.south" not in named(lowered, "HTTPRoute")
    assert "hostnames" not in spec_of(lowered, "HTTPRoute", "front", "undeclared-dependency.east")


def test_two_dependencies_on_one_thing_are_reported() -> None:
    twice = FRONT.replace("{name: mail, e", "{name: again, cell: back, component: api}, {name: mail, e")
    lowered = lower(front=twice)
    assert places(lowered.diagnostics) == [("C103", "front", 4)]
    assert "east.back" in lowered.diagnostics[0].message


def texts(lowered: Lowered) -> dict[str, object]:
    return {str(item.key): item.document for item in lowered.objects}


OBJECTS = objects_of(SHOP | {"twin": TWIN.replace("front.example", "twin.example"), "twin-at": binding("twin", 32)})[0]


@settings(max_examples=50, deadline=None)
@given(st.permutations(OBJECTS))
def test_the_order_of_objects_changes_nothing(objects: list[Object]) -> None:
    lowered, wanted = lower_cells(objects), lower_cells(OBJECTS)
    assert texts(lowered) == texts(wanted)
    assert set(lowered.diagnostics) == set(wanted.diagnostics)
    assert lowered.statuses == wanted.statuses


@pytest.mark.parametrize("gone", ["front", "back", "twin"])
def test_without_a_cell_no_object_of_an_unrelated_cell_changes(gone: str) -> None:
    before = lower_cells(OBJECTS)
    after = lower_cells([item for item in OBJECTS if (item.key.kind, item.name) != ("Cell", gone)])
    related = {"front": {"front"}, "back": {"back", "front"}, "twin": {"twin"}}[gone]
    for item in before.objects:
        if item.namespace not in related:
            assert texts(after)[str(item.key)] == item.document
    assert not any(item.namespace == gone for item in after.objects)


def test_a_binding_says_where_endpoints_are() -> None:
    lowered = lower(back_at=binding("back", 16, BACK_AT.replace("127.0.9.202", "127.0.9.202, port: 81, zone: a")))
    assert spec_of(lowered, "Backend", "back", "west|back.api.http") == {
        "endpoints": [{"ip": {"address": "127.0.9.202", "port": 81}, "zone": "a"}]
    }


def test_what_a_cell_means_of_its_gateways_no_selector_takes_away() -> None:
    text = (
        "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: ClientTrafficPolicy\n"
        "metadata: {name: a-first, namespace: back}\nspec:\n"
        "  targetSelectors: [{kind: Gateway, matchLabels: {cellway.dev/direction: west}}]\n"
        "  headers: {earlyRequestHeaders: {set: [{name: x-cell-caller, value: me}]}}\n"
    )
    result = compile_shop(mine=text)
    status = result.statuses[Key(ENVOY_GATEWAY_GROUP, "ClientTrafficPolicy", "back", "a-first")]
    assert [(one.status, one.reason) for one in status.ancestors[0].conditions] == [(False, "TargetNotFound")]
