"""Twenty Envoys refuse a listener of one file, while other files are edited."""

from __future__ import annotations

import socket
import statistics
import time
from functools import partial

import httpx

from bench.soak.acks import last_of_envoys, late
from bench.soak.envoys import Elsewhere, envoys
from bench.soak.rig import Row, broken_rules, rig, told, until
from tests.e2e.running import Cellway
from tests.e2e.test_live import GATEWAY, route

_ENVOYS, _FILES, _EDITS = 20, 50, 5
_GOOD = "listeners: [{name: http, protocol: HTTP, port: 8080}]"
_BAD = """listeners:
  - {name: http, protocol: HTTP, port: 8080}
  - {name: busy, protocol: HTTP, port: 8081}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {name: busy}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge, sectionName: busy}]
  headers: {earlyRequestHeaders: {set: [{name: x-version, value: version-EDIT}]}}"""


def refused(seconds: float) -> Row:
    """G5: a port that somebody else has, in new versions; other files are edited after each."""
    waits: list[float] = []
    edit = versions = 0
    with rig("--no-envoy", prepared=False) as cellway, socket.socket() as busy:
        busy.bind((cellway.block.address(1), 8081))
        busy.listen()
        cellway.write("gateway.yaml", GATEWAY)
        for number in range(_FILES - 1):
            cellway.write(f"routes/{number}.yaml", route(f"web-{number}"))
        cellway.start()
        with envoys(cellway, *[Elsewhere("default/edge")] * _ENVOYS) as admins:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                versions += 1
                cellway.write("gateway.yaml", GATEWAY.replace(_GOOD, _BAD.replace("EDIT", str(versions))))
                until(partial(_has_version, cellway, versions))
                for _ in range(_EDITS):
                    edit += 1
                    saved = time.time()
                    cellway.write(f"routes/{edit % (_FILES - 1)}.yaml", route(f"web-{edit % (_FILES - 1)}", edit))
                    until(partial(_has_edit, admins[-1], edit))
                    waits.append(last_of_envoys(cellway) - saved)
            counts = [_refusals(admin) for admin in admins]
            cellway.write("gateway.yaml", GATEWAY)
            cellway.wait()
            broken = broken_rules(cellway, "update_rejected", elsewhere=admins)
    most = late(waits)
    middle = statistics.median(waits)
    measured = (
        f"{versions} versions of a bad listener were refused {min(counts)} to {max(counts)} times by each of {_ENVOYS} Envoys; "
        f"{edit} edits of other files reached all of them within {middle * 1000:.0f} ms (median), "
        f"{most * 1000:.0f} ms (p99){told(broken)}"
    )
    return Row("G5 a listener is refused", measured, 0 < max(counts) <= versions and most <= 0.5 and not broken)


def _has_version(cellway: Cellway, version: int) -> bool:
    """Whether this bad version is what is wanted."""
    return f"version-{version}'" in str(cellway.api("objects"))


def _has_edit(admin: str, edit: int) -> bool:
    """Whether an Envoy has it. When it took it, and when the others did, is known by the server."""
    return (
        f'"value": "{edit}"' in httpx.get(f"http://{admin}/config_dump?resource=dynamic_route_configs", timeout=30).text
    )


def _refusals(admin: str) -> int:
    lines = httpx.get(f"http://{admin}/stats?filter=lds.update_rejected", timeout=30).text.splitlines()
    return sum(int(line.rpartition(" ")[2]) for line in lines)
