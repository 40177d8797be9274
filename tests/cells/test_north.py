"""What north means: a listener for every host, what stands in front of it, and hosts that several cells want."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cells.shop import (
    BACK,
    FRONT,
    cell_class,
    compile_shop,
    condition,
    find,
    lower,
    named,
    organization,
    places,
    spec_of,
)
from tests.documents import compiled, parse
from xds_server.compile import Compiled
from xds_server.graph import Gateway, StreamChain

TLS = FRONT.replace("[front.example]", "[front.example, other.example], tls: {certificateRef: cert}")
PUBLIC = BACK.replace("[organization]", "[organization, public]")


def test_every_host_has_a_tls_listener_of_its_own() -> None:
    lowered = lower(front=TLS)
    listeners = spec_of(lowered, "Gateway", "front", "front-north")["listeners"]
    assert [(one["name"], one["port"], one.get("hostname")) for one in listeners] == [
        ("http", 8080, None), ("https", 8443, "front.example"), ("https.other.example", 8443, "other.example"),
    ]  # fmt: skip
    parents = spec_of(lowered, "HTTPRoute", "front", "web.http.north")["parentRefs"]
    assert [one["sectionName"] for one in parents] == ["https", "https.other.example"]


def test_a_written_route_is_on_the_listeners_of_its_hosts() -> None:
    text = (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: extra, namespace: front}\n"
        "spec:\n  parentRefs: [{group: cellway.dev, kind: Cell, name: front, sectionName: north}]\n"
        "  hostnames: [other.example]\n"
        "  rules: [{backendRefs: [{group: cellway.dev, kind: Endpoint, name: web.http}]}]\n"
    )
    (parent,) = spec_of(lower(front=TLS, extra=text), "HTTPRoute", "front", "extra")["parentRefs"]
    assert parent == {"name": "front-north", "sectionName": "https.other.example"}


ORDER = organization(spec="{stages: [{name: dev}], defaultClass: standard}")
TLS_OF = "{defaults: {north: {tls: {redirect: 301, minVersion: '1.2'}}}, overrides: {north: {tls: {hsts: max-age=1}}}}"


def test_classes_say_how_north_speaks_tls_and_who_said_it_is_shown() -> None:
    strict = cell_class("strict", "{extends: standard, overrides: {north: {tls: {minVersion: '1.3'}}}}")
    front = TLS.replace("{components", "{class: strict, components", 1)
    lowered = lower(org=ORDER, standard=cell_class("standard", TLS_OF), strict=strict, front=front)
    assert lowered.diagnostics == ()
    policy = spec_of(lowered, "ClientTrafficPolicy", "front", "front-north")
    assert policy["tls"] == {"minVersion": "1.3"}
    assert policy["headers"]["lateResponseHeaders"]["set"] == [
        {"name": "strict-transport-security", "value": "max-age=1"}
    ]
    (rule,) = spec_of(lowered, "HTTPRoute", "front", "https-redirect.north")["rules"]
    assert rule["filters"][0]["requestRedirect"]["statusCode"] == 301
    (shown,) = [one for one in lowered.settings if one.field == "tls"]
    by = {".".join(map(str, leaf.path)): (leaf.value, leaf.setter.layer, leaf.setter.key.name) for leaf in shown.leaves}
    assert by == {
        "redirect": (301, "class default", "standard"),
        "minVersion": ("1.3", "class override", "strict"),
        "hsts": ("max-age=1", "class override", "standard"),
    }


def test_without_a_class_north_redirects_with_308_and_speaks_of_a_year() -> None:
    lowered = lower(front=TLS)
    policy = spec_of(lowered, "ClientTrafficPolicy", "front", "front-north")
    assert "tls" not in policy
    assert policy["headers"]["lateResponseHeaders"]["set"][0]["value"] == "max-age=31536000"
    assert [one for one in lowered.settings if one.field == "tls"] == []


def test_a_cell_without_hosts_redirects_nobody() -> None:
    lowered = lower(front=TLS.replace("[front.example, other.example]", "[]"))
    assert "front/https-redirect.north" not in named(lowered, "HTTPRoute")


@pytest.mark.parametrize("wrong", ["{minVersion: '1.1'}", "{redirect: 200}", "{hsts: ''}", "{ciphers: [x]}"])
def test_tls_of_a_class_that_means_nothing_is_refused_where_it_is_written(wrong: str) -> None:
    _, problems = parse(cell_class("standard", f"{{defaults: {{north: {{tls: {wrong}}}}}}}"), "class")
    assert [(one.span.file, one.span.line) for one in problems if one.span] == [("class", 4)]


def annotations_of(**edge: Any) -> dict[str, str]:
    lowered = lower(org=organization(spec=f"{{stages: [{{name: dev}}], edge: {edge}}}".replace("'", '"')))
    assert lowered.diagnostics == ()
    assert not find(lowered, "Gateway", "back", "back-west").meta.annotations
    return dict(find(lowered, "Gateway", "front", "front-north").meta.annotations)


def test_the_edge_of_the_organization_stands_in_front_of_every_north_gateway_and_no_other() -> None:
    assert annotations_of(trustedProxies=["203.0.113.0/24", "2001:db8::/32"], trustedHops=2) == {
        "cellway.dev/trusted-proxies": "203.0.113.0/24,2001:db8::/32",
        "cellway.dev/trusted-hops": "2",
    }
    assert annotations_of(trustedProxies=["203.0.113.0/24"])["cellway.dev/trusted-hops"] == "1"


@pytest.mark.parametrize(
    "edge",
    [
        "{trustedHops: 1}",
        "{trustedProxies: []}",
        "{trustedProxies: [203.0.113.9/24]}",
        "{trustedProxies: [cdn.example]}",
    ],
)
def test_an_edge_that_means_nothing_is_refused_where_it_is_written(edge: str) -> None:
    _, problems = parse(organization(spec=f"{{stages: [{{name: dev}}], edge: {edge}}}"), "org")
    assert [(one.span.file, one.span.line) for one in problems if one.span] == [("org", 4)]


GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: edge, annotations: {{{0}}}}}
spec:
  listeners: [{{name: http, protocol: HTTP, port: 8080}}, {{name: tcp, protocol: TCP, port: 9000}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {{name: bytes}}
spec: {{parentRefs: [{{name: edge, sectionName: tcp}}], rules: [{{backendRefs: [{{name: up, port: 1}}]}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: up}}
spec: {{ports: [{{port: 1}}]}}
"""


