"""The time from saving a policy file, by rename, to the last ACK of many streams: a real `cellway serve`, a route of 200.

In: how many streams. Out: seconds of each save, for a change of a small route table and of one of a megabyte. The save begins
when the new file is renamed to its place; the last ACK is the moment when the last client writes it.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.workers import crowd
from xds_server.envoy_api.envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest
from xds_server.snapshot.resource import ROUTES

ROUTES_IN_ALL = 200
SAVES = 20
_FILLER = 2_600
_WORLD = """\
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
  listeners:
    - name: small
      protocol: HTTP
      port: 8081
    - name: large
      protocol: HTTP
      port: 8082
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata:
  name: backend
spec:
  endpoints:
    - ip:
        address: 127.0.0.1
        port: 9
"""
_ROUTE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: route-{number}
spec:
  parentRefs:
    - name: bench
      sectionName: {listener}
  rules:
    - matches:
        - path:
            type: PathPrefix
            value: /path/{number}
      filters:
        - type: ResponseHeaderModifier
          responseHeaderModifier:
            set:
              - name: x-edit
                value: "{edit} {filler}"
              - name: x-more
                value: "{filler}"
      backendRefs:
        - group: gateway.envoyproxy.io
          kind: Backend
          name: backend
"""


def save(folder: Path, number: int, edit: int) -> float:
    """Write a route by rename: when."""
    large = number > 0
    text = _ROUTE.format(
        number=number,
        edit=edit,
        listener="large" if large else "small",
        filler="x" * (_FILLER if large else 100),
    )
    path = folder / f"route-{number}.yaml"
    fresh = folder / f".route-{number}.new"
    fresh.write_text(text, encoding="utf-8")
    began = time.monotonic()
    fresh.replace(path)
    return began


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


@dataclass(frozen=True)
class Running:
    """A server: its xDS port, its admin port and its process."""

    port: int
    admin: int
    pid: int


@contextmanager
def server(folder: Path) -> Iterator[Running]:
    """`cellway serve` on a folder."""
    port, admin = free_port(), free_port()
    command = [sys.executable, "-m", "xds_server.cli.main", "serve", str(folder)]
    command += ["--admin", f"127.0.0.1:{admin}", "--xds", f"127.0.0.1:{port}", "--xds-insecure"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not _is_ready(admin):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("cellway serve does not start")
            time.sleep(0.05)
        yield Running(port, admin, process.pid)
    finally:
        process.terminate()
        process.wait()


def _is_ready(admin: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{admin}/readyz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def saves(streams: int) -> Iterator[tuple[str, list[float]]]:
    """The seconds of each save."""
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        folder = Path(name)
        (folder / "world.yaml").write_text(_WORLD, encoding="utf-8")
        for number in range(ROUTES_IN_ALL):
            save(folder, number, 0)
        with server(folder) as served, crowd(f"127.0.0.1:{served.port}") as clients:
            asked = DeltaDiscoveryRequest(type_url=ROUTES, resource_names_subscribe=["*"])
            clients.connect(streams, [asked.SerializeToString()], "default/bench")
            clients.until(1)
            responses = 1
            for size, number in (("1 KB", 0), ("1 MB", 100)):
                seconds = []
                for edit in range(1, SAVES + 1):
                    responses += 1
                    clients.expect(responses)
                    began = save(folder, number, edit)
                    last = max(float(one["last"]) for one in clients.answers())
                    seconds.append(last - began)
                yield size, seconds
