"""Limits before passwords, through a real Envoy; and what cannot be moved."""

from __future__ import annotations

import pytest

from tests.documents import parse
from tests.gateways.rig import Rig, route, service

ORDER = "  filterOrder: [{name: envoy.filters.http.local_ratelimit, before: envoy.filters.http.basic_auth}]\n"
PROXY = "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyProxy\nmetadata: {name: how}\nspec:\n"
GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  infrastructure: {parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: how}}
  addresses: [{value: ADDR.1}]
  listeners: [{name: http, protocol: HTTP, port: 10080}]
---
apiVersion: v1
kind: Secret
metadata: {name: users}
stringData: {.htpasswd: "tom:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M="}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: users}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}]
  basicAuth: {users: {name: users}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: limit}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}]
  rateLimit: {local: {rules: [{limit: {requests: 2, unit: Hour}}]}}
---
"""


@pytest.mark.parametrize(("spec", "expected"), [("  {}\n", [401, 401, 401]), (ORDER, [401, 401, 429])])
def test_who_is_counted(rig: Rig, spec: str, expected: list[int]) -> None:
    up = service("one", *rig.server("one").address) + route("web", "one")
    rig.serve(GATEWAY + up + PROXY + spec)
    assert [rig.ask("shop.example").status_code for _ in expected] == expected


@pytest.mark.parametrize(
    ("move", "words"),
    [
        ("{name: envoy.filters.http.rbac, before: envoy.filters.http.jwt_authn}", "must be"),
        ("{name: envoy.filters.http.lua, before: envoy.filters.http.jwt_authn}", "must be"),
        ("{name: envoy.filters.http.jwt_authn, after: envoy.filters.http.rbac}", "must be"),
        ("{name: envoy.filters.http.fault, before: envoy.filters.http.header_mutation}", "must be"),
        ("{name: envoy.filters.http.fault, before: envoy.filters.http.router}", "must be"),
    ],
)
def test_what_stays_where_it_is(move: str, words: str) -> None:
    _, problems = parse(f"{PROXY}  filterOrder: [{move}]\n", "order.yaml")
    (problem,) = (str(one) for one in problems)
    assert problem.startswith("order.yaml:5:")
    assert words in problem
