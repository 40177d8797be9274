"""West: what a cell asks of other cells beyond being allowed: tokens, scopes, and paths that need neither."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from tests.e2e import shop
from tests.e2e.running import Cellway
from tests.e2e.shop import EAST, url
from tests.e2e.tokens import bearer

SCOPES = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: orders-west, namespace: orders}
spec:
  targetRefs: [{group: cellway.dev, kind: Cell, name: orders, sectionName: west.api.http}]
  jwt: {providers: [{name: acme-idp}]}
  authorization:
    defaultAction: Deny
    rules:
    - name: read
      action: Allow
      operation: {methods: [GET]}
      principal: {jwt: {provider: acme-idp, scopes: [orders.read]}}
    - name: write
      action: Allow
      operation: {methods: [POST]}
      principal: {jwt: {provider: acme-idp, scopes: [orders.write]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: catalog-paths, namespace: orders}
spec:
  parentRefs: [{group: cellway.dev, kind: Cell, name: orders, sectionName: west.catalog.http}]
  rules:
  - name: public
    matches: [{path: {value: /public}}]
    backendRefs: [{group: cellway.dev, kind: Endpoint, name: catalog.http}]
  - name: members
    backendRefs: [{group: cellway.dev, kind: Endpoint, name: catalog.http}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: catalog-members, namespace: orders}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: catalog-paths, sectionName: members}]
  jwt: {providers: [{name: acme-idp, claimToHeaders: [{claim: sub, header: x-user-sub}]}]}
"""


@pytest.fixture(scope="module")
def cells(shared: Callable[..., Cellway]) -> Cellway:
    running = shared()
    shop.write_shop(running, quota=False)
    running.write("west.yaml", SCOPES)
    shop.start_servers(running)
    running.start()
    return running


def call(cells: Cellway, host: str, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    """A request of the storefront to a component of orders."""
    named = {"Host": f"{host}.orders.cell.internal", **headers}
    return httpx.request(method, url(cells, "storefront", EAST, path), headers=named, timeout=10)


@pytest.mark.parametrize(
    ("method", "scope", "status"),
    [
        ("GET", "orders.read", 200),
        ("POST", "orders.read", 403),
        ("POST", "orders.read orders.write", 200),
        ("DELETE", "orders.read orders.write", 403),
    ],
)
def test_scopes_decide_which_methods_a_caller_may_use(cells: Cellway, method: str, scope: str, status: int) -> None:
    answer = call(cells, "api", "/v1/orders", method, **bearer(scope=scope))
    assert answer.status_code == status, answer.text
    if status == 403:
        assert answer.text == "RBAC: access denied"


def test_a_caller_that_is_allowed_still_needs_the_token(cells: Cellway) -> None:
    answer = call(cells, "api", "/v1/orders")
    assert (answer.status_code, answer.text) == (401, "Jwt is missing")


def test_a_path_that_is_public_needs_no_token_and_no_name_is_believed_there(cells: Cellway) -> None:
    spoofed = {"x-user-sub": "root", "x-user-role": "admin"}
    answer = call(cells, "catalog", "/public/list", **spoofed)
    assert answer.status_code == 200
    assert not {name for name in answer.json()["headers"] if name.startswith("x-user-")}
    assert call(cells, "catalog", "/private", **spoofed).status_code == 401
    known = call(cells, "catalog", "/private", **spoofed, **bearer(sub="user-7"))
    assert known.status_code == 200, known.text
    assert {name: text for name, text in known.json()["headers"].items() if name.startswith("x-user-")} == {
        "x-user-sub": "user-7"
    }
