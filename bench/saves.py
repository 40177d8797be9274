"""The time from saving a policy file, by rename, to the last ACK of many streams: a real `cellway serve`, a route of 200.

In: how many streams, and how many processes serve them. Out: seconds of each save, for a change of a small route table and of
one of a megabyte. The save begins when the new file is renamed to its place; the last ACK is the moment when the last client
writes it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.serving import server
from bench.workers import crowd
from bench.world import CLASS, Route, backend, gateway, replace, write
from xds_server.envoy_api.envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest
from xds_server.snapshot.resource import ROUTES

ROUTES_IN_ALL = 200
SAVES = 20
_FILLER = 2_600


def save(folder: Path, number: int, edit: int) -> float:
    """Write a route by rename: when. All but the first are on the large listener, with headers that fill a megabyte."""
    filler = "x" * (_FILLER if number else 100)
    one = Route(
        name=f"route-{number}",
        gateway="bench",
        section="large" if number else "small",
        backend="backend",
        host="host.example.com",
        path=f"/path/{number}",
        headers={"x-edit": f"{edit} {filler}", "x-more": filler},
    )
    return replace(folder / f"route-{number}.yaml", one.text())


def saves(streams: int, workers: int = 1) -> Iterator[tuple[str, list[float]]]:
    """The seconds of each save."""
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        folder = Path(name)
        gateways = gateway("bench", {"small": 8081, "large": 8082})
        write(folder / "world.yaml", [CLASS, gateways, backend("backend", 9)])
        for number in range(ROUTES_IN_ALL):
            save(folder, number, 0)
        with server(folder, workers) as served, crowd(f"127.0.0.1:{served.port}") as clients:
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
