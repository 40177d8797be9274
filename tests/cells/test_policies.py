"""What policies on cells come to: layers in their order, places of leaves, refusals, and doors that stay closed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cells.shop import (
    BACK_AT,
    FRONT,
    FRONT_AT,
    accepted,
    binding,
    cell_class,
    compile_shop,
    external,
    find,
    lower,
    named,
    organization,
    places,
    policy,
    reply,
    route,
    spec_of,
)
from xds_server.types import GATEWAY_GROUP

TRAFFIC, SECURITY = "BackendTrafficPolicy", "SecurityPolicy"
STANDARD = organization(spec="{stages: [{name: dev}], defaultClass: standard}")


def timeout(seconds: int) -> str:
    return f"timeout: {{http: {{requestTimeout: {seconds}s}}}}"


def effective(lowered: Any, name: str = "back.east", cell: str = "front", kind: str = TRAFFIC) -> dict[str, Any]:
    return {key: value for key, value in spec_of(lowered, kind, cell, name).items() if key != "targetRefs"}


LAYERS = (
    ("org", STANDARD),
    ("parent", cell_class("parent", f"{{defaults: {{east: {{traffic: {{{timeout(1)}}}}}}}}}")),
    ("class", cell_class("standard", f"{{extends: parent, defaults: {{east: {{traffic: {{{timeout(2)}}}}}}}}}")),
    ("on-cell", policy("a", "front", "", timeout(3))),
    ("on-direction", policy("b", "front", "east", timeout(4))),
    ("on-section", policy("c", "front", "east.back", timeout(5))),
    (
        "front-at",
        binding("front", 0, f"{FRONT_AT}, overrides: {{sections: {{east.back: {{traffic: {{{timeout(6)}}}}}}}}}"),
    ),
    ("strict", cell_class("strict", f"{{extends: standard, overrides: {{east: {{traffic: {{{timeout(7)}}}}}}}}}")),
)


@pytest.mark.parametrize("count", range(2, len(LAYERS) + 1))
def test_each_layer_is_stronger_than_those_before(count: int) -> None:
    files = dict(LAYERS[:count])
    files["class"] = files.get("class", cell_class("standard", "{extends: parent}"))
    if "strict" in files:
        files["front"] = FRONT.replace("{components", "{class: strict, components", 1)
    lowered = lower(**files)
    assert {one.code for one in lowered.diagnostics} == ({"C130"} if "strict" in files else set())
    assert effective(lowered) == {"timeout": {"http": {"requestTimeout": f"{count - 1}s"}}}
    place = find(lowered, TRAFFIC, "front", "back.east").source.value("spec", "timeout", "http", "requestTimeout")
    assert place.file == LAYERS[count - 1][0]


def test_settings_of_several_layers_stand_side_by_side() -> None:
    standard = cell_class(
        "standard", "{defaults: {east: {traffic: {circuitBreaker: {maxConnections: 1, maxPendingRequests: 2}}}}}"
    )
    more = policy("more", "front", "east", "circuitBreaker: {maxPendingRequests: 3}")
    lowered = lower(org=STANDARD, standard=standard, more=more)
    assert effective(lowered) == {"circuitBreaker": {"maxConnections": 1, "maxPendingRequests": 3}}
    item = find(lowered, TRAFFIC, "front", "back.east")
    assert item.source.value("spec", "circuitBreaker", "maxConnections").file == "standard"
    assert item.source.value("spec", "circuitBreaker", "maxPendingRequests").file == "more"
    assert {origin.span.file for origin in item.origins} == {"standard", "more"}


def test_a_mistake_in_a_class_is_reported_at_its_line_once_and_closes_the_route() -> None:
    standard = cell_class(
        "standard", "\n  defaults:\n    east:\n      traffic:\n        timeout: {http: {requestTimeot: 5s}}"
    )
    compiled = compile_shop(org=STANDARD, standard=standard)
    assert places(compiled.diagnostics) == [("M110", "standard", 8)]
    assert reply(compiled, "acme/dev/front/east", "back.east") == {"Respond 500"}
    assert reply(compiled, "acme/dev/front/south", "mail.south") != {"Respond 500"}


def test_a_field_that_the_new_list_lacks_is_not_placed_in_the_old_one() -> None:
    limit = "rateLimit: {local: {rules: [{limit: {requests: 1, unit: Minute}}]}}"
    standard = cell_class("standard", f"{{defaults: {{east: {{traffic: {{{limit}}}}}}}}}")
    bad = "overrides: {sections: {east.back: {traffic: {rateLimit: {local: {rules: [{limit: {requests: 1}}]}}}}}}"
    compiled = compile_shop(org=STANDARD, standard=standard, front_at=binding("front", 0, f"{FRONT_AT}, {bad}"))
    assert {one.span.file for one in compiled.diagnostics if one.span} == {"front-at"}
    assert reply(compiled, "acme/dev/front/east", "back.east") == {"Respond 500"}


def test_a_broken_policy_closes_all_that_it_covers_and_nothing_else() -> None:
    compiled = compile_shop(bad=policy("bad", "front", "east", "nonsense: 1"))
    assert reply(compiled, "acme/dev/front/east", "back.east") == {"Respond 500"}
    assert reply(compiled, "acme/dev/front/south", "mail.south") != {"Respond 500"}
    assert reply(compiled, "acme/dev/front/north", "web.http.north") != {"Respond 500"}
    assert accepted(compiled, TRAFFIC, "front", "bad") == ["Invalid"]
    everything = compile_shop(bad=policy("bad", "front", "", "nonsense: 1"))
    assert reply(everything, "acme/dev/front/south", "mail.south") == {"Respond 500"}


def test_two_policies_on_one_section_merge_if_they_set_different_fields() -> None:
    one, other = (
        policy("a", "front", "east.back", timeout(1)),
        policy("b", "front", "east.back", "retry: {numRetries: 3}"),
    )
    lowered = lower(one=one, other=other)
    assert lowered.diagnostics == ()
    assert set(effective(lowered)) == {"timeout", "retry"}
    assert accepted(lowered, TRAFFIC, "front", "a") == accepted(lowered, TRAFFIC, "front", "b") == ["Accepted"]


def test_of_two_policies_with_one_field_the_older_counts() -> None:
    lowered = lower(
        one=policy("a", "front", "east.back", timeout(1)), other=policy("b", "front", "east.back", timeout(2))
    )
    assert places(lowered.diagnostics) == [("C109", "other", 5)]
    assert effective(lowered) == {"timeout": {"http": {"requestTimeout": "1s"}}}
    assert accepted(lowered, TRAFFIC, "front", "b") == ["Conflicted"]


def test_a_policy_that_names_a_section_twice_does_not_conflict_with_itself() -> None:
    target = "{group: cellway.dev, kind: Cell, name: front, sectionName: east.back}"
    lowered = lower(one=policy("a", "front", "east.back", timeout(1)).replace(f"[{target}]", f"[{target}, {target}]"))
    assert lowered.diagnostics == ()


NOT_ATTACHED = {
    "a section that is not there": (policy("p", "front", "east.bakc", timeout(1)), "did you mean 'east.back'?"),
    "a direction without gateway": (policy("p", "front", "west", timeout(1)), ""),
    "an endpoint that is not visible": (policy("p", "back", "west.next.http", timeout(1)), ""),
    "another cell": (policy("p", "front", "west", timeout(1), cell="back"), ""),
    "no cell": (policy("p", "frnt", "", timeout(1)), "did you mean 'front'?"),
    "a kind that cells do not take": (
        policy("p", "front", "north", "headers: {earlyRequestHeaders: {remove: [x]}}", "ClientTrafficPolicy"), "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", NOT_ATTACHED)
def test_a_policy_is_not_attached_to(what: str) -> None:
    text, hint = NOT_ATTACHED[what]
    lowered = lower(p=text)
    assert places(lowered.diagnostics) == [("C108", "p", 5)]
    assert hint in lowered.diagnostics[0].hint
    kind = "ClientTrafficPolicy" if "ClientTrafficPolicy" in text else TRAFFIC
    namespace = "front" if "namespace: front" in text else "back" if "namespace: back" in text else "frnt"
    assert accepted(lowered, kind, namespace, "p") == ["TargetNotFound"]


@pytest.mark.parametrize(
    "target",
    [
        "kind: Gateway, name: front-east",
        "kind: HTTPRoute, name: back.east",
        "kind: Gateway, name: front-east, sectionName: http",
    ],
)
def test_a_derived_gateway_or_route_is_a_target_too(target: str) -> None:
    text = policy("p", "front", "X", timeout(1))
    text = text.replace(
        "{group: cellway.dev, kind: Cell, name: front, sectionName: X}", f"{{group: {GATEWAY_GROUP}, {target}}}"
    )
    assert effective(lower(p=text)) == {"timeout": {"http": {"requestTimeout": "1s"}}}


PROVIDER = "{name: idp, issuer: https://idp.example, audiences: [shop], localJWKS: {type: Inline, inline: KEYS}}"
PEOPLE = organization(spec=f"{{stages: [{{name: dev}}], identityProviders: [{PROVIDER}]}}")


@pytest.mark.parametrize("named_by", ["name: idp", "name: other, issuer: https://idp.example"])
def test_keys_of_a_provider_are_found_by_name_and_by_issuer(named_by: str) -> None:
    text = policy("p", "front", "north", f"jwt: {{providers: [{{{named_by}}}]}}", SECURITY)
    (provider,) = effective(lower(org=PEOPLE, p=text), "web.http.north", kind=SECURITY)["jwt"]["providers"]
    assert provider["issuer"] == "https://idp.example"
    assert provider["audiences"] == ["shop"]
    assert provider["localJWKS"] == {"type": "Inline", "inline": "KEYS"}


def test_a_provider_that_nobody_knows_closes_the_route() -> None:
    for provider in ("name: who", "name: idp, issuer: https://elsewhere.example"):
        text = policy("p", "front", "north", f"jwt: {{providers: [{{{provider}}}]}}", SECURITY)
        compiled = compile_shop(org=PEOPLE, p=text)
        assert {(one.code[0], one.span.file) for one in compiled.diagnostics if one.span} == {("F", "p")}
        assert reply(compiled, "acme/dev/front/north", "web.http.north") == {"Respond 500"}


STRICT = cell_class("standard", "{overrides: {north: {security: {jwt: {providers: [{name: idp}]}}}}}")
STRICT_PEOPLE = PEOPLE.replace("stages:", "defaultClass: standard, stages:")


@pytest.mark.parametrize("section", ["", "north", "north.web.http"])
def test_what_a_class_demands_no_policy_of_the_cell_weakens(section: str) -> None:
    weak = policy("weak", "front", section, "jwt: {optional: true, providers: [{name: mine}]}", SECURITY)
    lowered = lower(org=STRICT_PEOPLE, strict=STRICT, weak=weak)
    jwt = effective(lowered, "web.http.north", kind=SECURITY)["jwt"]
    assert "optional" not in jwt
    assert [one["name"] for one in jwt["providers"]] == ["idp"]


def test_what_a_class_demands_covers_routes_that_the_cell_adds() -> None:
    backend = "rules: [{backendRefs: [{group: cellway.dev, kind: Endpoint, name: web.http}]}]"
    extra = route("extra", "front", "{group: cellway.dev, kind: Cell, name: front, sectionName: north}", backend)
    lowered = lower(org=STRICT_PEOPLE, strict=STRICT, extra=extra)
    assert named(lowered, SECURITY) == {"front/web.http.north", "front/extra"}
    assert effective(lowered, "extra", kind=SECURITY)["jwt"]["providers"][0]["name"] == "idp"


def test_a_binding_may_not_override_what_is_not_there() -> None:
    spec = "overrides: {sections: {east.bakc: {}}, externals: {mial: {}}}"
    lowered = lower(front_at=binding("front", 0, f"{FRONT_AT}, {spec}"), back_at=binding("back", 16, BACK_AT))
    assert places(lowered.diagnostics) == [("C125", "front-at", 4), ("C125", "front-at", 4)]
    assert {one.hint for one in lowered.diagnostics} == {"did you mean 'east.back'?", "did you mean 'mail'?"}


def test_all_hosts_of_an_external_service_are_covered() -> None:
    mail = external("mail", "{hosts: [mail.example, mail2.example], ports: [{port: 80, protocol: HTTP}]}")
    lowered = lower(mail=mail, p=policy("p", "front", "south.mail", timeout(1)))
    assert named(lowered, TRAFFIC) == {"front/mail.south", "front/mail.south.1"}
    assert spec_of(lowered, "HTTPRoute", "front", "mail.south.1")["hostnames"] == ["mail2.example"]
