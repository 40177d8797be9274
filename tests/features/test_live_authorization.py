"""Authorization in a real Envoy: who is refused, who is let in, and what counts as the path of a request."""

from __future__ import annotations

import socket
from typing import Any

import httpx
import pytest

from tests.e2e.tokens import bearer, jwks
from tests.translate.graphs import backend, forward, gateway, host, route, setting
from tests.translate.live import Envoy
from xds_server.features.jwt import JwtSpec
from xds_server.features.parts.authorization_specs import AuthorizationSpec
from xds_server.graph import Setting

IDP: dict[str, Any] = {"name": "idp", "issuer": "https://idp.acme.example", "localJWKS": {"inline": jwks()}}
JWT = setting("jwt", JwtSpec, {"providers": [IDP], "optional": True})
DENY_ADMIN = {"action": "Deny", "operation": {"path": {"value": "/admin"}}}
ROLE = {"provider": "idp", "claims": [{"name": "realm.roles", "valueType": "StringArray", "values": ["admin", "ops"]}]}


def allow(**principal: Any) -> dict[str, Any]:
    return {"action": "Allow", "principal": principal}


def rules(*written: dict[str, Any], **more: Any) -> Setting:
    return setting("authorization", AuthorizationSpec, {"rules": list(written), **more})


@pytest.fixture(scope="module")
def edge(envoy: Envoy) -> Envoy:
    action = forward(backend(envoy.server().address))
    reading = {"action": "Allow", "operation": {"methods": ["GET", "HEAD"], "path": {"type": "Exact", "value": "/doc"}}}
    regex = {"action": "Allow", "operation": {"path": {"type": "RegularExpression", "value": "/v[0-9]+/.*"}}}
    outside = {"action": "Deny", "operation": {"path": {"value": "/in", "invert": True}}}
    teams = [{"name": "team", "values": ["red", "blue"]}, {"name": "org.unit", "values": ["sales"]}]
    envoy.apply(
        gateway(
            host("nobody.example", route(action, rules())),
            host("open.example", route(action)),
            host("admin.example", route(action, rules(DENY_ADMIN, defaultAction="Allow"))),
            host("doc.example", route(action, rules(reading))),
            host("regex.example", route(action, rules(regex))),
            host("invert.example", route(action, rules(outside, defaultAction="Allow"))),
            host("cidr.example", route(action, rules(allow(clientCIDRs=["127.0.0.2/32", "10.0.0.0/8"])))),
            host("role.example", route(action, JWT, rules(allow(jwt=ROLE)))),
            host("team.example", route(action, JWT, rules(allow(jwt={"provider": "idp", "claims": teams})))),
            host("scope.example", route(action, JWT, rules(allow(jwt={"provider": "idp", "scopes": ["a", "b"]})))),
            host("both.example", route(action, JWT, rules(allow(jwt=ROLE, clientCIDRs=["127.0.0.2/32"])))),
            host("header.example", route(action, rules(allow(headers=[{"name": "X-Tier", "values": ["gold", "lead"]}])))),
            host("order.example", route(action, rules(allow(clientCIDRs=["127.0.0.2/32"]), DENY_ADMIN, defaultAction="Allow"))),
            host("shadow.example", route(action, rules({"name": "a-rule", **DENY_ADMIN}, shadowMode=True))),
            host("cel.example", route(action, JWT, rules(
                {"action": "Deny", "cel": "request.headers['x-tier'] == 'banned'"},
                {"action": "Deny", "cel": "request.path.startsWith('/admin')"},
                {"action": "Allow", "cel": "metadata.filter_metadata['envoy.filters.http.jwt_authn']['idp']['tier'] == 'gold'"},
                {"action": "Allow", "operation": {"methods": ["POST"]}, "cel": "request.headers['x-a'] in ['1', '2']"},
                {"action": "Allow", "cel": "'x-b' in request.headers && request.host in ['cel.example']"},
                {"action": "Allow", "cel": "source.address.startsWith('127.0.0.2:') && request.host.matches('^cel[.]') "
                                           "&& request.query == 'q=1'"},
            ))),
        )
    )  # fmt: skip
    return envoy


def status(edge: Envoy, name: str, path: str = "/", method: str = "GET", **headers: str) -> int:
    return edge.get(name, path, method, **headers).status_code


def from_address(edge: Envoy, name: str, address: str, path: str = "/", **headers: str) -> int:
    with httpx.Client(transport=httpx.HTTPTransport(local_address=address)) as client:
        return client.get(f"http://127.0.0.1:{edge.port}{path}", headers={"Host": name, **headers}).status_code


