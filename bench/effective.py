"""From a saved file to the first request that sees it: a real server, a real Envoy, by number of routes.

In: `--routes`, sizes of worlds, and `--edits`, edits of each kind. Out: a table for one edited route and one for one edited
endpoint: from rename to request, from sending to acknowledgement, and what processors spent on it in the server and in
Envoy's main thread, with ratios to the smallest world; and how often was looked. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import httpx

from bench.world import write_backends, write_routes, write_world
from tests.e2e.running import Cellway, reserve_block
from tests.e2e.upstream import Upstream

_PAUSE = 0.001
_PATIENCE = 60.0
_PUSH = r'cellway_push_ack_seconds_(sum|count)\{type="%s"\} (\S+)'
Look = Callable[[], str]


@dataclass
class Taken:
    """Seconds of every edit of one kind in one world. `looks`: how long one look and its pause took."""

    seen: list[float] = field(default_factory=list)
    acknowledged: list[float] = field(default_factory=list)
    looks: list[float] = field(default_factory=list)
    server: float = 0.0
    envoy: float = 0.0


@dataclass
class Rig:
    """A server and its Envoy in a world of so many routes."""

    cellway: Cellway
    routes: int
    port: int
    upstreams: tuple[Upstream, Upstream]

    def server(self) -> float:
        """Seconds of a processor that the server has used, with threads that have ended: its clock in Linux."""
        assert self.cellway.process is not None
        return time.clock_gettime((~self.cellway.process.pid << 3) | 2)

    def taker(self) -> float:
        """The same of Envoy's main thread, which takes configuration."""
        ran = (self.envoy / "task" / self.envoy.name / "schedstat").read_text(encoding="ascii")
        return int(ran.split()[0]) / 1e9

    @cached_property
    def envoy(self) -> Path:
        """The folder of Envoy's process: its command names the state folder of its server."""
        state = str(self.cellway.state).encode()
        commands = ((one, _command(one)) for one in Path("/proc").glob("[0-9]*"))
        return next(one for one, words in commands if words[0].endswith(b"envoy") and state in b" ".join(words))

    def pushes(self, kind: str) -> tuple[float, float]:
        """Seconds from sending to acknowledgement, all together, and how many responses that were."""
        text = httpx.get(f"{self.cellway.admin}/metrics", timeout=60).text
        found = dict(re.findall(_PUSH % kind, text))
        return float(found.get("sum", 0)), float(found.get("count", 0))


def _command(process: Path) -> list[bytes]:
    try:
        return (process / "cmdline").read_bytes().split(b"\0")
    except OSError:  # it has ended meanwhile
        return [b""]


def look_for(rig: Rig, header: str) -> Look:
    """A look at the route in the middle, on one connection: what a header of the answer says, or who answers."""
    middle = rig.routes // 2
    connection = http.client.HTTPConnection("127.0.0.1", rig.port, timeout=_PATIENCE)
    headers = {"Host": f"host-{middle // 10}.example.com"}

    def look() -> str:
        connection.request("GET", f"/path/{middle}", headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        return answer.getheader(header) or str(json.loads(body)["server"])

    return look


def measure(rig: Rig, kind: str, look: Look, edits: Sequence[tuple[Path, Path, str]]) -> Taken:
    """Rename each file to its place, and look until an answer has its text."""
    taken = Taken()
    look()
    for fresh, place, text in edits:
        seconds, count = rig.pushes(kind)
        server, taker = rig.server(), rig.taker()
        began = looked = time.monotonic()
        fresh.replace(place)
        while look() != text:
            time.sleep(_PAUSE)
            now = time.monotonic()
            taken.looks.append(now - looked)
            looked = now
            if now - began > _PATIENCE:
                raise TimeoutError(f"{place.name}: no answer says {text!r}")
        taken.seen.append(time.monotonic() - began)
        taken.server += rig.server() - server
        taken.envoy += rig.taker() - taker
        while (now_count := rig.pushes(kind))[1] == count:
            time.sleep(_PAUSE)
        taken.acknowledged.append((now_count[0] - seconds) / (now_count[1] - count))
    return taken


def world(routes: int, edits: int) -> tuple[Taken, Taken]:
    """Edited routes, and edited endpoints, in one world."""
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        root = Path(name)
        cellway = Cellway(root / "policies", root / "state", reserve_block())
        try:
            one, two = (Upstream(name, "127.0.0.1", 0) for name in ("one", "two"))
            cellway.upstreams += [one, two]
            one.start()
            two.start()
            rig = Rig(cellway, routes, _free_port(), (one, two))
            write_world(root / "policies", routes, rig.port, one.port)
            cellway.start()
            return _routes(rig, root, edits), _endpoints(rig, root, edits)
        finally:
            cellway.close()


def _routes(rig: Rig, root: Path, edits: int) -> Taken:
    middle = rig.routes // 2
    files = []
    for edit in range(1, edits + 1):
        (folder := root / f"edit-{edit}").mkdir()
        fresh = write_routes(folder, middle, rig.routes, edit)
        files.append((fresh, root / "policies" / fresh.name, f"{middle} {edit}"))
    return measure(rig, "RouteConfiguration", look_for(rig, "x-route"), files)


def _endpoints(rig: Rig, root: Path, edits: int) -> Taken:
    files = []
    for edit in range(1, edits + 1):
        (folder := root / f"endpoint-{edit}").mkdir()
        chosen = rig.upstreams[edit % 2]
        fresh = write_backends(folder, rig.routes, rig.upstreams[0].port, (rig.routes // 20, chosen.port))
        files.append((fresh, root / "policies" / fresh.name, chosen.name))
    return measure(rig, "ClusterLoadAssignment", look_for(rig, ""), files)


def _free_port() -> int:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return int(chosen.getsockname()[1])


def show(what: str, found: dict[int, Taken]) -> None:
    """A table."""
    print(f"one edited {what}, ms".ljust(44) + "".join(f"{routes:>10,}" for routes in found))
    rows: dict[str, Callable[[Taken], float]] = {
        "save to effect, p50": lambda one: statistics.median(one.seen),
        "save to effect, p99": lambda one: _percentile(one.seen),
        "sent to acknowledged, p50": lambda one: statistics.median(one.acknowledged),
        "sent to acknowledged, p99": lambda one: _percentile(one.acknowledged),
        "processor: server, mean": lambda one: one.server / len(one.seen),
        "processor: Envoy's main thread, mean": lambda one: one.envoy / len(one.seen),
        "a look with its pause, p50": lambda one: statistics.median(one.looks),
    }
    for name, row in rows.items():
        print(f"  {name:<42}" + "".join(f"{row(one) * 1000:10.1f}" for one in found.values()))
    medians = [statistics.median(one.seen) for one in found.values()]
    print(f"  {'ratio to the smallest, p50':<42}" + "".join(f"{one / medians[0]:10.2f}" for one in medians))


def _percentile(seconds: list[float]) -> float:
    return sorted(seconds)[min(len(seconds) - 1, round(len(seconds) * 0.99))]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.effective", description=__doc__)
    parser.add_argument("--routes", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--edits", type=int, default=40)
    chosen = parser.parse_args()
    found = {routes: world(routes, chosen.edits) for routes in chosen.routes}
    show("route", {routes: one[0] for routes, one in found.items()})
    show("endpoint", {routes: one[1] for routes, one in found.items()})


if __name__ == "__main__":
    main()
