"""A shop of three cells on one block of addresses: storefront on .1-.4, orders on .17-.20, payments on .33-.36."""

from __future__ import annotations

from tests.e2e.running import Cellway
from tests.e2e.tokens import jwks

ORGANIZATION = """
apiVersion: cellway.dev/v1alpha1
kind: Organization
metadata: {name: acme}
spec:
  defaultClass: standard
  stages: [{name: dev, trustDomain: dev.acme.internal}]
  identityProviders:
  - name: acme-idp
    issuer: https://idp.acme.example
    audiences: [shop]
    localJWKS: {type: Inline, inline: 'KEYSET'}
---
apiVersion: cellway.dev/v1alpha1
kind: CellClass
metadata: {name: standard}
spec:
  defaults:
    east: &out
      traffic:
        timeout: {http: {requestTimeout: 2s}}
        retry: {numRetries: 1, retryOn: {triggers: [connect-failure, refused-stream, reset-before-request]}}
        circuitBreaker: {maxConnections: 100, maxPendingRequests: 50, maxParallelRequests: 100, maxParallelRetries: 3}
    south: *out
---
apiVersion: cellway.dev/v1alpha1
kind: ExternalService
metadata: {name: card-processor}
spec:
  allow: {cells: [payments]}
  hosts: [api.cards.example]
  ports: [{port: 80, protocol: HTTP}]
  http: {rules: [{methods: [POST], pathPrefix: /v1/charges}, {methods: [GET], pathPrefix: /v1/charges}]}
---
apiVersion: cellway.dev/v1alpha1
kind: ExternalService
metadata: {name: mailer}
spec:
  hosts: [api.mail.example]
  ports: [{port: 80, protocol: HTTP}]
"""

STOREFRONT = """
apiVersion: cellway.dev/v1alpha1
kind: Cell
metadata: {name: storefront}
spec:
  components:
  - name: web
    endpoints: [{name: http, protocol: HTTP, port: 3000, visibility: [public]}]
  - name: bff
    endpoints: [{name: http, protocol: HTTP, port: 3000, basePath: /api, visibility: [public]}]
  dependencies:
  - {name: orders, cell: orders, component: api, endpoint: http}
  - {name: catalog, cell: orders, component: catalog, endpoint: http}
  gateways: {north: {hostnames: [shop.example.com]}}
"""

ORDERS = """
apiVersion: cellway.dev/v1alpha1
kind: Cell
metadata: {name: orders}
spec:
  components:
  - name: api
    endpoints:
    - {name: http, protocol: HTTP, port: 3000, basePath: /v1, visibility: [organization, public], allow: {cells: [storefront]}}
  - name: api-next
    endpoints: [{name: http, protocol: HTTP, port: 3000, basePath: /v1}]
  - name: catalog
    endpoints: [{name: http, protocol: HTTP, port: 3000, visibility: [organization]}]
  - name: worker
  dependencies:
  - {name: payments, cell: payments, component: api, endpoint: http}
  - {name: mailer, external: mailer}
  gateways: {north: {hostnames: [api.shop.example.com]}}
"""

PAYMENTS = """
apiVersion: cellway.dev/v1alpha1
kind: Cell
metadata: {name: payments}
spec:
  components:
  - name: api
    endpoints: [{name: http, protocol: HTTP, port: 3000, visibility: [organization], allow: {cells: [orders]}}]
  dependencies:
  - {name: card-processor, external: card-processor}
"""

BINDINGS = """
apiVersion: cellway.dev/v1alpha1
kind: CellBinding
metadata: {name: storefront-dev}
spec:
  cell: storefront
  stage: dev
  address: ADDR.0
  endpoints: {web.http: [{address: ADDR.101}], bff.http: [{address: ADDR.102}]}
---
apiVersion: cellway.dev/v1alpha1
kind: CellBinding
metadata: {name: orders-dev}
spec:
  cell: orders
  stage: dev
  address: ADDR.16
  endpoints: {api.http: [{address: ADDR.111}], api-next.http: [{address: ADDR.112}], catalog.http: [{address: ADDR.113}]}
  overrides: {externals: {mailer: {endpoints: [{address: ADDR.131, port: 3000}]}}}
---
apiVersion: cellway.dev/v1alpha1
kind: CellBinding
metadata: {name: payments-dev}
spec:
  cell: payments
  stage: dev
  address: ADDR.32
  endpoints: {api.http: [{address: ADDR.121}]}
  overrides: {externals: {card-processor: {endpoints: [{address: ADDR.132, port: 3000}]}}}
"""

POLICIES = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: orders-public, namespace: orders}
spec:
  targetRefs: [{group: cellway.dev, kind: Cell, name: orders, sectionName: north.api.http}]
  jwt: {providers: [{name: acme-idp, claimToHeaders: [{claim: sub, header: x-user-sub}]}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: orders-quota, namespace: storefront}
spec:
  targetRefs: [{group: cellway.dev, kind: Cell, name: storefront, sectionName: east.orders}]
  rateLimit: {local: {rules: [{limit: {requests: 60, unit: Minute}}]}}
"""

CANARY = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: orders-canary, namespace: orders}
spec:
  parentRefs: [{group: cellway.dev, kind: Cell, name: orders, sectionName: west.api.http}]
  rules:
  - backendRefs:
    - {group: cellway.dev, kind: Endpoint, name: api.http, weight: 90}
    - {group: cellway.dev, kind: Endpoint, name: api-next.http, weight: 10}
"""

SERVERS = {
    "web": 101, "bff": 102, "api": 111, "api-next": 112, "catalog": 113, "payments-api": 121, "mail": 131, "cards": 132,
}  # fmt: skip
NORTH, WEST, EAST, SOUTH = 1, 2, 3, 4
BASES = {"storefront": 0, "orders": 16, "payments": 32}
PORTS = {NORTH: 8080, WEST: 15443, EAST: 15001, SOUTH: 15002}


def write_shop(cellway: Cellway, *, quota: bool = True) -> None:
    """All files of the shop, one a thing."""
    cellway.write("organization.yaml", ORGANIZATION.replace("KEYSET", jwks()))
    cellway.write("cells/storefront.yaml", STOREFRONT)
    cellway.write("cells/orders.yaml", ORDERS)
    cellway.write("cells/payments.yaml", PAYMENTS)
    cellway.write("bindings.yaml", BINDINGS)
    documents = POLICIES.split("---\n")
    cellway.write("policies.yaml", POLICIES if quota else documents[0])


def start_servers(cellway: Cellway) -> None:
    """One server for every component and external service."""
    for name, number in SERVERS.items():
        cellway.upstream(number, name=name)


def door(cellway: Cellway, cell: str, direction: int) -> tuple[str, int]:
    """Address and port of one gateway of a cell."""
    return cellway.block.address(BASES[cell] + direction), PORTS[direction]


def url(cellway: Cellway, cell: str, direction: int, path: str = "/") -> str:
    """The URL of one gateway of a cell."""
    address, port = door(cellway, cell, direction)
    return f"http://{address}:{port}{path}"
