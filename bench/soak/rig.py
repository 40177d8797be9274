"""What the goals share: a server with one Envoy on addresses of its own, a load, and what must hold after every run.

In: a folder for its files. Out: a running rig; rows of the table. A goal says what it measured and whether it was reached;
only `main` decides what that means.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from tests.e2e.load import Load
from tests.e2e.running import Cellway, reserve_block

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  addresses: [{type: IPAddress, value: ADDR.1}]
  listeners: [{name: http, protocol: HTTP, port: 8080}]
"""
BACKENDS = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: one}
spec: {endpoints: [{ip: {address: ADDR.11, port: 3000}}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: two}
spec: {endpoints: [{ip: {address: ADDR.12, port: 3000}}]}
"""
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  rules:
  - filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-edit, value: "EDIT"}]}}]
    backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: TARGET}]
"""


@dataclass(frozen=True)
class Row:
    """What a goal measured, in words, and whether it was reached."""

    goal: str
    measured: str
    reached: bool


def route(edit: object, target: str = "one") -> str:
    """The route, which puts the number of the edit into every answer."""
    return ROUTE.replace("EDIT", str(edit)).replace("TARGET", target)


@contextmanager
def rig(*arguments: str) -> Iterator[Cellway]:
    """A running server, its Envoy and two backends."""
    with TemporaryDirectory(prefix="soak") as folder:
        root = Path(folder)
        (root / "policies").mkdir()
        cellway = Cellway(root / "policies", root / "state", reserve_block(), arguments)
        try:
            cellway.write("gateway.yaml", GATEWAY)
            cellway.write("backends.yaml", BACKENDS)
            cellway.write("web.yaml", route(0))
            cellway.upstream(11, name="one")
            cellway.upstream(12, name="two")
            cellway.start()
            yield cellway
        finally:
            cellway.close()


def load(cellway: Cellway, rate: float) -> Load:
    """So many requests a second."""
    return Load(cellway.block.address(1), 8080, "web.example", rate=rate)


def answer(cellway: Cellway) -> httpx.Response:
    """One more request."""
    return httpx.get(f"http://{cellway.block.address(1)}:8080/", timeout=30)


_NONE = ("init_fetch_timeout", "assignment_use_cached", "update_rejected", "no_route", "no_cluster")


def broken_rules(cellway: Cellway, *expected: str) -> list[str]:
    """What Envoy counted that it never may; `expected` are counters that this goal provokes."""
    found = []
    for proxy in cellway.api("proxies")["items"]:
        stats = httpx.get(f"http://{proxy['admin']}/stats", timeout=30).text
        for line in stats.splitlines():
            name, _, value = line.partition(": ")
            bad = name.rpartition(".")[2] in {one for one in _NONE if one not in expected} and value != "0"
            if bad or (name == "control_plane.connected_state" and value != "1"):
                found.append(f"{name} {value}")
    return found


def told(broken: list[str]) -> str:
    """The rules that were broken, as words."""
    return f"; Envoy counted {', '.join(broken)}" if broken else ""
