"""What applies to what: listeners, hostnames, references, policies, and the conditions that say so."""

from __future__ import annotations

import textwrap

import pytest

from tests.documents import compiled
from xds_server.attach.hostnames import intersect
from xds_server.attach.reach import Reach
from xds_server.compile import Compiled, Options
from xds_server.graph import Forward, HttpChain, Redirect, Respond, Route
from xds_server.status import Status
from xds_server.types import ENVOY_GATEWAY_GROUP, GATEWAY_GROUP, Condition, Key

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  listeners:
  - {name: http, protocol: HTTP, port: 80, hostname: "*.example"}
  - {name: other, protocol: HTTP, port: 81, allowedRoutes: {namespaces: {from: All}}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: up}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: 1}}]}
---
"""


def route(name: str = "web", namespace: str = "default", **fields: str) -> str:
    lines = {
        "parentRefs": "[{name: edge, namespace: default}]",
        "rules": "[{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: up}]}]",
        **fields,
    }
    spec = "\n".join(f"  {key}: {value}" for key, value in lines.items())
    return (
        f"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\nspec:\n{spec}\n---\n"
    )


def policy(kind: str, name: str, target: str, spec: str, created: str = "") -> str:
    stamp = f", creationTimestamp: '{created}'" if created else ""
    return (
        f"apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}{stamp}}}\n"
        f"spec:\n  targetRefs: [{target}]\n{textwrap.indent(spec, '  ')}\n---\n"
    )


def chain(result: Compiled, port: int = 81) -> HttpChain:
    return next(one for one in result.gateways[0].ports if one.port == port).http_chains[0]


def routes(result: Compiled, port: int = 81) -> dict[str, tuple[Route, ...]]:
    return {name: host.routes for host in chain(result, port).hosts for name in (host.hostname, *host.aliases)}


def status(
    result: Compiled, kind: str, name: str = "web", group: str = GATEWAY_GROUP, namespace: str = "default"
) -> Status:
    return result.statuses[Key(group, kind, namespace, name)]


def condition(conditions: tuple[Condition, ...], type_: str) -> Condition:
    return next(one for one in conditions if one.type == type_)


@pytest.mark.parametrize(
    ("first", "second", "common"),
    [
        ("*", "a.b", "a.b"),
        ("a.b", "a.b", "a.b"),
        ("*.b", "a.b", "a.b"),
        ("*.b", "x.a.b", "x.a.b"),
        ("*.b", "b", None),
        ("*.b", "*.a.b", "*.a.b"),
        ("*.b", "*.c", None),
        ("*.b", "ab", None),
        ("a.b", "c.b", None),
    ],
)
def test_hostnames_in_common(first: str, second: str, common: str | None) -> None:
    assert intersect(first, second) == common
    assert intersect(second, first) == common


def test_a_route_is_on_the_listeners_whose_hostname_it_shares() -> None:
    result = compiled(GATEWAY + route(hostnames="[shop.example, shop.test]"))
    assert set(routes(result, 80)) == {"shop.example"}
    assert set(routes(result, 81)) == {"shop.example", "shop.test"}
    listeners = {one.name: one.attached_routes for one in status(result, "Gateway", "edge").listeners}
    assert listeners == {"http": 1, "other": 1}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"parentRefs": "[{name: egde}]"}, "NoMatchingParent"),
        ({"parentRefs": "[{name: edge, sectionName: nope}]"}, "NoMatchingParent"),
        ({"parentRefs": "[{name: edge, port: 99}]"}, "NoMatchingParent"),
        ({"parentRefs": "[{name: edge, sectionName: http}]", "hostnames": "[a.test]"}, "NoMatchingListenerHostname"),
        (
            {"namespace": "far", "parentRefs": "[{name: edge, namespace: default, sectionName: http}]"},
            "NotAllowedByListeners",
        ),
    ],
)
def test_a_route_that_is_not_attached_says_why(fields: dict[str, str], reason: str) -> None:
    result = compiled(GATEWAY + route(**fields))
    accepted = condition(
        status(result, "HTTPRoute", namespace=fields.get("namespace", "default")).parents[0].conditions, "Accepted"
    )
    assert (accepted.status, accepted.reason) == (False, reason)
    assert "A110" in {problem.code for problem in result.diagnostics}


def test_a_wrong_parent_is_suggested_and_placed() -> None:
    (problem,) = compiled(GATEWAY + route(parentRefs="[{name: egde}]")).diagnostics
    assert problem.hint == "did you mean 'edge'?"
    assert problem.span is not None


@pytest.mark.parametrize(
    ("ref", "reason"),
    [
        ("{name: nowhere, port: 80}", "BackendNotFound"),
        ("{group: gateway.envoyproxy.io, kind: Backend, name: pu}", "BackendNotFound"),
        ("{kind: Pod, name: up}", "InvalidKind"),
        ("{group: gateway.envoyproxy.io, kind: Backend, name: up, namespace: far}", "RefNotPermitted"),
    ],
)
def test_a_bad_backend_costs_its_share_alone(ref: str, reason: str) -> None:
    good = "{group: gateway.envoyproxy.io, kind: Backend, name: up, weight: 3}"
    result = compiled(GATEWAY + route(rules=f"[{{backendRefs: [{good}, {ref}]}}]"))
    action = routes(result)["*"][0].action
    assert isinstance(action, Forward)
    assert [(one.backend is None, one.weight) for one in action.destinations] == [(False, 3), (True, 1)]
    resolved = condition(status(result, "HTTPRoute").parents[0].conditions, "ResolvedRefs")
    assert (resolved.status, resolved.reason) == (False, reason)


def test_a_reference_grant_permits_exactly_what_it_says() -> None:
    far = "[{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: up, namespace: far}]}]"
    backend = (
        "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: Backend\nmetadata: {name: up, namespace: far}\n"
        "spec: {endpoints: [{ip: {address: 127.0.0.2, port: 1}}]}\n---\n"
    )
    grant = (
        "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {name: g, namespace: far}\n"
        "spec:\n  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]\n"
        "  to: [{group: gateway.envoyproxy.io, kind: Backend, name: NAME}]\n---\n"
    )

    def resolved(text: str) -> bool:
        result = compiled(GATEWAY + backend + route(rules=far) + text)
        return condition(status(result, "HTTPRoute").parents[0].conditions, "ResolvedRefs").status

    assert not resolved("")
    assert resolved(grant.replace("NAME", "up"))
    assert not resolved(grant.replace("NAME", "other"))
    assert not resolved(grant.replace("NAME", "up").replace("kind: HTTPRoute", "kind: GRPCRoute"))


def test_routes_stand_in_order_of_precedence() -> None:
    rules = (
        "[{matches: [{path: {value: /}}]}, {matches: [{path: {value: /a}}]}, {matches: [{path: {value: /a/b}}]},"
        " {matches: [{path: {type: RegularExpression, value: '/a.*'}}]}, {matches: [{path: {type: Exact, value: /a}}]},"
        " {matches: [{path: {value: /a}, headers: [{name: x, value: z}]}]}, {matches: [{path: {value: /a}, method: GET}]}]"
    )
    found = [(one.match.path_type.value, one.match.path, one.match.method, len(one.match.headers))
             for one in routes(compiled(GATEWAY + route(rules=rules)))["*"]]  # fmt: skip
    assert found == [
        ("Exact", "/a", "", 0),
        ("RegularExpression", "/a.*", "", 0),
        ("PathPrefix", "/a/b", "", 0),
        ("PathPrefix", "/a", "GET", 0),
        ("PathPrefix", "/a", "", 1),
        ("PathPrefix", "/a", "", 0),
        ("PathPrefix", "/", "", 0),
    ]


def test_of_equal_matches_the_older_route_counts_then_the_name() -> None:
    old = route("zz").replace("name: zz", "name: zz, creationTimestamp: '2020-01-01T00:00:00Z'")
    result = compiled(GATEWAY + route("b") + route("a") + old)
    assert [one.name.split("/")[2] for one in routes(result)["*"]] == ["zz", "a", "b"]


@pytest.mark.parametrize(
    ("redirect", "port", "hostname", "expected"),
    [
        ("{scheme: https}", 81, "a.test", Redirect(scheme="https", hostname="a.test")),
        ("{scheme: https}", 81, "*.test", Redirect(scheme="https", port=443)),
        ("{scheme: https}", 80, "*.example", Redirect(scheme="https")),
        ("{scheme: https, port: 8443}", 81, "a.test", Redirect(scheme="https", port=8443)),
        ("{statusCode: 301}", 81, "a.test", Redirect(status=301, port=81)),
        ("{hostname: b.test, scheme: http}", 81, "a.test", Redirect(scheme="http", hostname="b.test")),
    ],
)
def test_the_port_of_a_redirect_is_explicit_or_the_schemes_own(
    redirect: str, port: int, hostname: str, expected: Redirect
) -> None:
    rules = f"[{{filters: [{{type: RequestRedirect, requestRedirect: {redirect}}}]}}]"
    result = compiled(GATEWAY + route(rules=rules, hostnames=f"['{hostname}']"))
    assert routes(result, port)[hostname][0].action == expected


TIMEOUT = "timeout: {http: {requestTimeout: 1s}}"
RULE = "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}"
EDGE = "{group: gateway.networking.k8s.io, kind: Gateway, name: edge}"


def test_the_nearest_policy_replaces_the_farther_ones() -> None:
    text = GATEWAY + route() + policy("BackendTrafficPolicy", "far", EDGE, TIMEOUT)
    near = policy("BackendTrafficPolicy", "near", RULE, "retry: {numRetries: 3}")
    assert {one.feature for one in routes(compiled(text))["*"][0].settings} == {"timeout"}
    result = compiled(text + near)
    assert {one.feature for one in routes(result)["*"][0].settings} == {"retry"}
    conditions = status(result, "BackendTrafficPolicy", "far", ENVOY_GATEWAY_GROUP).ancestors[0].conditions
    overridden = condition(conditions, "Overridden")
    assert overridden.status
    assert "BackendTrafficPolicy default/near" in overridden.message


def test_of_two_policies_for_one_target_the_older_counts() -> None:
    young = policy("BackendTrafficPolicy", "a", RULE, TIMEOUT, "2024-01-01T00:00:00Z")
    old = policy("BackendTrafficPolicy", "b", RULE, "retry: {numRetries: 3}", "2020-01-01T00:00:00Z")
    result = compiled(GATEWAY + route() + young + old)
    assert {one.feature for one in routes(result)["*"][0].settings} == {"retry"}
    accepted = status(result, "BackendTrafficPolicy", "a", ENVOY_GATEWAY_GROUP).ancestors[0].conditions[0]
    assert (accepted.status, accepted.reason) == (False, "Conflicted")


@pytest.mark.parametrize(
    "target",
    [RULE.replace("web", "wbe"), RULE.replace("}", ", sectionName: nope}"), EDGE.replace("Gateway", "Service")],
)
def test_a_missing_target_is_said_for_each(target: str) -> None:
    result = compiled(GATEWAY + route() + policy("BackendTrafficPolicy", "p", f"{target}, {RULE}", TIMEOUT))
    first, second = status(result, "BackendTrafficPolicy", "p", ENVOY_GATEWAY_GROUP).ancestors
    assert (first.conditions[0].status, first.conditions[0].reason) == (False, "TargetNotFound")
    assert second.conditions[0].status


@pytest.mark.parametrize("kind", ["SecurityPolicy", "BackendTrafficPolicy"])
@pytest.mark.parametrize("target", [RULE, EDGE])
def test_a_broken_policy_closes_what_it_covers(kind: str, target: str) -> None:
    result = compiled(GATEWAY + route() + policy(kind, "p", target, "nonsense: 1"))
    assert [one.action for one in routes(result)["*"]] == [Respond(500)]
    accepted = status(result, kind, "p", ENVOY_GATEWAY_GROUP).ancestors[0].conditions[0]
    assert (accepted.status, accepted.reason) == (False, "Invalid")


def test_a_gateway_of_another_controller_is_left_alone() -> None:
    class_ = (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: theirs}\n"
        "spec: {controllerName: example.com/controller}\n---\n"
    )
    text = class_ + GATEWAY.replace("  listeners:", "  gatewayClassName: theirs\n  listeners:", 1) + route()
    result = compiled(text)
    assert result.gateways == ()
    assert result.diagnostics == ()
    assert len(compiled(text, Options(controllers=("example.com/controller",))).gateways) == 1


def test_a_gateway_without_an_address_gets_its_own_of_the_pool() -> None:
    text = GATEWAY + GATEWAY.split("---", maxsplit=1)[0].replace("edge", "second") + "---\n"
    found = compiled(text, Options(address_pool="127.9.0.0/24"))
    addresses = {one.name: one.ports[0].addresses for one in found.gateways}
    assert len(set(addresses.values())) == 2
    assert all(address.startswith("127.9.0.") for (address,) in addresses.values())
    alone = compiled(GATEWAY, Options(address_pool="127.9.0.0/24"))
    assert alone.gateways[0].ports[0].addresses == addresses["default/edge"], "others do not shift it"


def test_two_documents_with_one_name_are_told_apart() -> None:
    result = compiled(GATEWAY + route() + route(hostnames="[b.test]"))
    assert set(routes(result)) == {"*"}
    assert [problem.code for problem in result.diagnostics] == ["A101"]


def test_listeners_that_cannot_stand_together_are_both_refused() -> None:
    text = (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec:\n  listeners:\n"
        "  - {name: a, protocol: HTTP, port: 80}\n  - {name: b, protocol: HTTP, port: 80}\n"
        "  - {name: c, protocol: HTTP, port: 81}\n  - {name: d, protocol: SMTP, port: 82}\n"
    )
    result = compiled(text)
    reasons = {one.name: {c.type: c.reason for c in one.conditions} for one in status(result, "Gateway", "g").listeners}
    assert reasons["a"]["Conflicted"] == reasons["b"]["Conflicted"] == "HostnameConflict"
    assert reasons["d"]["Accepted"] == "UnsupportedProtocol"
    assert [one.port for one in result.gateways[0].ports] == [81]


def test_the_most_specific_listener_owns_its_hostname() -> None:
    text = (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge}\nspec:\n  listeners:\n"
        "  - {name: any, protocol: HTTP, port: 81}\n  - {name: one, protocol: HTTP, port: 81, hostname: a.test}\n---\n"
        + GATEWAY.split("---\n")[1]
        + "---\n"
    )
    wide = route("wide", parentRefs="[{name: edge, sectionName: any}]", hostnames="[a.test, b.test]")
    found = routes(compiled(text + wide))
    assert found["a.test"] == ()
    assert len(found["b.test"]) == 1


def test_endpoints_of_a_backend_in_all_their_forms() -> None:
    backend = (
        "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: Backend\nmetadata: {name: up}\nspec:\n  fallback: true\n"
        "  endpoints: [{unix: {path: /run/x}, zone: a}, {ip: {address: 127.0.0.1, port: 2}, hostname: b}]\n---\n"
    )
    gateway = GATEWAY.rpartition("apiVersion")[0]
    permitted = Options(reach=Reach(socket_folders=("/run",)))
    action = routes(compiled(gateway + backend + route(), permitted))["*"][0].action
    assert isinstance(action, Forward)
    assert action.destinations[0].backend is not None
    first, second = action.destinations[0].backend.endpoints
    assert (first.address, first.port, first.zone, first.priority) == ("/run/x", 0, "a", 1)
    assert (second.address, second.port, second.hostname, second.priority) == ("127.0.0.1", 2, "b", 1)


def test_gateways_of_one_machine_in_one_place_are_told() -> None:
    head = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: %s%s}\nspec:\n"
    http = "  listeners: [{name: http, protocol: HTTP, port: %d}]\n---\n"
    text = head % ("one", ", creationTimestamp: '2026-01-01T00:00:00Z'") + http % 10080
    text += head % ("another", "") + http % 10080
    text += head % ("apart", "") + http % 10081
    text += head % ("own", "") + "  addresses: [{value: 127.0.0.7}]\n" + http % 10080
    text += head % ("datagrams", "") + "  listeners: [{name: udp, protocol: UDP, port: 10080}]\n---\n"
    found = compiled(text, Options(one_machine=True)).diagnostics
    assert [(one.code, one.subject) for one in found] == [("A147", "Gateway default/another")]
    assert "Gateway default/one listens on 0.0.0.0:10080 too" in found[0].message
    assert compiled(text, Options(one_machine=True, address_pool="127.9.0.0/24")).diagnostics == ()
    assert compiled(text).diagnostics == ()
