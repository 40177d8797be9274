"""Certificates that nobody has verified, through a real Envoy: what would believe their names is closed, and says so."""

from __future__ import annotations

import pytest

from tests.e2e.certificates import Authority
from tests.gateways.clients import gateway, ports
from tests.gateways.rig import Rig, authorities, route, secret, service

URI = "spiffe://shop/me"
AUTHORITY, STRANGERS = Authority(), Authority("strangers")
GOOD, STRANGER = AUTHORITY.issue("me.example", URI), STRANGERS.issue("me.example", URI)
CA = "caCertificateRefs: [{kind: ConfigMap, name: ca}]"
POLICIES = {
    "verified": f"tls: {{clientValidation: {{{CA}}}}}\npeerHeader: x-peer",
    "given": f"tls: {{clientValidation: {{mode: VerifyIfGiven, {CA}}}}}",
    "requested": "tls: {clientValidation: {mode: Request}}",
    "any": f"tls: {{clientValidation: {{mode: RequireAny, {CA}}}}}",
    "told": "tls: {clientValidation: {mode: Request}}\npeerHeader: x-peer",
}
PORTS = ports(POLICIES, 12000)
FILTER = f"""
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: HTTPRouteFilter
metadata: {{name: who}}
spec: {{peers: {{allow: [{{uris: ["{URI}"]}}]}}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: peers}}
spec:
  parentRefs: [{{name: edge}}]
  hostnames: [peers.example]
  rules:
  - filters: [{{type: ExtensionRef, extensionRef: {{group: gateway.envoyproxy.io, kind: HTTPRouteFilter, name: who}}}}]
    backendRefs: [{{name: one, port: 80}}]
---
"""


def expression(name: str, cel: str, more: str = "") -> str:
    """A route whose policy lets in those for whom this is true."""
    return route(name, "one", hostnames=f"{name}.example") + (
        "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: SecurityPolicy\n"
        f"metadata: {{name: {name}}}\nspec:\n"
        f"  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: {name}}}]\n"
        f"  authorization: {{defaultAction: Deny, rules: [{{action: Allow, cel: '{cel}'}}]{more}}}\n---\n"
    )


@pytest.fixture(scope="module")
def served(rig: Rig) -> Rig:
    text = gateway(POLICIES, "protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}", 12000)
    text += secret("cert", AUTHORITY.issue("shop.example")) + authorities("ca", AUTHORITY.certificate)
    text += service("one", *rig.server("one").address) + route("plain", "one", hostnames="plain.example") + FILTER
    text += expression("name", f'connection.uri_san_peer_certificate == "{URI}"')
    text += expression("path", 'request.path == "/"')
    rig.serve(text, flawed=True)
    return rig


@pytest.mark.parametrize(
    ("listener", "good", "stranger"),
    [
        ("verified", {"peers": 200, "name": 200, "path": 200, "plain": 200}, None),
        ("given", {"peers": 200, "name": 200, "path": 200, "plain": 200}, None),
        ("requested", {"peers": 500, "name": 500, "path": 200, "plain": 200}, 500),
        ("any", {"peers": 500, "name": 500, "path": 200, "plain": 200}, 500),
        ("told", {"peers": 500, "name": 500, "path": 500, "plain": 500}, 500),
    ],
)
def test_only_names_that_were_verified_are_believed(
    served: Rig, listener: str, good: dict[str, int], stranger: int | None
) -> None:
    def asked(name: str, client: tuple[str, str]) -> int:
        return served.ask_tls("shop.example", f"{name}.example", port=PORTS[listener], client=client)[0]

    assert {name: asked(name, GOOD) for name in good} == good
    if stranger is not None:
        assert (asked("peers", STRANGER), asked("name", STRANGER)) == (stranger, stranger)


def test_each_of_them_says_so(served: Rig) -> None:
    found = {(one.subject, one.code) for one in served.result.diagnostics}
    assert found == {
        ("HTTPRoute default/peers", "A148"),
        ("SecurityPolicy default/name", "A148"),
        ("ClientTrafficPolicy default/told", "A132"),
    }
    assert all(one.span is not None and one.span.line > 1 for one in served.result.diagnostics)
