"""Callers by certificate: what is refused, where, and that a mistake closes the route."""

from __future__ import annotations

import pytest

from tests.documents import compiled, parse
from tests.e2e.certificates import Authority
from tests.gateways.rig import authorities, secret
from xds_server.graph import Respond

ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {listeners: [{name: http, protocol: HTTP, port: 8080}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  rules:
  - filters: [{type: ExtensionRef, extensionRef: {group: gateway.envoyproxy.io, kind: HTTPRouteFilter, name: who}}]
    backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: b}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: b}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: 3000}}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: HTTPRouteFilter
metadata: {name: who}
spec: {peers: {allow: RULES}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {name: edge}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  peerHeader: HEADER
"""


def written(rules: str, header: str = "x-peer") -> str:
    return ROUTE.replace("RULES", rules).replace("HEADER", header)


@pytest.mark.parametrize(
    ("rules", "code"),
    [("[{methods: [GET]}]", "F130"), ('[{pattern: "a("}]', "F100"), ('[{uris: ["spiffe://a/b"]}, {}]', "F130")],
)
def test_a_rule_that_cannot_be_kept_closes_the_route(rules: str, code: str) -> None:
    found = compiled(written(rules))
    assert [one.code for one in found.diagnostics] == [code]
    assert found.diagnostics[0].span is not None
    assert found.diagnostics[0].span.line == 24
    actions = [
        route.action for port in found.gateways[0].ports for chain in port.http_chains for host in chain.hosts
        for route in host.routes
    ]  # fmt: skip
    assert actions == [Respond(500)]


@pytest.mark.parametrize("uri", ["plain text", "spiffe://a/b,spiffe://a/c", "", "/a"])
def test_what_is_no_uri_is_refused(uri: str) -> None:
    _, problems = parse(written(f'[{{uris: ["{uri}"]}}]'))
    assert [(one.code, one.span.line if one.span else 0) for one in problems] == [("M112", 24)]


@pytest.mark.parametrize("header", ["host", "Connection", "content-length"])
def test_a_header_that_requests_need_cannot_say_who_the_peer_is(header: str) -> None:
    found = compiled(written("[]", header))
    assert [one.code for one in found.diagnostics] == ["F101"]


def test_no_rules_are_rules_for_nobody() -> None:
    assert compiled(written("[]")).diagnostics == ()


@pytest.mark.parametrize(("mode", "codes"), [("AllowValidOnly", []), ("AllowInsecureFallback", ["A132", "A148"])])
def test_a_gateway_that_lets_anybody_in_proves_no_names(mode: str, codes: list[str]) -> None:
    authority = Authority()
    frontend = f"{{validation: {{mode: {mode}, caCertificateRefs: [{{kind: ConfigMap, group: '', name: ca}}]}}}}"
    text = written('[{uris: ["spiffe://a/b"]}]').replace(
        "spec: {listeners: [{name: http, protocol: HTTP, port: 8080}]}",
        f"spec: {{tls: {{frontend: {{default: {frontend}}}}}, "
        "listeners: [{name: a, protocol: HTTPS, port: 8443, tls: {certificateRefs: [{name: cert}]}}]}",
    )
    text += "---\n" + secret("cert", authority.issue("a.example")) + authorities("ca", authority.certificate)
    assert [one.code for one in sorted(compiled(text).diagnostics, key=lambda one: one.code)] == codes
