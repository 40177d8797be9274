"""Who set what: the layer and the line of every setting that counts, and what lost to it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cells.shop import FRONT, FRONT_AT, accepted, binding, cell_class, lower, organization, places, policy
from xds_server.cells.lower import Lowered
from xds_server.cells.merge import Layer, merge_layers, override_layers
from xds_server.cells.origins import leaves, trace
from xds_server.diagnostics import Positions, Span
from xds_server.observe.settings_view import settings_text, settings_view
from xds_server.types import ENVOY_GATEWAY_GROUP, Key, Origin

STANDARD = organization(spec="{stages: [{name: dev}], defaultClass: standard}")
WHAT = (
    "timeout: {{http: {{requestTimeout: {0}}}}}, rateLimit: {{local: {{rules: [{1}]}}}},"
    " circuitBreaker: {{maxConnections: {2}}}"
)


def settings(timeout: str, quota: int, breaker: int) -> str:
    return WHAT.format(timeout, f"{{limit: {{requests: {quota}, unit: Minute}}}}", breaker)


def shown(lowered: Lowered, section: str, name: str) -> dict[str, Any]:
    (cell,) = [one for one in settings_view(lowered.settings) if any(x["section"] == section for x in one["sections"])]
    (found,) = [one for one in cell["sections"] if one["section"] == section]
    return dict(next(one for one in found["settings"] if one["field"] == name))


FIELDS = (
    "traffic.timeout.http.requestTimeout",
    "traffic.rateLimit.local.rules",
    "traffic.circuitBreaker.maxConnections",
)
STAGE = binding(
    "front", 0, f"{FRONT_AT}, overrides: {{sections: {{east.back: {{traffic: {{{settings('3s', 3, 3)}}}}}}}}}"
)
LAYERS = {
    "class default": {
        "class": cell_class("standard", f"{{defaults: {{east: {{traffic: {{{settings('1s', 1, 1)}}}}}}}}}")
    },
    "policy on dependency": {"own": policy("own", "front", "east.back", settings("2s", 2, 2).replace("}, ", "}\n  "))},
    "binding override": {"front-at": STAGE},
}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_44_each_of_three_layers_is_named_with_its_file_for_timeout_quota_and_breaker(count: int) -> None:
    names = list(LAYERS)[:count]
    files = {file: text for name in names for file, text in LAYERS[name].items()}
    lowered = lower(org=STANDARD, **files)
    for field in FIELDS:
        one = shown(lowered, "east.back", field)
        assert one["setBy"]["layer"] == names[-1]
        assert one["setBy"]["source"].partition(":")[0] == list(files)[-1]
        assert [lost["layer"] for lost in one["overridden"]] == names[:-1]
    assert shown(lowered, "east.back", FIELDS[0])["value"] == f"{count}s"


def test_the_text_has_a_line_for_each_setting_and_below_it_what_lost() -> None:
    lowered = lower(org=STANDARD, **LAYERS["class default"], **LAYERS["binding override"])
    lines = settings_text(lowered.settings).splitlines()
    at = next(number for number, line in enumerate(lines) if FIELDS[0] in line)
    assert lines[:2] == ["front (dev)", "  east.back"]
    assert lines[at].startswith(f"    {FIELDS[0]} = 3s  <- binding override, CellBinding front (front-at:4:")
    assert lines[at + 1].startswith("        not 1s  of class default, CellClass standard (class:4:")


def test_policies_are_told_apart_by_what_they_are_on() -> None:
    lowered = lower(
        a=policy("a", "front", "", "timeout: {http: {requestTimeout: 1s}}"),
        b=policy("b", "front", "north", "timeout: {http: {requestTimeout: 2s}}"),
        c=policy("c", "front", "north.web.http", "retry: {numRetries: 2}"),
    )
    timeout = shown(lowered, "north.web.http", FIELDS[0])
    assert (timeout["setBy"]["layer"], timeout["setBy"]["object"]) == (
        "policy on direction",
        "BackendTrafficPolicy front/b",
    )
    assert [one["layer"] for one in timeout["overridden"]] == ["policy on cell"]
    assert shown(lowered, "north.web.http", "traffic.retry.numRetries")["setBy"]["layer"] == "policy on endpoint"
    assert shown(lowered, "south.mail", FIELDS[0])["setBy"]["layer"] == "policy on cell"


def test_a_closed_section_says_whose_mistake_it_is() -> None:
    lowered = lower(bad=policy("bad", "front", "east.back", "nonsense: 1"))
    (cell,) = settings_view(lowered.settings)
    assert cell["sections"] == [{"section": "east.back", "settings": [], "closedBy": "BackendTrafficPolicy front/bad"}]
    assert "east.back  answers 500: BackendTrafficPolicy front/bad has errors" in settings_text(lowered.settings)


JWT = "{overrides: {north: {security: {jwt: {providers: [{name: idp}]}}}}}"
PCI = FRONT.replace("{components", "{class: pci, components", 1)


def overridden(lowered: Lowered, name: str, kind: str = "SecurityPolicy") -> list[str]:
    status = lowered.statuses[Key(ENVOY_GATEWAY_GROUP, kind, "front", name)]
    return [one.message for place in status.ancestors for one in place.conditions if one.type == "Overridden"]


def test_24_what_a_class_takes_away_from_a_policy_is_said_in_its_status_and_at_its_line() -> None:
    weak = policy("weak", "front", "north", "jwt: {optional: true, providers: [{name: mine}]}", "SecurityPolicy")
    lowered = lower(pci=cell_class("pci", JWT), front=PCI, weak=weak)
    (message,) = overridden(lowered, "weak")
    assert message == (
        "CellClass pci overrides security.jwt.optional (north.web.http);"
        " CellClass pci overrides security.jwt.providers (north.web.http)"
    )
    assert accepted(lowered, "SecurityPolicy", "front", "weak")[0] == "Accepted"
    assert places(lowered.diagnostics, "C130") == [("C130", "weak", 6), ("C130", "weak", 6)]


def test_a_policy_that_says_the_same_as_the_class_loses_nothing() -> None:
    same = policy("same", "front", "north", "jwt: {providers: [{name: idp}]}", "SecurityPolicy")
    lowered = lower(pci=cell_class("pci", JWT), front=PCI, same=same)
    assert overridden(lowered, "same") == []
    assert lowered.diagnostics == ()


def test_a_traffic_field_beside_the_override_of_a_class_is_kept() -> None:
    strict = cell_class("pci", "{overrides: {east: {traffic: {circuitBreaker: {maxConnections: 9}}}}}")
    mine = policy("mine", "front", "", "circuitBreaker: {maxConnections: 1, maxPendingRequests: 2}")
    lowered = lower(pci=strict, front=PCI, mine=mine)
    (message,) = overridden(lowered, "mine", "BackendTrafficPolicy")
    assert message == "CellClass pci overrides traffic.circuitBreaker.maxConnections (east.back)"
    assert shown(lowered, "east.back", FIELDS[2])["value"] == 9
    assert shown(lowered, "east.back", "traffic.circuitBreaker.maxPendingRequests")["setBy"]["object"].endswith(
        "front/mine"
    )
    assert shown(lowered, "south.mail", FIELDS[2])["value"] == 1


def test_what_a_class_takes_away_from_a_binding_is_said_at_its_line() -> None:
    strict = cell_class("pci", "{overrides: {east: {traffic: {circuitBreaker: {maxConnections: 9}}}}}")
    lowered = lower(pci=strict, front=PCI, **LAYERS["binding override"])
    assert [one.message.partition(" has")[0] for one in lowered.diagnostics] == [FIELDS[2]]
    assert places(lowered.diagnostics) == [("C130", "front-at", 4)]


VALUES = st.recursive(
    st.integers(0, 3) | st.lists(st.integers(0, 3), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
TREES = st.lists(st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3), min_size=1, max_size=4)


def layer(number: int, value: dict[str, Any]) -> Layer:
    span = Span(f"file{number}")
    return Layer(value, Positions(span), (), Origin(Key("", "Layer", "", str(number)), span), str(number))


@given(TREES, TREES, st.booleans())
def test_every_leaf_that_counts_has_the_value_of_who_set_it(
    weak: list[dict[str, Any]], strong: list[dict[str, Any]], whole: bool
) -> None:
    below = [layer(number, value) for number, value in enumerate(weak)]
    above = [layer(100 + number, value) for number, value in enumerate(strong)]
    merged = merge_layers(below)
    override_layers(merged, above, whole=whole)
    traced = trace(merged, below, above)
    assert [(one.path, one.value) for one in traced] == list(leaves(merged.value))
    for one in traced:
        top = one.path[0] in {key for value in strong for key in value}
        assert not (whole and top) or int(one.setter.layer) >= 100
