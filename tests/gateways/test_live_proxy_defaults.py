"""What an EnvoyProxy says for all backends and addresses of its Gateway, through a real Envoy, and what comes before it."""

from __future__ import annotations

import json
import socket
import ssl
from typing import Any

import httpx
import pytest

from tests.documents import compiled
from tests.e2e.certificates import Authority
from tests.gateways.collectors import until
from tests.gateways.rig import Rig, authorities, load, route, secret, service

REF = "infrastructure: {parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: usual}}"
NAMED = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: named}
spec:
  parentRefs: [{name: edge}]
  hostnames: [named.example]
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: named}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: named}
spec: {endpoints: [{fqdn: {hostname: localhost, port: PORT}}]}
---
"""


def gateway(spec: dict[str, Any], more: str = "addresses: [{value: ADDR.1}]", port: int = 10080) -> str:
    """A Gateway whose EnvoyProxy says this."""
    whole = {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "EnvoyProxy",
        "metadata": {"name": "usual"},
        "spec": spec,
    }
    return (
        f"apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge}}\nspec:\n  {REF}\n  {more}\n"
        f"  listeners: [{{name: http, protocol: HTTP, port: {port}}}]\n---\n{json.dumps(whole)}\n---\n"
    )


def policy(spec: dict[str, Any]) -> str:
    """A BackendTrafficPolicy of the route to a named backend."""
    target = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "named"}
    whole = {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "BackendTrafficPolicy",
        "metadata": {"name": "nearer"},
        "spec": {"targetRefs": [target], **spec},
    }
    return f"{json.dumps(whole)}\n---\n"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def reached(address: str, port: int) -> bool:
    try:
        return httpx.get(f"http://{address}:{port}/", headers={"Host": "a.example"}, timeout=10).status_code == 200
    except httpx.ConnectError:
        return False


@pytest.mark.parametrize(
    ("family", "four", "six"),
    [(None, True, False), ("IPv4", True, False), ("IPv6", False, True), ("DualStack", True, True)],
)
def test_a_gateway_without_addresses_listens_on_those_of_its_family(
    rig: Rig, family: str | None, four: bool, six: bool
) -> None:
    port = free_port()
    text = gateway({"ipFamily": family} if family else {}, "gatewayClassName: any", port)
    rig.serve(text + service("up", *rig.server("up").address) + route("web", "up"))
    until(lambda: (reached("127.0.0.1", port), reached("[::1]", port)) == (four, six))


def test_addresses_of_a_gateway_come_before_its_family() -> None:
    (found,) = compiled(gateway({"ipFamily": "IPv6"}, "addresses: [{value: 127.0.0.9}]")).gateways
    assert [port.addresses for port in found.ports] == [("127.0.0.9",)]


@pytest.mark.parametrize(
    ("spec", "nearer", "statuses"),
    [
        ({}, "", {200}),
        ({"ipFamily": "IPv4"}, "", {200}),
        ({"ipFamily": "DualStack"}, "", {200, 503}),
        ({"ipFamily": "IPv6"}, "", {503}),
        ({"ipFamily": "IPv6"}, policy({"dns": {"lookupFamily": "IPv4"}}), {200}),
        ({"ipFamily": "IPv6"}, policy({"dns": {"respectDnsTtl": True}}), {503}),
    ],
)
def test_names_of_backends_lead_to_addresses_of_the_family(
    rig: Rig, spec: dict[str, Any], nearer: str, statuses: set[int]
) -> None:
    """The backend is at 127.0.0.1, and there is nobody at ::1."""
    text = gateway(spec) + NAMED.replace("PORT", str(rig.server("named").address[1])) + nearer
    rig.serve(text)
    assert {rig.ask("named.example").status_code for _ in range(4)} == statuses


def backend(name: str, port: int, **tls: Any) -> str:
    """A Backend over TLS."""
    trust = {"caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}], "sni": "up.example"}
    spec = {"endpoints": [{"ip": {"address": "127.0.0.1", "port": port}}], "tls": {**trust, **tls}}
    head = f"apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: Backend\nmetadata: {{name: {name}}}\n"
    return f"{head}spec: {json.dumps(spec)}\n---\n"


@pytest.mark.parametrize(
    ("defaults", "own", "status"),
    [
        ({}, {}, 200),
        ({"maxVersion": "1.2"}, {}, 200),
        ({"minVersion": "1.3"}, {}, 503),
        ({"minVersion": "1.3"}, {"minVersion": "1.2"}, 200),
        ({"minVersion": "1.3"}, {"maxVersion": "1.2"}, 200),
        ({"ciphers": ["AES128-GCM-SHA256"]}, {}, 503),
        ({"ciphers": ["AES128-GCM-SHA256"]}, {"ciphers": ["ECDHE-ECDSA-AES128-GCM-SHA256"]}, 200),
        ({"ecdhCurves": ["P-521"], "signatureAlgorithms": ["ecdsa_secp256r1_sha256"]}, {"ecdhCurves": ["P-256"]}, 200),
    ],
)
def test_bounds_of_tls_count_where_a_backend_has_none(
    rig: Rig, defaults: dict[str, Any], own: dict[str, Any], status: int
) -> None:
    authority, context = Authority(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    load(context, authority.issue("up.example"))
    port = rig.server("up", context).address[1]
    text = gateway({"backendTLS": defaults}) + NAMED.split("---\n", maxsplit=1)[0] + "---\n"
    rig.serve(text + backend("named", port, **own) + authorities("ca", authority.certificate))
    assert rig.ask("named.example").status_code == status


def test_the_certificate_that_is_shown_to_backends_is_the_gateways_own_or_else_the_usual_one(rig: Rig) -> None:
    authority, stranger, context = Authority(), Authority(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load(context, authority.issue("up.example"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority.certificate)
    port = rig.server("up", context).address[1]
    text = NAMED.split("---\n", maxsplit=1)[0] + "---\n" + backend("named", port)
    text += authorities("ca", authority.certificate) + secret("usual", authority.issue("edge.example"))
    text += secret("own", stranger.issue("edge.example"))
    shown = {"backendTLS": {"clientCertificateRef": {"name": "usual"}}}
    rig.serve(gateway({}) + text)
    assert rig.ask("named.example").status_code == 503
    rig.serve(gateway(shown) + text)
    assert rig.ask("named.example").status_code == 200
    own = "tls: {backend: {clientCertificateRef: {name: own}}}\n  addresses: [{value: ADDR.1}]"
    rig.serve(gateway(shown, own) + text)
    assert rig.ask("named.example").status_code == 503


@pytest.mark.parametrize(
    ("spec", "code", "words"),
    [
        ({"backendTLS": {"clientCertificateRef": {"name": "gone"}}}, "A104", "there is no Secret"),
        ({"backendTLS": {"minVersion": "1.3", "maxVersion": "1.2"}}, "F103", "older than minVersion"),
        ({"backendTLS": {"minVersion": "1.3", "ciphers": ["AES128-SHA"]}}, "F103", "do nothing for TLS 1.3"),
        ({"backendTLS": {"ecdhCurves": ["P-1"]}}, "F103", "does not know 'P-1'"),
        ({"routingType": "Service"}, "F103", "requests go to endpoints"),
    ],
)
def test_what_cannot_be_keeps_the_gateway_from_being_served(spec: dict[str, Any], code: str, words: str) -> None:
    found = compiled(gateway(spec, "gatewayClassName: any"))
    assert [(one.code, words in one.message) for one in found.diagnostics] == [(code, True)], found.diagnostics
    assert found.diagnostics[0].span is not None
    assert found.gateways[0].ports == ()


def test_endpoints_are_what_requests_go_to_and_a_service_is_refused() -> None:
    text = gateway({"routingType": "Endpoint"}, "gatewayClassName: any") + NAMED.replace("PORT", "1")
    assert compiled(text + policy({"routingType": "Endpoint"})).diagnostics == ()
    found = compiled(text + policy({"routingType": "Service"}))
    assert [one.code for one in found.diagnostics] == ["F103"]
    assert "routingType: Endpoint" in found.diagnostics[0].hint