def test_without_rules_nobody_passes_and_routes_without_a_policy_stay_open(edge: Envoy) -> None:
    answer = edge.get("nobody.example")
    assert (answer.status_code, answer.text) == (403, "RBAC: access denied")
    assert status(edge, "open.example") == 200


def test_a_refused_path_has_no_other_spelling(edge: Envoy) -> None:
    spellings = [
        # dots, and their escapes
        "/admin", "/admin/", "/admin/users", "/./admin", "/.//admin", "/a/../admin", "/a/b/../../admin", "/../admin",
        "/../../admin", "/admin/.", "/admin/../admin", "/admin/x/..", "/a/./../admin", "/./././admin",
        "/%2e/admin", "/%2E/admin", "/a/%2e%2e/admin", "/a/%2e./admin", "/a/.%2e/admin", "/a/.%2E/admin",
        "/%2e%2e/admin", "/a/b/%2e%2e/%2E%2e/admin", "/admin/%2e", "/a/..//admin",
        # slashes, backslashes, and their escapes
        "//admin", "///admin", "/admin//users", "/admin%2fusers", "/admin%2Fusers", "/x/..%2fadmin",
        "/x%2f../admin", "/x%2F..%2Fadmin", "/%2fadmin", "/%2f/admin", "/x/..%5cadmin", "/x%5c..%5cadmin", "/%5cadmin",
        "/x\\..\\admin", "/\\admin", "/.\\admin", "/x/..\\admin",
        # letters
        "/%61dmin", "/%61%64%6d%69%6e", "/%61%64%6D%69%6E", "/a%64min", "/admi%6e", "/adm%69n/users", "/%61dmin%2fx",
        # parameters, queries, fragments
        "/admin;x=1", "/admin;/users", "/admin;", "/;/admin", "/;a=b/admin", "/a;b/../admin", "/public/..;/admin",
        "/a;x/b", "/admin%3bx", "/admin?", "/admin?x=1", "/admin/?a=b", "/admin?/../x", "/admin??", "/admin#x",
        "/a/../admin?x=/../..", "/a/%2e%2e/admin;x?y",
        # bytes that some servers drop
        "/admin%00", "/%00admin", "/a/..%00/admin",
        # the whole URL
        "http://admin.example/admin", "http://admin.example//admin", "http://admin.example/a/../admin",
        "http://admin.example/%61dmin",
    ]  # fmt: skip
    assert len(set(spellings)) == len(spellings) > 60
    let_in = [path for path in spellings if raw_status(edge, path) not in (400, 403)]
    assert not let_in
    for path in ("/", "/adm", "/administrator", "/a/admin", "/x?next=/admin", "/x?a=b;c=d", "http://admin.example/x"):
        assert raw_status(edge, path) == 200, path


def raw_status(edge: Envoy, target: str) -> int:
    """Ask for a target byte by byte as it is written."""
    with socket.create_connection(("127.0.0.1", edge.port), timeout=10) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: admin.example\r\nConnection: close\r\n\r\n".encode())
        return int(connection.makefile("rb").readline().split()[1])


def test_methods_and_an_exact_path(edge: Envoy) -> None:
    assert status(edge, "doc.example", "/doc", "POST") == 403
    assert status(edge, "doc.example", "/doc", "DELETE") == 403
    assert status(edge, "doc.example", "/doc", x_http_method_override="GET", method="POST") == 403
    assert status(edge, "doc.example", "/doc/x") == 403
    assert status(edge, "doc.example", "/docs") == 403
    assert status(edge, "doc.example", "/doc") == 200
    assert status(edge, "doc.example", "/doc?page=2") == 200


def test_a_path_by_expression_and_an_inverted_one(edge: Envoy) -> None:
    assert status(edge, "regex.example", "/v/x") == 403
    assert status(edge, "regex.example", "/x?/v1/x") == 403
    assert status(edge, "regex.example", "/v12/x?y") == 200
    assert status(edge, "invert.example", "/out") == 403
    assert status(edge, "invert.example", "/inner") == 403
    assert status(edge, "invert.example", "/in/side") == 200


def test_addresses_are_those_of_connections_and_not_of_headers(edge: Envoy) -> None:
    assert status(edge, "cidr.example") == 403
    for name in ("x_forwarded_for", "x_real_ip", "x_envoy_external_address", "forwarded", "true_client_ip"):
        assert status(edge, "cidr.example", **{name: "10.1.2.3"}) == 403, name
    assert from_address(edge, "cidr.example", "127.0.0.2") == 200


