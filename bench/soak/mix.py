"""Every kind of edit, one after the other, under load: of routes, clusters, listeners and certificates, in both protocols."""

from __future__ import annotations

import ssl
import time
from collections import Counter
from contextlib import ExitStack
from functools import partial
from textwrap import indent

from bench.soak.envoys import Elsewhere, envoys
from bench.soak.rig import Row, broken_rules, rig, told
from tests.e2e.certificates import Authority
from tests.e2e.load import Load
from tests.e2e.running import Cellway

_HOST = "web.example"
_GATEWAYS = {"delta": 1, "full": 2}
"""The number of each gateway's address: one Envoy speaks delta, one the state of the world."""
_GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: NAME}
spec:
  addresses: [{type: IPAddress, value: ADDR.NUMBER}]
  listeners:
  - {name: http, protocol: HTTP, port: 8080}
  - {name: https, protocol: HTTPS, port: 8443, tls: {certificateRefs: [{name: cert}]}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {name: NAME}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: NAME}]
  headers: {earlyRequestHeaders: {set: [{name: x-early, value: "EDIT"}]}}
"""
_ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: delta}, {name: full}]
  hostnames: [web.example]
  rules:
  - filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-edit, value: "EDIT"}]}}]
    backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: TARGET}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: TARGET}
spec: {endpoints: [{ip: {address: ADDR.SERVER, port: 3000}}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: web}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}]
  circuitBreaker: {maxPendingRequests: PENDING}
"""
CERTIFICATE = """
apiVersion: v1
kind: Secret
metadata: {name: cert}
type: kubernetes.io/tls
stringData:
  tls.crt: |
CHAIN
  tls.key: |
KEY
"""


class _World:
    """The files, and how often each kind of edit was made."""

    def __init__(self, cellway: Cellway) -> None:
        self.cellway, self.authority = cellway, Authority()
        self.target, self.server, self.pending, self.edit = "first", 11, 1000, 0
        self.made: Counter[str] = Counter()

    def routes(self) -> None:
        text = _ROUTE.replace("EDIT", str(self.edit)).replace("TARGET", self.target)
        text = text.replace("SERVER", str(self.server)).replace("PENDING", str(self.pending))
        self.cellway.write("web.yaml", text)

    def listeners(self) -> None:
        for name, number in _GATEWAYS.items():
            text = _GATEWAY.replace("NAME", name).replace("NUMBER", str(number)).replace("EDIT", str(self.edit))
            self.cellway.write(f"{name}.yaml", text)

    def certificate(self) -> None:
        chain, key = self.authority.issue(_HOST)
        self.cellway.write(
            "cert.yaml", CERTIFICATE.replace("CHAIN", indent(chain, "    ")).replace("KEY", indent(key, "    "))
        )

    def change(self) -> None:
        """The next edit of the five kinds in turn."""
        self.edit += 1
        kinds = ("route", "cluster replaced", "cluster edited", "listener", "certificate")
        kind = kinds[self.edit % len(kinds)]
        if kind == "route":
            self.server = 23 - self.server
        elif kind == "cluster replaced":
            self.target = f"next-{self.edit}"
        elif kind == "cluster edited":
            self.pending = 1000 + self.edit
        {"listener": self.listeners, "certificate": self.certificate}.get(kind, self.routes)()
        self.cellway.wait()
        self.made[kind] += 1


def mix(seconds: float) -> Row:
    """G1: edits of every kind as fast as they take effect, while both Envoys are asked, with TLS and without."""
    with rig("--no-envoy", prepared=False) as cellway, ExitStack() as held:
        world = _World(cellway)
        for write in (world.routes, world.listeners, world.certificate):
            write()
        for number in (11, 12):
            cellway.upstream(number)
        cellway.start()
        kinds = (Elsewhere(f"default/{name}", delta=name == "delta") for name in _GATEWAYS)
        admins = held.enter_context(envoys(cellway, *kinds))
        tls = ssl.create_default_context(cadata=world.authority.certificate)
        loads = [
            held.enter_context(load())
            for number in _GATEWAYS.values()
            for load in (
                partial(Load, cellway.block.address(number), 8080, _HOST, rate=400.0),
                partial(Load, cellway.block.address(number), 8443, _HOST, rate=20.0, kept=False, tls=tls),
            )
        ]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            world.change()
        failures = sum((Counter(load.failures()) for load in loads), Counter())
        broken = broken_rules(cellway, elsewhere=admins)
        total = sum(load.total for load in loads)
    kinds_made = ", ".join(f"{count} {kind}" for kind, count in world.made.items())
    words = f": {', '.join(f'{count} {name}' for name, count in failures.items())}" if failures else ""
    measured = (
        f"{world.edit:,} edits ({kinds_made}), {failures.total()} of {total:,} requests failed{words}{told(broken)}"
    )
    return Row("G1 every kind of edit", measured, not failures and not broken)
