"""What policies name by a URL or a host, which leads to the server itself no more than a Backend does."""

from __future__ import annotations

import pytest

from tests.documents import compiled
from xds_server.attach.reach import Reach, own_place
from xds_server.compile import Options

WORLD = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  infrastructure: {parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: tells}}
  listeners: [{name: http, protocol: HTTP, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  rules: [{RULE backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: up}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: up}
spec: {endpoints: [{ip: {address: 192.0.2.1, port: 80}}]}
---
apiVersion: v1
kind: Secret
metadata: {name: own}
stringData: {client-secret: abc}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: tells}
spec: {telemetry: TELEMETRY}
"""
POLICY = """---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: KIND
metadata: {name: asks}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}]
"""
JWT = "  jwt: {providers: [{name: idp, remoteJWKS: {uri: 'http://HOST:19001/keys'}}]}\n"
OIDC = """  oidc:
    {clientID: a, clientSecret: {name: own}, redirectURL: 'https://a.example/cb', provider: {issuer: 'https://idp.example',
     authorizationEndpoint: 'https://idp.example/auth', tokenEndpoint: 'http://HOST:19001/token'}}
"""
WASM = "  wasm: [{name: a, code: {type: HTTP, http: {url: 'http://HOST:19001/a.wasm', sha256: 'HASH'}}}]\n"
INJECTED = """---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: HTTPRouteFilter
metadata: {name: asks}
spec:
  credentialInjection:
    credential: {clientCredentials: {tokenEndpoint: 'http://HOST:19001/t', clientID: a, clientSecret: {name: own}}}
"""
USE = (
    "filters: [{type: ExtensionRef, extensionRef: {group: gateway.envoyproxy.io, kind: HTTPRouteFilter, name: asks}}],"
)


def policy(kind: str, spec: str) -> str:
    return (WORLD + POLICY.replace("KIND", kind) + spec).replace("HASH", "0" * 64)


def told(telemetry: str) -> str:
    return WORLD.replace("TELEMETRY", f"{{{telemetry}}}")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "far.example", "192.0.2.1"])
@pytest.mark.parametrize(
    "text",
    [
        policy("SecurityPolicy", JWT),
        policy("SecurityPolicy", OIDC),
        policy("EnvoyExtensionPolicy", WASM),
        (WORLD + INJECTED).replace("RULE", USE),
        told("accessLog: {settings: [{sinks: [{openTelemetry: {host: HOST, port: 19001}}]}]}"),
        told("tracing: {provider: {type: OpenTelemetry, host: HOST, port: 19001}}"),
        told("metrics: {sinks: [{type: OpenTelemetry, openTelemetry: {host: HOST, port: 19001}}]}"),
    ],
)
def test_what_is_named_by_a_url_leads_to_the_server_no_more(text: str, host: str) -> None:
    own = Reach((own_place("the admin API", "127.0.0.1", 19001, ()),), names_lead_here=True)
    for old, new in (("HOST", host), ("RULE", ""), ("TELEMETRY", "{}")):
        text = text.replace(old, new)
    found = [one for one in compiled(text, Options(extenders=("*",), reach=own)).diagnostics if one.severity == "error"]
    assert len(found) == (host != "192.0.2.1"), found
    for one in found:
        assert f"{host}:19001 leads to the admin API, where no backend may lead" in one.message
        assert one.span is not None