def test_claims(edge: Envoy) -> None:
    assert status(edge, "role.example") == 403
    assert status(edge, "role.example", **bearer()) == 403
    assert status(edge, "role.example", **bearer(realm={"roles": ["user"]})) == 403
    assert status(edge, "role.example", **bearer(realm={"roles": "admin"})) == 403
    assert status(edge, "role.example", **bearer(roles=["admin"])) == 403
    assert status(edge, "role.example", **bearer(lifetime=-600, realm={"roles": ["admin"]})) == 401
    assert status(edge, "role.example", **bearer(realm={"roles": ["user", "ops"]})) == 200
    assert status(edge, "team.example", **bearer(team="red")) == 403
    assert status(edge, "team.example", **bearer(team="green", org={"unit": "sales"})) == 403
    assert status(edge, "team.example", **bearer(team="blue", org={"unit": "sales"})) == 200


def test_scopes_must_all_be_there(edge: Envoy) -> None:
    assert status(edge, "scope.example") == 403
    assert status(edge, "scope.example", **bearer(scope="a")) == 403
    assert status(edge, "scope.example", **bearer(scope="ab ba")) == 403
    assert status(edge, "scope.example", **bearer(scope="b c a")) == 200
    assert status(edge, "scope.example", **bearer(scp=["a", "b"])) == 200


def test_all_of_a_principal_must_fit(edge: Envoy) -> None:
    good = bearer(realm={"roles": ["admin"]})
    assert status(edge, "both.example", **good) == 403
    assert from_address(edge, "both.example", "127.0.0.2") == 403
    assert from_address(edge, "both.example", "127.0.0.2", **good) == 200


def test_headers(edge: Envoy) -> None:
    assert status(edge, "header.example") == 403
    assert status(edge, "header.example", x_tier="silver") == 403
    assert status(edge, "header.example", x_tier="gold,silver") == 403
    assert status(edge, "header.example", x_tier="lead") == 200


def test_the_first_rule_that_fits_decides(edge: Envoy) -> None:
    assert status(edge, "order.example", "/admin") == 403
    assert from_address(edge, "order.example", "127.0.0.2", "/admin") == 200
    assert status(edge, "order.example", "/x") == 200


def test_shadow_mode_counts_and_refuses_nothing(edge: Envoy) -> None:
    counted = "http.default/edge/http.rbac.shadow_denied"
    before = edge.stat(counted)
    assert status(edge, "shadow.example") == 200
    assert edge.stat(counted) == before + 1


def test_an_expression_decides_and_one_that_fails_lets_nobody_in(edge: Envoy) -> None:
    fine = {"x_tier": "none"}
    assert status(edge, "cel.example", **fine) == 403
    assert status(edge, "cel.example", **fine, **bearer(tier="silver")) == 403
    assert status(edge, "cel.example", **fine, **bearer(tier="gold")) == 200
    assert status(edge, "cel.example", x_tier="banned", **bearer(tier="gold")) == 403
    assert status(edge, "cel.example", **bearer(tier="gold")) == 403  # no x-tier: the first rule fails, and refuses
    for path in ("/admin/x", "/%61dmin", "/a/../admin", "/a;b"):
        assert status(edge, "cel.example", path, **fine, **bearer(tier="gold")) == 403, path
    assert status(edge, "cel.example", "/", "POST", **fine, x_a="2") == 200
    assert status(edge, "cel.example", "/", "GET", **fine, x_a="2") == 403
    assert status(edge, "cel.example", "/", "POST", **fine, x_a="3") == 403
    assert status(edge, "cel.example", **fine, x_b="") == 200
    assert from_address(edge, "cel.example", "127.0.0.2", "/?q=1", **{"x-tier": "n"}) == 200
    assert from_address(edge, "cel.example", "127.0.0.2", "/?q=2", **{"x-tier": "n"}) == 403


def test_a_shadow_counts_for_each_rule(edge: Envoy) -> None:
    def counted(rule: str) -> int:
        return edge.stat(f"http.default/edge/http.rbac.policy.shop/policy/{rule}.shadow_denied")

    before = counted("a-rule"), counted("default")
    assert status(edge, "shadow.example", "/admin/x") == 200
    assert (counted("a-rule"), counted("default")) == (before[0] + 1, before[1])
    assert status(edge, "shadow.example", "/") == 200
    assert (counted("a-rule"), counted("default")) == (before[0] + 1, before[1] + 1)
