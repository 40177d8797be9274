"""Sidecars: what they mean as objects, what is wrong with them and where, and what may not be attached to them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cells.shop import (
    SHOP,
    accepted,
    binding,
    cell,
    compile_shop,
    condition,
    external,
    find,
    lower,
    named,
    objects_of,
    organization,
    places,
    policy,
    route,
    spec_of,
)
from xds_server.cells.authority import Authority
from xds_server.cells.derive import Output
from xds_server.cells.identities import wanted_identities
from xds_server.cells.lower import Lowered
from xds_server.compile import Options, compile_objects
from xds_server.observe.diagram import mermaid
from xds_server.snapshot.resource import SECRET

AT = ", endpoints: {web.http: [{address: 127.0.9.201}], job.http: [{address: 127.0.9.204}]}"


def front(use: str = "", job: str = "", mail: str = "") -> str:
    """A cell with two components; `use`, `mail`: more of its dependencies; `job`: more of an endpoint."""
    return cell(
        "front",
        "{components: [{name: web, endpoints: [{name: http, port: 80, visibility: [public]}]},"
        f" {{name: job, endpoints: [{{name: http, port: 80{job}}}]}}],"
        f" dependencies: [{{name: back, cell: back, component: api{use}}}, {{name: mail, external: mail{mail}}}],"
        " gateways: {north: {hostnames: [front.example]}}}",
    )


def at(sidecars: str, endpoints: str = AT) -> str:
    return binding("front", 0, f"{endpoints}, sidecars: {sidecars}")


def made(sidecars: str = "{web: {application: 127.0.9.211}, job: {}}", **changes: str) -> Lowered:
    return lower(**{"front": front(), "front_at": at(sidecars), **changes})


def parents(lowered: Lowered, name: str) -> list[str]:
    return [ref["sectionName"] for ref in spec_of(lowered, "HTTPRoute", "front", name)["parentRefs"]]


def refusals(lowered: Lowered, name: str) -> list[str]:
    """The reasons with which a route refuses."""
    rules: list[dict[str, Any]] = spec_of(lowered, "HTTPRoute", "front", name)["rules"]
    refs = [one["extensionRef"]["name"] for rule in rules for one in rule.get("filters", ()) if "extensionRef" in one]
    return [name.removeprefix("deny-") for name in refs if name.startswith("deny-")]


def test_a_sidecar_is_a_gateway_of_its_own_and_in_no_group() -> None:
    lowered = made()
    assert {"front/front-component-web", "front/front-component-job"} <= named(lowered, "Gateway")
    names = {key.name: value for key, value in lowered.gateways.items()}
    assert names["front-component-web"] == ("acme/dev/front/component/web", "")
    compiled = compile_shop(front=front(), front_at=at("{web: {}}"))
    assert set(compiled.snapshots["acme/dev/front/component/web"].get(SECRET)) >= {"front/front-component-web-identity"}
    assert "front/front-component-web-identity" not in compiled.snapshots["acme/dev/front"].get(SECRET)


def test_its_application_and_what_it_sends_are_on_loopback_alone() -> None:
    compiled = compile_shop(front=front(), front_at=at("{web: {application: 127.0.9.211}}"))
    gateway = next(one for one in compiled.gateways if one.name == "acme/dev/front/component/web")
    found = {port.port: port.addresses for port in gateway.ports}
    loopback = ("127.0.9.211",)
    assert found == {80: ("127.0.9.201",), 15001: loopback, 15002: loopback, 15053: loopback}
    assert all(port.tls == (port.port == 80) for port in gateway.ports)
    assert compiled.diagnostics == ()


def test_a_component_that_serves_nothing_has_a_way_out_and_no_way_in() -> None:
    spec = "{components: [{name: worker}], dependencies: [{name: mail, external: mail}]}"
    compiled = compile_shop(front=cell("front", spec), front_at=binding("front", 0, ", sidecars: {worker: {}}"))
    gateway = next(one for one in compiled.gateways if one.name == "acme/dev/front/component/worker")
    assert {(port.port, port.addresses) for port in gateway.ports} == {
        (number, ("127.0.0.1",)) for number in (15001, 15002, 15053)
    }


def test_sidecars_that_share_a_loopback_address_are_warned_of_on_one_machine() -> None:
    files = SHOP | {"front": front(), "front-at": at("{web: {}, job: {}}")}
    found = compile_objects(objects_of(files)[0], Options(one_machine=True)).diagnostics
    assert places(found) == [("A147", "front-at", 4)]
    apart = files | {"front-at": at("{web: {application: 127.0.9.211}, job: {application: 127.0.9.214}}")}
    assert compile_objects(objects_of(apart)[0], Options(one_machine=True)).diagnostics == ()


def test_certificates_are_needed_for_sidecars_and_for_all_gateways_beside_them() -> None:
    wanted = wanted_identities(objects_of({"org": organization(), "at": at("{web: {}}")})[0])
    head = "spiffe://dev.cell.internal/cell/front"
    assert set(wanted["dev.cell.internal"]) == {
        f"{head}/component/web", *(f"{head}/gw/{one}" for one in ("north", "west", "east", "south"))
    }  # fmt: skip


def test_a_dependency_that_names_components_is_closed_to_whoever_does_not_say_who_he_is() -> None:
    lowered = made("{web: {}}", front=front(", from: [web]"))
    assert (parents(lowered, "back.east"), refusals(lowered, "back.east")) == (["http"], ["component-not-allowed"])
    assert parents(lowered, "back.east.sidecars") == ["sidecars"]
    uris = spec_of(lowered, "HTTPRouteFilter", "front", "back.east.components")["peers"]["allow"]
    assert uris == [{"uris": ["spiffe://dev.cell.internal/cell/front/component/web"]}]
    assert parents(lowered, "mail.south") == ["http", "sidecars"]


def test_as_long_as_one_that_is_named_has_no_sidecar_everybody_gets_through_in_plain_text() -> None:
    lowered = made("{web: {}}", front=front(", from: [web, job]"))
    assert refusals(lowered, "back.east") == ["method-not-allowed"]
    told = condition(lowered, "Cell", "front", "Enforcement")
    assert (told.reason, "job" in told.message) == ("Cell", True)


def test_the_plain_listener_is_there_as_long_as_somebody_needs_it() -> None:
    def listeners(lowered: Lowered, direction: str) -> list[str]:
        return [one["name"] for one in spec_of(lowered, "Gateway", "front", f"front-{direction}")["listeners"]]

    assert listeners(lower(front=front()), "east") == ["http", "dns"]
    assert listeners(made("{web: {}}"), "east") == ["http", "sidecars", "dns"]
    assert listeners(made(), "east") == ["sidecars", "dns"]
    assert listeners(made(), "south") == ["sidecars"]
    blind = external("mail", "{hosts: [mail.example], ports: [{port: 8443, protocol: TLS, mode: Passthrough}]}")
    assert listeners(made(mail=blind), "south") == ["http", "sidecars", "tls"]


def test_what_has_no_requests_is_not_told_apart_and_the_status_says_so() -> None:
    blind = external("mail", "{hosts: [mail.example], ports: [{port: 5432, protocol: TCP}]}")
    lowered = made(mail=blind, front=front(mail=", from: [web]"))
    told = condition(lowered, "Cell", "front", "Enforcement")
    assert (told.reason, "mail" in told.message) == ("Cell", True)
    assert not [one for one in lowered.diagnostics if one.code == "C103"]


@pytest.mark.parametrize(
    ("sidecars", "of", "level"),
    [
        ("{web: {}, job: {}}", front(), "Component"),
        ("{web: {}}", front(), "Cell"),
        ("{web: {}}", front(", from: [web]"), "Component"),
        ("{web: {}}", front(job=", from: [web]"), "Cell"),
        ("{web: {}, job: {}}", front(job=", from: [web]"), "Component"),
        ("{}", front(", from: [web]"), "Cell"),
        ("{}", front(job=", from: [web]"), "Cell"),
    ],
)
def test_the_status_says_how_far_callers_are_told_apart(sidecars: str, of: str, level: str) -> None:
    assert condition(made(sidecars, front=of), "Cell", "front", "Enforcement").reason == level


def test_without_sidecars_and_without_from_nothing_is_said_of_it() -> None:
    with pytest.raises(StopIteration):
        condition(lower(front=front()), "Cell", "front", "Enforcement")


def test_gateways_show_their_own_certificate_to_sidecars_and_want_to_see_theirs() -> None:
    lowered = made("{web: {}}")
    shown = spec_of(lowered, "Gateway", "front", "front-north")["tls"]["backend"]["clientCertificateRef"]["name"]
    assert shown == "front-north-identity"
    trusted = spec_of(lowered, "BackendTLSPolicy", "front", "north|front.web.http")["validation"]["subjectAltNames"]
    assert trusted == [{"type": "URI", "uri": "spiffe://dev.cell.internal/cell/front/component/web"}]
    assert "front/north|front.web.http" not in named(lower(front=front()), "BackendTLSPolicy")


def test_a_gateway_gets_in_only_where_it_leads() -> None:
    lowered = made()
    head = "spiffe://dev.cell.internal/cell/front"
    everybody = [f"{head}/component/web", f"{head}/component/job"]

    def let_in(name: str) -> list[str]:
        rules = spec_of(lowered, "HTTPRouteFilter", "front", f"{name}.http.callers")["peers"]["allow"]
        return [uri for rule in rules for uri in rule["uris"]]

    assert let_in("web") == [f"{head}/gw/north", *everybody]
    assert let_in("job") == everybody


@pytest.mark.parametrize(
    ("sidecars", "endpoints", "line"),
    [
        ("{wbe: {}}", AT, 4),
        ("{web: {address: 127.0.0.1}}", AT, 4),
        ("{web: {address: 0.0.0.0}}", AT, 4),
        ("{web: {application: 127.0.9.201}}", AT, 4),
        ("{web: {}}", ", endpoints: {web.http: [{address: 127.0.9.201, port: 15001}]}", 4),
        ("{web: {}}", ", endpoints: {web.http: [{address: 127.0.9.201, port: 81}, {address: 127.0.9.205}]}", 4),
    ],
)
def test_a_mistake_is_told_at_its_place_and_opens_nothing(sidecars: str, endpoints: str, line: int) -> None:
    lowered = made(sidecars, front_at=at(sidecars, endpoints))
    assert ("C104", "front-at", line) in places(lowered.diagnostics, "C104")
    assert "front/front-component-web" not in named(lowered, "Gateway")


@pytest.mark.parametrize("application", ["10.0.0.1", "0.0.0.0", "localhost"])
def test_an_application_that_others_could_reach_is_refused(application: str) -> None:
    _, problems = objects_of({"at": at(f"{{web: {{application: {application}}}}}")})
    assert [(one.code, one.span.line if one.span else 0) for one in problems] == [("M112", 4)]


def test_one_sidecar_with_a_mistake_leaves_the_others_alone() -> None:
    lowered = made("{web: {application: 127.0.9.201}, job: {}}")
    assert "front/front-component-job" in named(lowered, "Gateway")
    # Whoever calls the broken one still speaks TLS to it, and is not answered.
    assert "front/north|front.web.http" in named(lowered, "BackendTLSPolicy")


@pytest.mark.parametrize("sidecars", ["{wbe: {}}", "{wbe: {}, job: {}}"])
def test_a_name_of_no_component_opens_nothing_that_its_sidecar_would_have_closed(sidecars: str) -> None:
    of = front(", from: [web]", ", from: [web]")
    lowered = made(sidecars, front=of)
    assert places(lowered.diagnostics) == [("C104", "front-at", 4)]
    assert not [
        name for kind in ("Gateway", "HTTPRoute", "Backend") for name in named(lowered, kind) if "front/" in name
    ]
    assert not condition(lowered, "Cell", "front", "Bound").status
    assert not condition(lowered, "CellBinding", "front", "Accepted").status
    assert "back/back-west" in named(lowered, "Gateway"), "other cells are as they were"


def test_a_name_of_no_component_has_a_hint() -> None:
    found = [one for one in made("{wbe: {}}").diagnostics if one.code == "C104"]
    assert [one.hint for one in found] == ["did you mean 'web'?"]


@pytest.mark.parametrize("kind", ["SecurityPolicy", "BackendTrafficPolicy", "ClientTrafficPolicy"])
@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ("{cellway.dev/direction: sidecar}", True),
        ("{cellway.dev/component: web}", True),
        ("{cellway.dev/component: other}", False),
        ("{cellway.dev/cell: front}", False),
    ],
)
def test_a_policy_that_selects_sidecars_alone_is_told_that_nothing_attaches(kind: str, labels: str, told: bool) -> None:
    spec = {
        "SecurityPolicy": "authorization: {defaultAction: Deny}",
        "BackendTrafficPolicy": "timeout: {http: {requestTimeout: 1s}}",
        "ClientTrafficPolicy": "timeout: {http: {idleTimeout: 1s}}",
    }[kind]
    text = policy("p", "front", "", spec, kind).replace(
        "targetRefs: [{group: cellway.dev, kind: Cell, name: front}]",
        f"targetSelectors: [{{kind: Gateway, matchLabels: {labels}}}]",
    )
    found = [one for one in made("{web: {}}", p=text).diagnostics if one.code == "C108" and "sidecar" in one.message]
    assert [(one.span.file, one.span.line) for one in found if one.span] == ([("p", 5)] if told else [])


@pytest.mark.parametrize("count", [16, 17, 40])
def test_all_ports_of_a_component_with_many_endpoints_look_at_who_calls(count: int) -> None:
    names = [f"e{number}" for number in range(count)]
    endpoints = ", ".join(f"{{name: {name}, port: {8000 + number}}}" for number, name in enumerate(names))
    where = ", ".join(f"web.{name}: [{{address: 127.0.9.201}}]" for name in names)
    compiled = compile_shop(
        front=cell("front", f"{{components: [{{name: web, endpoints: [{endpoints}]}}]}}"),
        front_at=at("{web: {application: 127.0.9.211}}", f", endpoints: {{{where}}}"),
    )
    assert compiled.diagnostics == ()
    gateway = next(one for one in compiled.gateways if one.name == "acme/dev/front/component/web")
    chains = [chain for port in gateway.ports if port.tls for chain in port.http_chains]
    assert len(chains) == count
    for chain in chains:
        assert {"client_tls", "peer_header"} <= {one.feature for one in chain.settings}


def test_what_cannot_be_protected_is_not_there() -> None:
    item = objects_of(SHOP)[0][0]
    output = Output()
    listener = {"name": "http", "protocol": "HTTP", "port": 80}
    kept, lost = (output.add("Gateway", "front", name, {"listeners": [listener]}, (item,)) for name in ("a", "b"))
    target = {"group": lost.group, "kind": "Gateway", "name": lost.name}
    output.add("ClientTrafficPolicy", "front", "guard", {"targetRefs": [target] * 17, "peerHeader": "x-peer"}, (item,))
    output.close_unprotected()
    assert output.problems
    assert [key for key in output.objects if key.kind == "Gateway"] == [kept]


def test_nothing_of_a_sidecar_can_be_written_or_attached_to() -> None:
    gateway = (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\n"
        "metadata: {name: front-component-web, namespace: front}\nspec: {listeners: [{name: in-http, protocol: HTTP, port: 9}]}\n"
    )
    limit = "rateLimit: {local: {rules: [{limit: {requests: 1, unit: Hour}}]}}"
    targets = "{group: gateway.networking.k8s.io, kind: Gateway, name: front-component-web}"
    lowered = made(
        mine=gateway,
        around=route("around", "front", "{name: front-component-web}", "hostnames: [a.example]"),
        limits=policy("limits", "front", "", limit).replace("{group: cellway.dev, kind: Cell, name: front}", targets),
    )
    found = {(one.code, one.span.file) for one in lowered.diagnostics if one.span}
    assert {("C110", "mine"), ("C108", "around"), ("C108", "limits")} <= found
    assert find(lowered, "Gateway", "front", "front-component-web").derived
    assert "front/around" not in named(lowered, "HTTPRoute")
    assert accepted(lowered, "BackendTrafficPolicy", "front", "limits") == ["TargetNotFound"]


@pytest.mark.parametrize(
    "parent", ["{group: cellway.dev, kind: Cell, name: front, sectionName: north}", "{name: edge}"]
)
def test_a_written_route_has_not_the_name_of_the_way_into_a_sidecar(parent: str) -> None:
    """Else the way in would take its place, and what is attached to it would be attached to the sidecar."""
    rules = (
        "hostnames: [front.example]\n  rules: [{backendRefs: [{group: cellway.dev, kind: Endpoint, name: web.http}]}]"
    )
    target = "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web.http.sidecar}"
    deny = policy("deny", "front", "", "authorization: {defaultAction: Allow}", "SecurityPolicy")
    deny = deny.replace("{group: cellway.dev, kind: Cell, name: front}", target)
    lowered = made(mine=route("web.http.sidecar", "front", parent, rules), deny=deny)
    code = "C108" if "Cell" in parent else "C110"
    assert [one.span.file for one in lowered.diagnostics if one.code == code and one.span and one.span.file == "mine"]
    if code == "C110":
        assert ("C108", "deny", 5) in places(lowered.diagnostics)
    assert parents(lowered, "web.http.sidecar") == ["in-http"]
    assert spec_of(lowered, "HTTPRoute", "front", "web.http.sidecar") == spec_of(
        made(), "HTTPRoute", "front", "web.http.sidecar"
    )
    policies = [str(one.document["spec"]) for one in lowered.objects if one.key.kind == "SecurityPolicy"]
    assert not [text for text in policies if "web.http.sidecar'" in text]


def test_without_an_authority_a_sidecar_lets_nobody_in() -> None:
    objects = objects_of(SHOP | {"front": front(), "front-at": at("{web: {application: 127.0.9.211}}")})[0]
    broken = Options(authorities={"dev.cell.internal": Authority(problem="it is broken")})
    compiled = compile_objects(objects, broken)
    gateway = next(one for one in compiled.gateways if one.name == "acme/dev/front/component/web")
    assert not [port for port in gateway.ports if port.tls]


def test_pictures_show_sidecars_with_a_double_border() -> None:
    text = mermaid(made("{web: {}}"))
    assert '[["web"]]' in text
    assert '["job"]' in text
    assert '[["job"]]' not in text


def test_other_cells_are_as_they_were() -> None:
    one, two = compile_shop(), compile_shop(front=front(), front_at=at("{web: {}}"))
    same = [name for name in one.snapshots if name.startswith("acme/dev/back")]
    assert same
    assert all(one.snapshots[name].resources == two.snapshots[name].resources for name in same)
