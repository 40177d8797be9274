"""YAML that people paste first: older versions, foreign gateway names, a policy without keys."""

from __future__ import annotations

import httpx

from tests.e2e.running import Cellway
from tests.e2e.tokens import bearer, jwks

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: choreo-gateway}
spec:
  addresses: [{type: IPAddress, value: ADDR.1}]
  listeners: [{name: http, protocol: HTTP, port: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: user-service}
spec: {ports: [{port: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: user-service-1, labels: {kubernetes.io/service-name: user-service}}
addressType: IPv4
endpoints: [{addresses: [ADDR.11]}]
ports: [{port: 3000}]
"""

ROUTE = """
apiVersion: gateway.networking.k8s.io/v1beta1
kind: HTTPRoute
metadata:
  name: user-service-route
spec:
  parentRefs:
  - name: choreo-gateway
  hostnames:
  - api.example.com
  rules:
  - matches:
    - path:
        type: PathPrefix
        value: /api/v1/users
    backendRefs:
    - name: user-service
      port: 8080
"""

POLICY = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata:
  name: user-service-auth
spec:
  targetRef:
    group: gateway.networking.k8s.io
    kind: HTTPRoute
    name: user-service-route
  jwt:
    providers:
    - name: choreo-auth
      issuer: https://auth.choreo.dev
      audiences:
      - user-service
"""

ORGANIZATION = """
apiVersion: cellway.dev/v1alpha1
kind: Organization
metadata: {name: acme}
spec:
  identityProviders:
  - name: main
    issuer: https://auth.choreo.dev
    localJWKS: {type: Inline, inline: 'KEYSET'}
"""


def get(cellway: Cellway, path: str, host: str = "api.example.com", **headers: str) -> httpx.Response:
    return httpx.get(f"http://{cellway.block.address(1)}:8080{path}", headers={"Host": host, **headers}, timeout=10)


def test_an_old_route_on_a_foreign_gateway_name_works(cellway: Cellway) -> None:
    cellway.write("gateway.yaml", GATEWAY)
    cellway.write("route.yaml", ROUTE)
    cellway.upstream(11)
    cellway.start()
    assert get(cellway, "/api/v1/users").status_code == 200
    assert get(cellway, "/api/v1/users/7").status_code == 200
    assert get(cellway, "/api/v1/usersX").status_code == 404
    assert get(cellway, "/api/v1/users", host="other.example.com").status_code == 404


def test_a_policy_without_keys_closes_its_route_until_the_issuer_is_known(cellway: Cellway) -> None:
    cellway.write("gateway.yaml", GATEWAY)
    cellway.write("route.yaml", ROUTE)
    cellway.write("policy.yaml", POLICY)
    server = cellway.upstream(11)
    cellway.start()
    token = bearer(issuer="https://auth.choreo.dev", audience="user-service")
    assert get(cellway, "/api/v1/users", **token).status_code == 500
    assert server.seen == []
    accepted = cellway.object("SecurityPolicy", "user-service-auth")["status"]["ancestors"][0]["conditions"][0]
    assert (accepted["type"], accepted["status"]) == ("Accepted", "False")

    cellway.write("organization.yaml", ORGANIZATION.replace("KEYSET", jwks()))
    cellway.wait()
    assert get(cellway, "/api/v1/users", **token).status_code == 200
    assert get(cellway, "/api/v1/users").status_code == 401
