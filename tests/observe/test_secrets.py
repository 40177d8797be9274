"""Secrets of policies: planted in every place that takes one, and looked for in everything that is shown."""

from __future__ import annotations

import base64

from tests.documents import compiled, parse
from xds_server.observe.resources_view import has_secrets, snapshot_view, to_json
from xds_server.snapshot.resource import Snapshot

PLANTED = ("xyzzy-client", "xyzzy-key")
HASH = "5en6G6MezRroT3XKqkdPOmY/BfQ="
GIVEN = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  addresses: [{type: IPAddress, value: 127.0.0.1}]
  listeners: [{name: http, protocol: HTTP, port: 10080}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: web}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: web}
spec: {endpoints: [{ip: {address: 127.0.0.11, port: 3000}}]}
---
apiVersion: v1
kind: Secret
metadata: {name: held}
stringData:
  client-secret: xyzzy-client
  .htpasswd: "ann:{SHA}HASH"
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {ann: xyzzy-key}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: web}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}]
  basicAuth: {users: {name: held}}
  apiKeyAuth: {credentialRefs: [{name: keys}], extractFrom: [{headers: [x-key]}]}
  oidc:
    provider:
      issuer: https://idp.example
      authorizationEndpoint: https://idp.example/authorize
      tokenEndpoint: https://idp.example/token
    clientID: shop
    clientSecret: {name: held}
""".replace("HASH", HASH)


def snapshot(text: str) -> Snapshot:
    found = compiled(text)
    assert not found.diagnostics
    (gateway,) = {id(one): one for one in found.snapshots.values()}.values()
    return gateway


def test_no_view_holds_a_secret() -> None:
    objects, _ = parse(GIVEN)
    gateway = snapshot(GIVEN)
    shown = to_json([snapshot_view(gateway)]) + repr(objects) + str([one.document for one in objects])
    assert "oidc/default/web/client-secret" in shown
    for secret in (*PLANTED, HASH, *(base64.b64encode(one.encode()).decode() for one in (*PLANTED, HASH))):
        assert secret not in shown
    assert has_secrets(gateway)


def test_what_is_served_does_hold_them() -> None:
    gateway = snapshot(GIVEN)
    served = b"".join(resource.body for named in gateway.resources.values() for resource in named.values())
    for secret in (*PLANTED, HASH):
        assert secret.encode() in served


def test_a_client_secret_is_in_its_own_resource_only() -> None:
    before, after = snapshot(GIVEN), snapshot(GIVEN.replace("xyzzy-client", "xyzzy-other"))
    changed = {
        name
        for type_url, named in after.resources.items()
        for name, resource in named.items()
        if before.get(type_url)[name].version != resource.version
    }
    assert changed == {"oidc/default/web/client-secret", "oidc/default/web/session-key"}