def edge_of(written: str) -> tuple[Compiled, Gateway]:
    result = compiled(GATEWAY.format(written))
    return result, result.gateways[0]


@pytest.mark.parametrize(
    "written",
    [
        "cellway.dev/trusted-hops: '1'",
        "cellway.dev/trusted-proxies: cdn.example",
        "cellway.dev/trusted-proxies: ''",
        "cellway.dev/trusted-proxies: 192.0.2.0/24, cellway.dev/trusted-hops: many",
    ],
)
def test_an_annotation_that_means_nothing_lets_nobody_in(written: str) -> None:
    result, gateway = edge_of(written)
    problem = next(one for one in result.diagnostics if one.code == "A106")
    assert problem.span is not None
    assert problem.span.line == 4
    (http,) = [chain for port in gateway.ports for chain in port.http_chains]
    (setting,) = [one for one in http.settings if one.feature == "trusted_edge"]
    assert getattr(setting.value, "proxies") == ()  # noqa: B009 - the value is the feature's own


def test_listeners_that_cannot_look_at_requests_are_closed_behind_an_edge() -> None:
    result, gateway = edge_of("cellway.dev/trusted-proxies: 192.0.2.0/24")
    assert [one.code for one in result.diagnostics if "listener tcp is closed" in one.message] == ["A106"]
    (bytes_only,) = [chain for port in gateway.ports for chain in port.chains if isinstance(chain, StreamChain)]
    assert bytes_only.route.destinations == ()
    _, free = edge_of("")
    (bytes_only,) = [chain for port in free.ports for chain in port.chains if isinstance(chain, StreamChain)]
    assert bytes_only.route.destinations != ()


def test_two_cells_may_divide_a_host_by_path() -> None:
    back = PUBLIC.replace("back.example", "front.example").replace("port: 80,", "port: 80, basePath: /api,", 1)
    lowered = lower(back=back)
    assert lowered.diagnostics == ()
    for name in ("front", "back"):
        assert condition(lowered, "Cell", name, "Exposed").status
    assert spec_of(lowered, "HTTPRoute", "back", "api.http.north")["hostnames"] == ["front.example"]


def test_of_two_cells_with_one_host_and_path_the_older_has_it_and_the_status_of_the_other_says_so() -> None:
    front = FRONT.replace("{name: front}", '{name: front, creationTimestamp: "2024-01-01T00:00:00Z"}')
    result = compile_shop(front=front, back=PUBLIC.replace("back.example", "front.example"))
    lowered = lower(front=front, back=PUBLIC.replace("back.example", "front.example"))
    assert places(result.diagnostics) == [("C107", "back", 4)]
    refused = condition(lowered, "Cell", "back", "Exposed")
    assert (refused.status, refused.reason) == (False, "HostConflict")
    assert "front.example/ already leads to front.web.http" in refused.message
    assert condition(lowered, "Cell", "front", "Exposed").status


def test_a_public_endpoint_without_a_host_is_told_in_the_status() -> None:
    lowered = lower(back=PUBLIC.replace("gateways: {north: {hostnames: [back.example]}}", "gateways: {}"))
    assert condition(lowered, "Cell", "back", "Exposed").reason == "NoHostnames"
