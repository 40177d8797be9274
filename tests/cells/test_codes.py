"""Every mistake between cells is reported with its code, at its place, and leaves the rest as it is."""

from __future__ import annotations

import pytest

from tests.cells.shop import (
    BACK,
    BACK_AT,
    FRONT,
    binding,
    cell,
    cell_class,
    compile_shop,
    condition,
    lower,
    named,
    organization,
    places,
    policy,
    route,
)
from xds_server.diagnostics import CATALOGUE
from xds_server.snapshot.resource import Snapshot

TIMEOUT = "timeout: {http: {requestTimeout: 1s}}"
RULES = "rules: [{backendRefs: [{group: cellway.dev, kind: Endpoint, name: nowhere.http}]}]"
WEB = "{components: [{name: web, endpoints: [{name: http, port: 80, visibility: [public]}]}]"
HOSTS = "gateways: {north: {hostnames: [front.example]}}"
STRICT = "---\n".join((
    cell("x", "{class: s, components: [{name: a}], dependencies: [{name: d, cell: back, component: api}]}"),
    cell_class("s", f"{{overrides: {{east: {{traffic: {{{TIMEOUT.replace('1s', '2s')}}}}}}}}}"),
    binding("x", 64),
))  # fmt: skip

# One document added to the shop each: the code, the line, the document.
MISTAKES = {
    "a second organization": ("C101", 4, organization("zeta")),
    "no such class": ("C102", 4, cell("x", "{class: nowhere, components: [{name: a}]}")),
    "a class that extends itself": (
        "C102", 9, cell("x", "{class: loop, components: [{name: a}]}") + "---\n" + cell_class("loop", "{extends: loop}"),
    ),
    "no such cell to call": (
        "C103", 4, cell("x", "{components: [{name: a}], dependencies: [{name: d, cell: nowhere, component: a}]}"),
    ),
    "no such stage": ("C104", 4, binding("front", 64, stage="moon", name="x")),
    "no such cell to bind": ("C104", 4, binding("nowhere", 64, name="x")),
    "bound twice": ("C104", 4, binding("front", 64, name="x")),
    "no address": ("C105", 9, cell("x", f"{WEB}, {HOSTS}}}".replace("front", "x")) + "---\n" + binding("x", 64)),
    "no hostnames": ("C106", 4, cell("x", f"{WEB}}}") + "---\n" + binding("x", 64)),
    "a host that is taken": (
        "C107", 4, cell("x", f"{WEB}, {HOSTS}}}") + "---\n" + binding("x", 64),
    ),
    "no such section": ("C108", 5, policy("x", "front", "east.nowhere", TIMEOUT)),
    "no such endpoint": ("C110", 6, route("x", "front", "{name: front-north}", RULES)),
    "what a class overrides": ("C130", 6, policy("x", "x", "east.d", TIMEOUT) + "---\n" + STRICT),
    "a name twice": ("C110", 4, cell("x", "{components: [{name: a}, {name: a}]}")),
}  # fmt: skip


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_has_a_code_and_a_place(what: str) -> None:
    code, line, text = MISTAKES[what]
    found = places(lower(zz=text).diagnostics)
    assert (code, "zz", line) in found
    assert len(found) == (2 if what == "what a class overrides" else 1), "back does not allow the cell x"


def test_two_policies_for_one_field_are_c109() -> None:
    lowered = lower(a=policy("a", "front", "north", TIMEOUT), b=policy("b", "front", "north", TIMEOUT))
    assert places(lowered.diagnostics) == [("C109", "b", 5)]


def test_every_code_of_cells_is_tested() -> None:
    assert {code for code, _, _ in MISTAKES.values()} | {"C109", "C111"} == {
        code for code in CATALOGUE if code[0] == "C" and code[:3] != "C12"
    }


def bodies(snapshot: Snapshot) -> dict[str, bytes]:
    return {one.name: one.body for named_ones in snapshot.resources.values() for one in named_ones.values()}


@pytest.mark.parametrize("what", [one for one in MISTAKES if one != "no such endpoint"])
def test_a_mistake_changes_nothing_of_other_cells(what: str) -> None:
    before, after = compile_shop(), compile_shop(zz=MISTAKES[what][2])
    for name, snapshot in before.snapshots.items():
        assert bodies(after.snapshots[name]) == bodies(snapshot), name


def test_overlapping_addresses_are_refused_and_the_first_keeps_them() -> None:
    lowered = lower(x=cell("x", "{components: [{name: a}]}"), x_at=binding("x", 2))
    assert places(lowered.diagnostics) == [("C104", "x-at", 4)]
    assert "already a gateway of cell front" in lowered.diagnostics[0].message
    assert not condition(lowered, "CellBinding", "x", "Accepted").status
    assert condition(lowered, "Cell", "x", "Bound").reason == "NotBound"


def test_a_class_cycle_of_two_takes_its_cells_out_and_no_other() -> None:
    classes = {"a": cell_class("a", "{extends: b}"), "b": cell_class("b", "{extends: a}")}
    lowered = lower(back=BACK.replace("{components", "{class: a, components", 1), **classes)
    assert ("C102", "b", 4) in places(lowered.diagnostics)
    assert "back/back-west" not in named(lowered, "Gateway")
    assert "front/front-north" in named(lowered, "Gateway")


def test_the_organization_that_counts_is_the_older_one() -> None:
    later = organization("aaa").replace("{name: aaa}", '{name: aaa, creationTimestamp: "2024-01-02T00:00:00Z"}')
    first = organization("zzz").replace("{name: zzz}", '{name: zzz, creationTimestamp: "2024-01-01T00:00:00Z"}')
    lowered = lower(org=first, later=later)
    assert places(lowered.diagnostics) == [("C101", "later", 4)]
    assert not condition(lowered, "Organization", "aaa", "Accepted").status


def test_an_unknown_endpoint_in_a_binding_is_reported_and_the_rest_of_it_counts() -> None:
    lowered = lower(back_at=binding("back", 16, BACK_AT.replace("{api", "{apo.http: [{address: 127.0.9.9}], api")))
    assert places(lowered.diagnostics) == [("C104", "back-at", 4)]
    assert lowered.diagnostics[0].hint == "did you mean 'api.http'?"
    assert condition(lowered, "CellBinding", "back", "Accepted").status
    assert "back/west|back.api.http" in named(lowered, "Backend")


def test_the_address_needs_room_for_four() -> None:
    text = binding("x", 2).replace("127.0.9.2", "255.255.255.253")
    lowered = lower(x=cell("x", "{components: [{name: a}]}"), x_at=text)
    assert places(lowered.diagnostics) == [("C104", "x-at", 4)]


def test_dependencies_of_a_cell_outside_the_stage_are_looked_at() -> None:
    lowered = lower(front_at="", front=FRONT.replace("component: api", "component: apo"))
    assert places(lowered.diagnostics) == [("C103", "front", 4)]
