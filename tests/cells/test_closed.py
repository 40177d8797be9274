"""What cannot be read, or is left out, opens nothing that it would have kept closed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cells.shop import SHOP, condition, lower, on, organization, route
from tests.cells.test_routes import NORTH, TO_NEXT, TO_WEB
from xds_server.compile import Compiled, Options, compile_objects
from xds_server.load.objects import Objects, parse_documents_of
from xds_server.load.yaml import parse_file
from xds_server.reload import Policies, Source, reload

EDGE = organization(spec="{stages: [{name: default}], edge: {trustedProxies: [192.0.2.0/24]}}")
OPEN = {
    **SHOP,
    "org": EDGE,
    "front-at": SHOP["front-at"].replace("stage: dev", "stage: default"),
    "back-at": SHOP["back-at"].replace("stage: dev", "stage: default"),
}
WRONG = {
    "a value": EDGE.replace("192.0.2.0/24", "everywhere"),
    "a field": EDGE.replace("trustedProxies", "trustedProxy"),
    "stages": EDGE.replace("[{name: default}]", "5"),
    "no spec": EDGE.partition("spec:")[0] + "spec: 5\n",
    "a key twice": EDGE.replace("edge: {", "logicalDomain: a.b, logicalDomain: a.b, edge: {"),
}


def read(files: dict[str, str], before: Objects | None = None) -> Objects:
    parsed = [parse_file(name, text.encode()) for name, text in files.items()]
    documents = [document for one in parsed for document in one.documents]
    return parse_documents_of(documents, [document for one in parsed for document in one.broken], before)


def gateways(compiled: Compiled) -> set[str]:
    return {one.name for one in compiled.gateways}


@pytest.mark.parametrize("what", WRONG)
def test_with_an_organization_that_cannot_be_read_nothing_is_bound(what: str) -> None:
    assert "acme/default/front/north" in gateways(compile_objects(read(OPEN).objects, Options()))
    compiled = compile_objects(read({**OPEN, "org": WRONG[what]}).objects, Options())
    assert gateways(compiled) == set()
    found = [one for one in compiled.diagnostics if one.code == "C104"]
    assert {one.span.file for one in found if one.span} == {"front-at", "back-at"}
    assert all("Organization acme has errors" in one.message for one in found)
    assert {one.code for one in compiled.diagnostics} == {"C104"}, "nothing else is said of what follows from it"


def test_live_the_last_good_organization_counts(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text("---\n".join(text for name, text in OPEN.items() if name != "org"))
    (tmp_path / "org.yaml").write_text(EDGE)
    source = Source((tmp_path,), Options(), lambda: 0.0)
    first, _ = reload(Policies(), source)
    (tmp_path / "org.yaml").write_text(WRONG["a value"])
    second, result = reload(first, source)
    assert result == "applied"
    assert "M112" in {one.code for one in second.diagnostics}
    assert gateways(second.compiled) == gateways(first.compiled) != set()
    assert second.compiled.snapshots["acme/default/front/north"].versions == (
        first.compiled.snapshots["acme/default/front/north"].versions
    )
    restarted, _ = reload(Policies(), source)
    assert gateways(restarted.compiled) == set()


def test_a_good_document_of_the_same_organization_counts() -> None:
    compiled = compile_objects(read({"bad": WRONG["a value"], **OPEN}).objects, Options())
    assert "acme/default/front/north" in gateways(compiled)


def narrowing(rest: str, section: str = "north.web.http", labels: str = "") -> str:
    text = route("narrow", "front", NORTH.replace("north", section), rest)
    return text.replace("{name: narrow,", f"{{name: narrow, labels: {{{labels}}},")


def answers(compiled: Compiled, gateway: str) -> dict[str, set[str]]:
    """What each route of a gateway does, by the name of the route."""
    found: dict[str, set[str]] = {}
    for gate in compiled.gateways:
        for chain in [chain for port in gate.ports for chain in port.http_chains if gate.name == gateway]:
            for one in [one for host in chain.hosts for one in host.routes]:
                words = f"{type(one.action).__name__} {getattr(one.action, 'status', '')}".strip()
                found.setdefault(one.name.split("/")[2], set()).add(words)
    return found


def compiled_with(text: str) -> Compiled:
    return compile_objects(read({**SHOP, "narrow": text}).objects, Options())


UNREADABLE = "rules: [{matches: [{path: {type: PathPrefix, valeu: /only}}]}]"


@pytest.mark.parametrize("section", ["north.web.http", "north"])
def test_a_route_that_cannot_be_read_closes_what_it_would_have_narrowed(section: str) -> None:
    compiled = compiled_with(narrowing(UNREADABLE, section))
    assert answers(compiled, "acme/dev/front/north") == {"web.http.north": {"Respond 500"}}
    assert answers(compiled, "acme/dev/front/east") == answers(compiled_with(""), "acme/dev/front/east")
    assert answers(compiled, "acme/dev/back/west") == {"api.http.west": {"Forward"}}


def test_a_route_whose_section_cannot_be_read_closes_all_that_routes_attach_to() -> None:
    text = narrowing(TO_WEB).replace("sectionName: north.web.http", "sectionName: [north]")
    assert answers(compiled_with(text), "acme/dev/front/north") == {"web.http.north": {"Respond 500"}}


def test_the_last_good_form_of_a_route_counts() -> None:
    good = narrowing("rules: [{matches: [{path: {type: PathPrefix, value: /only}}]}]")
    before = read({**SHOP, "narrow": good})
    now = read({**SHOP, "narrow": narrowing(UNREADABLE)}, before)
    assert not any(item.broken for item in now.objects)
    assert answers(compile_objects(now.objects, Options()), "acme/dev/front/north") == (
        answers(compile_objects(before.objects, Options()), "acme/dev/front/north")
    )


def test_of_another_namespace_a_route_that_cannot_be_read_closes_nothing() -> None:
    text = narrowing(UNREADABLE).replace("namespace: front", "namespace: back")
    assert answers(compiled_with(text), "acme/dev/front/north") == {"web.http.north": {"Forward"}}


ONLY = (
    f"hostnames: [front.example]\n  {TO_WEB.replace('{backendRefs', '{matches: [{path: {value: /only}}], backendRefs')}"
)


def test_a_route_with_a_label_that_nobody_understands_answers_500_itself() -> None:
    compiled = compiled_with(narrowing(ONLY, "north", "cellway.dev/stages: moon"))
    assert {one.code for one in compiled.diagnostics} == {"C122"}
    assert answers(compiled, "acme/dev/front/north") == {"web.http.north": {"Forward"}, "narrow": {"Respond 500"}}
    instead = compiled_with(narrowing(TO_WEB, "north.web.http", "cellway.dev/stages: moon"))
    assert answers(instead, "acme/dev/front/north") == {"web.http.north": {"Respond 500"}}


@pytest.mark.parametrize("name", ["web.http.north", "undeclared-dependency.east"])
def test_a_route_with_the_name_of_another_door_answers_500_where_it_was_to_be(name: str) -> None:
    compiled = compiled_with(narrowing(ONLY, "north").replace("{name: narrow,", f"{{name: {name},"))
    assert {one.code for one in compiled.diagnostics} == {"C108"}
    found = answers(compiled, "acme/dev/front/north")
    assert found == {"web.http.north": {"Forward"}, f"{name}.closed": {"Respond 500"}}


def test_a_route_on_west_without_names_answers_500_on_all_names() -> None:
    text = route(
        "r", "back", on("west"), TO_NEXT.replace("{backendRefs", "{matches: [{path: {value: /only}}], backendRefs")
    )
    compiled = compiled_with(text)
    assert {one.code for one in compiled.diagnostics} == {"C110"}
    assert answers(compiled, "acme/dev/back/west") == {"api.http.west": {"Forward"}, "r": {"Respond 500"}}


def test_what_does_not_fit_together_with_what_the_cell_adds_is_closed() -> None:
    """A rule has at most 16 filters, and `allow` needs one of them."""
    filters = ", ".join(["{type: RequestMirror, requestMirror: {backendRef: {name: x, port: 1}}}"] * 16)
    text = route(
        "r", "back", on("west.api.http"), TO_NEXT.replace("{backendRefs", f"{{filters: [{filters}], backendRefs")
    )
    assert answers(compiled_with(text), "acme/dev/back/west") == {"api.http.west": {"Respond 500"}}


def test_statuses_say_what_is_wrong() -> None:
    compiled = compiled_with(narrowing(UNREADABLE))
    (status,) = [one for key, one in compiled.statuses.items() if key.name == "narrow"]
    assert [(one.status, one.reason) for place in status.parents for one in place.conditions] == [(False, "Invalid")]
    lowered = lower(org=WRONG["a field"])
    assert not condition(lowered, "CellBinding", "front", "Accepted").status
