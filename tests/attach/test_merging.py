"""Policies of two namespaces that are merged: whose references they are."""

from __future__ import annotations

import pytest

from tests.documents import compiled
from xds_server.compile import Compiled
from xds_server.features.ext_auth import ExtAuth
from xds_server.graph import Respond

WORLD = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: infra}
spec: {listeners: [{name: http, protocol: HTTP, port: 80, allowedRoutes: {namespaces: {from: All}}}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: team}
spec:
  parentRefs: [{name: edge, namespace: infra}]
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: up}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: up, namespace: team}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: 1}}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: up, namespace: infra}
spec: {endpoints: [{ip: {address: 127.0.0.2, port: 2}}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: all, namespace: infra}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  extAuth:
    grpc: {PARENT}
    contextExtensions: [{name: who, type: ValueRef, valueRef: {name: texts, kind: ConfigMap, key: who}}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: web, namespace: team}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}]
  mergeType: StrategicMerge
  extAuth:
    grpc: {CHILD}
    contextExtensions: [{name: own, type: ValueRef, valueRef: {name: texts, kind: ConfigMap, key: who}}]
"""
MAP = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: texts, namespace: NAME}\ndata: {who: NAME}\n"
ONE = "{group: gateway.envoyproxy.io, kind: Backend, name: up}"
LIST = f"backendRefs: [{ONE}]"


def merged(parent: str, child: str, *namespaces: str) -> Compiled:
    text = WORLD.replace("PARENT", parent).replace("CHILD", child)
    return compiled(text + "".join(MAP.replace("NAME", name) for name in namespaces))


def asked(result: Compiled) -> list[str]:
    """The addresses that are asked."""
    backend = ext_auth(result).backend
    assert backend is not None
    return [one.address for one in backend.endpoints]


def ext_auth(result: Compiled) -> ExtAuth:
    (chain,) = result.gateways[0].ports[0].http_chains
    setting = chain.hosts[0].routes[0].setting("ext_auth")
    assert setting is not None
    assert isinstance(setting.value, ExtAuth)
    return setting.value


def test_each_reference_leads_where_it_was_written() -> None:
    found = merged(LIST, LIST, "infra", "team")
    assert found.diagnostics == ()
    assert dict(ext_auth(found).context) == {"own": "team", "who": "infra"}
    assert asked(found) == ["127.0.0.1"]


def test_half_of_a_reference_is_none() -> None:
    far = f"backendRef: {ONE[:-1]}, namespace: infra}}"
    near = f"backendRef: {ONE}"
    found = merged(far, near, "infra", "team")
    assert found.diagnostics == ()
    assert asked(found) == ["127.0.0.1"]


@pytest.mark.parametrize(("there", "line"), [("team", 31), ("infra", 41)])
def test_what_leads_nowhere_there_is_told_there_and_closes_the_route(there: str, line: int) -> None:
    found = merged(LIST, LIST, there)
    places = {(one.code, one.span.line if one.span else 0) for one in found.diagnostics}
    assert places == {("A105", line)}
    (chain,) = found.gateways[0].ports[0].http_chains
    assert [route.action for host in chain.hosts for route in host.routes] == [Respond(500)]
