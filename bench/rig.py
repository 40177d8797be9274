"""A `cellway run` with one Envoy and two upstreams in a world of so many routes, for as long as a measurement takes.

In: how many routes. Out: a rig that is not started yet, what its processes have used of a processor, and requests to its Envoy.
"""

from __future__ import annotations

import http.client
import json
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import httpx

from bench.serving import free_port, is_ready
from bench.world import write_world
from tests.e2e.running import Cellway, reserve_block
from tests.e2e.upstream import Upstream

PATIENCE = 120.0
_PUSH = r'cellway_push_ack_seconds_(sum|count)\{type="%s"\} (\S+)'
Look = Callable[[], str]


@dataclass
class Rig:
    """A server and its Envoy in a world of so many routes. `root` holds the folder of policies, and room for others."""

    root: Path
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


@contextmanager
def rig(routes: int, *arguments: str) -> Iterator[Rig]:
    """One, in a folder of its own. `arguments` are more words for `cellway run`."""
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        root = Path(name)
        cellway = Cellway(root / "policies", root / "state", reserve_block(), arguments)
        try:
            one, two = (Upstream(name, "127.0.0.1", 0) for name in ("one", "two"))
            cellway.upstreams += [one, two]
            one.start()
            two.start()
            port = free_port()
            write_world(root / "policies", routes, port, one.port)
            yield Rig(root, cellway, routes, port, (one, two))
        finally:
            cellway.close()


def started(cellway: Cellway) -> float:
    """Start it: the seconds from the start of Python until everything is ready for Envoys."""
    began = time.monotonic()
    cellway.start(wait=False)
    while not is_ready(cellway.admin):
        if time.monotonic() - began > PATIENCE:
            raise TimeoutError(f"cellway is not ready:\n{cellway.log()}")
        time.sleep(0.01)
    return time.monotonic() - began


def look_for(made: Rig, header: str) -> Look:
    """A look at the route in the middle, on one connection: what a header of the answer says, or who answers."""
    middle = made.routes // 2
    connection = http.client.HTTPConnection("127.0.0.1", made.port, timeout=PATIENCE)
    headers = {"Host": f"host-{middle // 10}.example.com"}

    def look() -> str:
        connection.request("GET", f"/path/{middle}", headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        return answer.getheader(header) or str(json.loads(body)["server"])

    return look


def _command(process: Path) -> list[bytes]:
    try:
        return (process / "cmdline").read_bytes().split(b"\0")
    except OSError:  # it has ended meanwhile
        return [b""]
