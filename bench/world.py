"""Policies for measurements: so many routes on one gateway, with backends and policies, in files of a hundred.

In: how many routes. Out: files on disk. Ten routes share a host and a backend; each has a match of its own, a filter and
a timeout; every hundredth has a policy.
"""

from __future__ import annotations

from pathlib import Path

PER_FILE = 100
_GATEWAY = """\
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata:
  name: cellway
spec:
  controllerName: cellway.dev/gateway-controller
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: bench
spec:
  gatewayClassName: cellway
  addresses:
    - type: IPAddress
      value: 127.0.0.1
  listeners:
    - name: http
      protocol: HTTP
      port: {port}
"""
_BACKEND = """\
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata:
  name: backend-{number}
spec:
  endpoints:
    - ip:
        address: {address}
        port: {port}
"""
_ROUTE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: route-{number}
spec:
  parentRefs:
    - name: bench
  hostnames:
    - host-{host}.example.com
  rules:
    - matches:
        - path:
            type: PathPrefix
            value: /path/{number}
      filters:
        - type: ResponseHeaderModifier
          responseHeaderModifier:
            set:
              - name: x-route
                value: "{number} {edit}"
      timeouts:
        request: 10s
      backendRefs:
        - group: gateway.envoyproxy.io
          kind: Backend
          name: backend-{host}
"""
_POLICY = """\
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata:
  name: policy-{number}
spec:
  targetRefs:
    - group: gateway.networking.k8s.io
      kind: HTTPRoute
      name: route-{number}
  cors:
    allowOrigins:
      - https://app-{number}.example.com
    allowMethods: [GET, POST]
"""


def route(number: int, edit: int = 0) -> str:
    """One route. It says `edit` in a response header."""
    return _ROUTE.format(number=number, host=number // 10, edit=edit)


def routes_file(folder: Path, number: int) -> Path:
    """The file that holds a route."""
    return folder / f"routes-{number // PER_FILE:05}.yaml"


def write_routes(folder: Path, number: int, routes: int, edit: int = 0) -> Path:
    """Write the file that holds this route anew, with this edit of it alone."""
    first = number // PER_FILE * PER_FILE
    numbers = range(first, min(first + PER_FILE, routes))
    path = routes_file(folder, number)
    path.write_text("---\n".join(route(one, edit if one == number else 0) for one in numbers), encoding="utf-8")
    return path


def write_backends(folder: Path, routes: int, upstream: int, other: tuple[int, int] = (-1, 0)) -> Path:
    """Write the file of all backends anew. `other` is one of them by its number, and a port for it alone."""
    ports = {other[0]: other[1]}
    numbers = range((routes + 9) // 10)
    texts = (_BACKEND.format(number=one, address="127.0.0.1", port=ports.get(one, upstream)) for one in numbers)
    path = folder / "backends.yaml"
    path.write_text("---\n".join(texts), encoding="utf-8")
    return path


def write_world(folder: Path, routes: int, port: int = 8080, upstream: int = 9) -> None:
    """All files. `port` is the gateway's, `upstream` that of all backends, on loopback."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gateway.yaml").write_text(_GATEWAY.format(port=port), encoding="utf-8")
    write_backends(folder, routes, upstream)
    policies = (_POLICY.format(number=one) for one in range(0, routes, 100))
    (folder / "policies.yaml").write_text("---\n".join(policies), encoding="utf-8")
    for first in range(0, routes, PER_FILE):
        write_routes(folder, first, routes)
