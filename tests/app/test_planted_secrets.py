"""Secrets that are planted wherever a document takes one, right or wrong, and looked for in all that anybody is shown."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import httpx
import pytest

from tests.commands import cellway as command
from tests.e2e.certificates import self_signed
from tests.e2e.running import Cellway

HASH = "5en6G6MezRroT3XKqkdPOmY/BfQ="
CHAIN, KEY = self_signed("shop.example")
PLANTED = {
    "the value of a client secret": "canary-client-secret",
    "an API key": "canary-api-key",
    "the digest of a password": HASH,
    "a credential for a backend": "canary-backend-credential",
    "a value that a service is told": "canary-told-to-a-service",
    "a private key": KEY.splitlines()[1],
    "a value under a misspelled field": "canary-misspelled",
    "a value that is no base64": "canary!not!base64",
    "a password that is no digest": "canary-plain-password",
    "a key that is two lines": "canary-first-line",
    "a key written as a number": "7070707070707",
}
POLICIES = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  addresses: [{type: IPAddress, value: ADDR.1}]
  listeners:
  - {name: http, protocol: HTTP, port: 8080}
  - {name: https, protocol: HTTPS, port: 8443, tls: {certificateRefs: [{name: certificate}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  rules:
  - filters: [{type: ExtensionRef, extensionRef: {group: gateway.envoyproxy.io, kind: HTTPRouteFilter, name: give}}]
    backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: up}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: HTTPRouteFilter
metadata: {name: give}
spec: {credentialInjection: {credential: {valueRef: {name: held}}}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: up}
spec: {endpoints: [{ip: {address: ADDR.11, port: 3000}}]}
---
apiVersion: v1
kind: Secret
metadata: {name: certificate}
type: kubernetes.io/tls
stringData: {tls.crt: CHAIN, tls.key: KEY}
---
apiVersion: v1
kind: Secret
metadata: {name: held}
stringData:
  client-secret: canary-client-secret
  credential: canary-backend-credential
  told: canary-told-to-a-service
  .htpasswd: "ann:{SHA}HASH"
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {ann: canary-api-key}
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
  extAuth:
    grpc: {backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: up}]}
    contextExtensions: [{name: told, type: ValueRef, valueRef: {kind: Secret, name: held, key: told}}]
"""
WRONG = """
apiVersion: v1
kind: Secret
metadata: {name: misspelled}
strngData: {a: canary-misspelled}
---
apiVersion: v1
kind: Secret
metadata: {name: encoded}
data: {a: "canary!not!base64"}
---
apiVersion: v1
kind: Secret
metadata: {name: wrong}
stringData:
  .htpasswd: "ann:canary-plain-password"
  client-secret: "canary-first-line\\nsecond"
---
apiVersion: v1
kind: Secret
metadata: {name: number}
stringData: {a: 7070707070707}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: wrong}
spec:
  parentRefs: [{name: edge}]
  hostnames: [wrong.example]
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: up}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: wrong}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: wrong}]
  basicAuth: {users: {name: wrong}}
  apiKeyAuth: {credentialRefs: [{name: encoded}, {name: number}, {name: misspelled}], extractFrom: [{headers: [x-key]}]}
  oidc:
    provider: {issuer: "https://idp.example", authorizationEndpoint: "https://idp.example/a", tokenEndpoint: "https://idp.example/t"}
    clientID: shop
    clientSecret: {name: wrong}
"""


@pytest.fixture
def shop(cellway: Cellway) -> Cellway:
    chain, key = json.dumps(CHAIN), json.dumps(KEY)
    cellway.write("right.yaml", POLICIES.replace("CHAIN", chain).replace("KEY", key).replace("HASH", HASH))
    cellway.write("wrong.yaml", WRONG)
    cellway.arguments = ("--log-level", "debug")
    cellway.start()
    return cellway


def commands(cellway: Cellway) -> Iterator[str]:
    """What every command prints about these policies."""
    folder, admin = str(cellway.folder), cellway.admin.removeprefix("http://")
    lines = [["validate", folder, "-o", form] for form in ("text", "json", "sarif", "github")]
    lines += [["render", folder, "--as", form] for form in ("resources", "objects", "status", "effective", "bootstrap")]
    lines += [["explain", "GET", "http://wrong.example/", folder], ["status", "--admin", admin]]
    lines += [["wait", "--admin", admin], ["bootstrap", "default/edge"]]
    for words in lines:
        ran = command(*words, env={"COLUMNS": "400"})
        assert "Usage:" not in ran.stderr
        assert ran.stdout or ran.stderr, words
        yield " ".join(words) + "\n" + ran.stdout + ran.stderr


def pages(cellway: Cellway) -> Iterator[str]:
    """What the admin API says."""
    paths = [
        "api/v1/objects",
        "api/v1/objects?derived=true",
        "api/v1/diagnostics",
        "api/v1/proxies",
        "api/v1/routes",
        "api/v1/policies?object=SecurityPolicy/web",
        "api/v1/dump",
        "api/v1/traffic",
        "metrics",
        "readyz",
    ]
    paths.append("api/v1/explain?method=GET&url=http://wrong.example/")
    for path in paths:
        answer = httpx.get(f"{cellway.admin}/{path}", timeout=10)
        assert answer.text, path
        yield f"{path}\n{answer.text}"


def kept(cellway: Cellway) -> Iterator[str]:
    """Logs, and files of the state folder."""
    yield (cellway.state.parent / "cellway.log").read_text(encoding="utf-8", errors="replace")
    kept = {cellway.state / "in-force", cellway.state / "history"}  # the policy files themselves
    for path in sorted(path for path in cellway.state.rglob("*") if not kept & set(path.parents)):
        if path.is_file():
            yield f"{path}\n" + path.read_text(encoding="utf-8", errors="replace")


def test_no_output_holds_a_planted_secret(shop: Cellway) -> None:
    texts = [*commands(shop), *pages(shop), *kept(shop)]
    for what, secret in PLANTED.items():
        for form in (secret, base64.b64encode(secret.encode()).decode().rstrip("=")):
            held = [text.partition("\n")[0] for text in texts if form in text]
            assert not held, f"{what} is in {held}"
