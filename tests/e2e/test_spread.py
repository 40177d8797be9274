"""A gateway whose routes are in many tables: changes of its listener cost no request, on new connections or on kept ones.

In: a thousand routes and some more, and policies that change the listener's filters, again and back; routes that go, so
that one table is enough, and come again. Out: failures where a request gets another
answer than its route's.
"""

from __future__ import annotations

import time

import httpx

from tests.e2e.load import Load
from tests.e2e.running import Cellway, ask_envoy

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: local}
spec: {controllerName: cellway.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: local
  addresses: [{type: IPAddress, value: ADDR.1}]
  listeners: [{name: http, protocol: HTTP, port: 8080}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: HTTPRouteFilter
metadata: {name: here}
spec: {directResponse: {statusCode: 200, body: {type: Inline, inline: here}}}
"""
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: web-{number}}}
spec:
  parentRefs: [{{name: edge}}]
  hostnames: [host-{number}.example]
  rules:
  - filters: [{{type: ExtensionRef, extensionRef: {{group: gateway.envoyproxy.io, kind: HTTPRouteFilter, name: here}}}}]
    matches:
{matches}
---"""
FILTERED = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: filtered}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web-0}]
  compression: [{type: TYPE}]
"""
HOSTS = 20


def routes(count: int) -> str:
    """So many routes under 20 hosts."""
    paths = ["/", *(f"/path/{number}" for number in range(1, count // HOSTS))]
    matches = "\n".join(f"    - path: {{value: {path}}}" for path in paths)
    return "\n".join(ROUTE.format(number=number, matches=matches) for number in range(HOSTS))


def until_scopes(cellway: Cellway, there: bool) -> None:
    """Wait until Envoy has scopes, or see that it has, for a listener that is not its first."""
    admin = cellway.api("proxies")["items"][0]["admin"]
    deadline = time.monotonic() + 20
    while ("active_scopes: " in ask_envoy(admin, "/stats?filter=active_scopes").text) != there:
        assert time.monotonic() < deadline, cellway.log()
        time.sleep(0.05)


def new_route_is_there(cellway: Cellway) -> None:
    """A route of a new host is in force, and its way is explained."""
    cellway.write("new.yaml", ROUTE.format(number=99, matches="    - path: {value: /}"))
    cellway.wait()
    deadline = time.monotonic() + 20
    address = f"http://{cellway.block.address(1)}:8080"
    while httpx.get(address, headers={"host": "host-99.example"}).status_code != 200:
        assert time.monotonic() < deadline, cellway.log()
        time.sleep(0.05)
    assert "web-99" in str(cellway.api("explain?url=http://host-99.example/&gateway=default/edge"))


def test_changes_of_a_large_gateway_cost_no_request(cellway: Cellway) -> None:
    cellway.write("gateway.yaml", GATEWAY)
    cellway.write("routes.yaml", routes(400))
    cellway.start()
    until_scopes(cellway, there=False)
    address = cellway.block.address(1)
    hosts = [(f"host-{number}.example", kept) for number in (3, 4) for kept in (True, False)]
    loads = [Load(address, 8080, name, rate=80, connections=1, kept=kept) for name, kept in hosts]
    with loads[0], loads[1], loads[2], loads[3]:
        cellway.write("routes.yaml", routes(1_100))
        cellway.wait()
        until_scopes(cellway, there=True)
        new_route_is_there(cellway)
        for filters in ("Gzip", "Brotli", "Gzip"):
            cellway.write("filtered.yaml", FILTERED.replace("TYPE", filters))
            cellway.wait()
        for count in (400, 1_100):
            cellway.write("routes.yaml", routes(count))
            cellway.wait()
        for load in loads:
            load.lasts(0.3)
    for load in loads:
        assert load.failures() == {}
        assert load.total
