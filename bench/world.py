"""Policies for measurements: texts of documents, and so many routes on one gateway, with backends and policies.

In: how many routes. Out: files on disk, a hundred documents in each. Ten routes share a host and a backend; each has a match of
its own, a filter and a timeout; every hundredth has a policy.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

PER_FILE = 100
CLASS = """\
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata:
  name: cellway
spec:
  controllerName: cellway.dev/gateway-controller
"""
_GATEWAY = """\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: {name}
spec:
  gatewayClassName: cellway
  addresses:
    - type: IPAddress
      value: 127.0.0.1
  listeners:
"""
_LISTENER = """\
    - name: {name}
      protocol: HTTP
      port: {port}
"""
_BACKEND = """\
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata:
  name: {name}
spec:
  endpoints:
    - ip:
        address: 127.0.0.1
        port: {port}
"""
_ROUTE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: {name}
spec:
  parentRefs:
    - name: {gateway}
{section}  hostnames:
    - {host}
  rules:
    - matches:
        - path:
            type: PathPrefix
            value: {path}
      filters:
        - type: ResponseHeaderModifier
          responseHeaderModifier:
            set:
{headers}      timeouts:
        request: 10s
      backendRefs:
        - group: gateway.envoyproxy.io
          kind: Backend
          name: {backend}
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


@dataclass(frozen=True)
class Route:
    """What a route says. `section` is a listener of its gateway, if it is for one alone; `headers` are set in answers."""

    name: str
    gateway: str
    backend: str
    host: str
    path: str
    headers: Mapping[str, str]
    section: str = ""

    def text(self) -> str:
        """The document."""
        headers = "".join(
            f'              - name: {name}\n                value: "{value}"\n' for name, value in self.headers.items()
        )
        section = f"      sectionName: {self.section}\n" if self.section else ""
        return _ROUTE.format(**vars(self) | {"section": section, "headers": headers})


def gateway(name: str, listeners: Mapping[str, int]) -> str:
    """A Gateway on loopback, with the ports of its listeners."""
    written = (_LISTENER.format(name=one, port=port) for one, port in listeners.items())
    return _GATEWAY.format(name=name) + "".join(written)


def backend(name: str, port: int) -> str:
    """A Backend on loopback."""
    return _BACKEND.format(name=name, port=port)


def write(path: Path, documents: Iterable[str]) -> Path:
    """Write a file of these documents."""
    path.write_text("---\n".join(documents), encoding="utf-8")
    return path


def replace(path: Path, text: str) -> float:
    """Write a file by rename, as careful editors do: when it was renamed."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text, encoding="utf-8")
    began = time.monotonic()
    fresh.replace(path)
    return began


def route(number: int, edit: int = 0) -> str:
    """One route of many. It says `edit` in a response header."""
    host = number // 10
    return Route(
        name=f"route-{number}",
        gateway="bench",
        backend=f"backend-{host}",
        host=f"host-{host}.example.com",
        path=f"/path/{number}",
        headers={"x-route": f"{number} {edit}"},
    ).text()


def routes_file(folder: Path, number: int, per_file: int = PER_FILE) -> Path:
    """The file that holds a route."""
    return folder / f"routes-{number // per_file:05}.yaml"


def write_routes(folder: Path, number: int, routes: int, edit: int = 0, per_file: int = PER_FILE) -> Path:
    """Write the file that holds this route anew, with this edit of it alone."""
    first = number // per_file * per_file
    numbers = range(first, min(first + per_file, routes))
    return write(routes_file(folder, number, per_file), (route(one, edit if one == number else 0) for one in numbers))


def write_backends(folder: Path, routes: int, upstream: int, other: tuple[int, int] = (-1, 0)) -> Path:
    """Write the file of all backends anew. `other` is one of them by its number, and a port for it alone."""
    ports = {other[0]: other[1]}
    numbers = range((routes + 9) // 10)
    return write(folder / "backends.yaml", (backend(f"backend-{one}", ports.get(one, upstream)) for one in numbers))


def write_world(folder: Path, routes: int, port: int = 8080, upstream: int = 9, per_file: int = PER_FILE) -> None:
    """All files. `port` is the gateway's, `upstream` that of all backends, on loopback."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "gateway.yaml", [CLASS, gateway("bench", {"http": port})])
    write_backends(folder, routes, upstream)
    write(folder / "policies.yaml", (_POLICY.format(number=one) for one in range(0, routes, 100)))
    for first in range(0, routes, per_file):
        write_routes(folder, first, routes, per_file=per_file)
