"""Where a cell's borders could leak or break: plain ports beside TLS, long lists, tunnels, the ends of address ranges."""

from __future__ import annotations

import pytest

from tests.cells.shop import (
    BACK,
    FRONT,
    binding,
    cell,
    compile_shop,
    external,
    lower,
    named,
    objects_of,
    on,
    organization,
    places,
    reply,
    route,
    spec_of,
)

TLS_FRONT = FRONT.replace("[front.example]", "[front.example], tls: {certificateRef: cert}")
ADMIN = """hostnames: [front.example]
  rules:
  - matches: [{path: {value: /admin}}]
    backendRefs: [{group: cellway.dev, kind: Endpoint, name: web.http}]"""


@pytest.mark.parametrize("section", ["north", "north.web.http"])
def test_beside_tls_no_attached_route_is_served_in_plain_text(section: str) -> None:
    text = route("admin", "front", on(section, "front"), ADMIN)
    old = text.replace("namespace: front}", 'namespace: front, creationTimestamp: "2020-01-01T00:00:00Z"}')
    compiled = compile_shop(front=TLS_FRONT, admin=old)
    (north,) = (one for one in compiled.gateways if one.name == "acme/dev/front/north")
    plain = [listener for port in north.ports if port.port == 8080 for listener in port.http_chains]
    routes = [one for listener in plain for host in listener.hosts for one in host.routes]
    assert {type(one.action).__name__ for one in routes} == {"Redirect"}


def test_any_number_of_callers_is_let_in() -> None:
    callers = ", ".join(["front", *(f"cell-{number}" for number in range(300))])
    lowered = lower(back=BACK.replace("cells: [front]", f"cells: [{callers}]"))
    assert lowered.diagnostics == ()
    allowed = spec_of(lowered, "HTTPRouteFilter", "back", "api.http.west")["peers"]["allow"]
    assert [len(one["uris"]) for one in allowed] == [301]


def test_more_rules_for_an_external_service_than_a_route_rule_has_matches() -> None:
    rules = ", ".join(f"{{methods: [GET, POST], pathPrefix: /p{number}}}" for number in range(100))
    spec = f"{{hosts: [mail.example], ports: [{{port: 80, protocol: HTTP}}], http: {{rules: [{rules}]}}}}"
    lowered = lower(mail=external("mail", spec))
    assert lowered.diagnostics == ()
    assert "front/mail.south" in named(lowered, "HTTPRoute")


def test_no_rule_lets_a_tunnel_out() -> None:
    spec = "{hosts: [mail.example], ports: [{port: 80, protocol: HTTP}], http: {rules: [{methods: [CONNECT]}]}}"
    text = external("mail", spec)
    assert places(objects_of({"mail": text})[1]) == [("M112", "mail", 4)]
    assert reply(compile_shop(mail=text), "acme/dev/front/south", "mail.south") == {"Respond 403"}


@pytest.mark.parametrize("path", ["/a//b", "/a/../b", "/%2f", "/a/.."])
def test_a_path_that_no_request_has_is_reported_where_it_is_written(path: str) -> None:
    text = external(
        "mail",
        f"{{hosts: [a.example], ports: [{{port: 80, protocol: HTTP}}], http: {{rules: [{{pathPrefix: {path}}}]}}}}",
    )
    assert places(objects_of({"mail": text})[1]) == [("M112", "mail", 4)]
    public = FRONT.replace("port: 80", f"port: 80, basePath: {path}")
    assert places(objects_of({"front": public})[1]) == [("M112", "front", 4)]


def test_a_slash_at_the_end_does_not_make_another_path() -> None:
    web = "{{name: {}, endpoints: [{{name: http, port: 80, basePath: {}, visibility: [public]}}]}}"
    components = f"[{web.format('a', '/api')}, {web.format('b', '/api/')}]"
    text = cell("x", f"{{components: {components}, gateways: {{north: {{hostnames: [x.example]}}}}}}")
    at = binding("x", 64, ", endpoints: {a.http: [{address: 127.0.9.99}], b.http: [{address: 127.0.9.98}]}")
    lowered = lower(x=text, x_at=at)
    assert places(lowered.diagnostics) == [("C107", "x", 4)]
    assert "x/b.http.north" not in named(lowered, "HTTPRoute")


@pytest.mark.parametrize("address", ["255.255.255.252", "'ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe'"])
def test_the_end_of_all_addresses_is_no_base(address: str) -> None:
    at = binding("x", 64).replace("127.0.9.64", address)
    lowered = lower(x=cell("x", "{components: [{name: a}]}"), x_at=at)
    assert places(lowered.diagnostics) == [("C104", "x-at", 4)]


HINTS = {
    "cell to bind": ({"x": binding("fornt", 64, name="x")}, "front"),
    "stage": ({"x": binding("back", 64, name="x", stage="dve")}, "dev"),
    "cell to call": ({"front": FRONT.replace("cell: back", "cell: bakc")}, "back"),
    "component to call": ({"front": FRONT.replace("component: api", "component: apo")}, "api.http"),
    "external service": ({"front": FRONT.replace("external: mail", "external: mial")}, "mail"),
    "class": ({"org": organization(spec="{stages: [{name: dev}]}"), "front": FRONT.replace("{comp", "{class: stnd, comp", 1),
               "class": "apiVersion: cellway.dev/v1alpha1\nkind: CellClass\nmetadata: {name: standard}\nspec: {}\n"}, "standard"),
}  # fmt: skip


@pytest.mark.parametrize("what", HINTS)
def test_a_slip_of_the_pen_gets_a_hint(what: str) -> None:
    files, wanted = HINTS[what]
    assert f"did you mean '{wanted}'?" in {one.hint for one in lower(**files).diagnostics}
