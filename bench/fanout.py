"""What does it cost to tell many Envoys of one change? Processor time of the server, memory, and the time to the last ACK.

In: `--streams`, how many to measure with. Two processes serve the same bytes to the same kind of client, in turns: Cellway's
xDS server, and a bare grpc.aio server (`floor.py`) that is as little as a server can be. Further processes hold the streams,
each its own connection (`light.py`). Out: microseconds of the server's processor for each response that was sent and
acknowledged, and the ratio of both; memory a stream; and what the clients cost. Then, with a real `cellway serve`: the time from
saving a file, by rename, to the last ACK. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.floor import Floor
from bench.light import allow_many_files
from bench.results import keep, option
from bench.saves import saves
from bench.workers import Crowd, Worker, crowd, memory, worker
from xds_server import __version__
from xds_server.collector import collect_rarely
from xds_server.envoy_api.envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest
from xds_server.observe.metrics import Metrics, State
from xds_server.serve.channel import Sent
from xds_server.serve.counters import Listeners
from xds_server.serve.grpc import XdsServer
from xds_server.serve.wire import Envelope
from xds_server.snapshot.resource import ROUTES, Resource, Snapshot, content_version, snapshot_of

GATEWAY = "default/bench"
SIZES = {"1 KB": 1_000, "1 MB": 1_000_000}
RESPONSES = {"1 KB": 40_000, "1 MB": 5_000}
"""So many responses are measured, to however many streams."""
_MOST = 400
"""Rounds for few streams."""
_MANY = 100
"""Streams, from which on the memory of one is more than noise."""


def resource_of(size: int, edit: int) -> Resource:
    """One route table, or what is taken for one."""
    body = f"{edit:08}".encode() + b"x" * (size - 8)
    return Resource(ROUTES, "table", body, content_version(body))


def world(size: int, edit: int) -> Snapshot:
    """A table that changes, and others that do not."""
    others = (Resource(ROUTES, f"other-{number}", b"x" * 100, "1") for number in range(20))
    return snapshot_of(GATEWAY, [resource_of(size, edit), *others])


class Measured(Protocol):
    """One of the two servers, in a process of its own."""

    async def start(self) -> int:
        """Serve: the port."""

    def prepare(self, size: int, edit: int) -> None:
        """Make what is to be sent: what that costs is not measured here."""

    async def publish(self) -> None:
        """Begin to send it."""

    def acknowledged(self) -> int:
        """How many answers came."""


class Ours:
    """Cellway's xDS server, with the metrics that it always has."""

    def __init__(self) -> None:
        told = Listeners(Metrics(__version__, "", State).acknowledged)
        self.server = XdsServer(time.monotonic, told=told)

    async def start(self) -> int:
        port = self.server.listen("127.0.0.1:0")
        await self.server.start()
        self.prepare(1_000, 0)
        await self.publish()
        return port

    def prepare(self, size: int, edit: int) -> None:
        self.next = world(size, edit)

    async def publish(self) -> None:
        await self.server.publish({GATEWAY: self.next})

    def acknowledged(self) -> int:
        return self.server.counters.acks.total()


class Bare:
    """The floor."""

    def __init__(self) -> None:
        self.server = Floor()

    async def start(self) -> int:
        port = await self.server.start()
        self.prepare(1_000, 0)
        await self.publish()
        return port

    def prepare(self, size: int, edit: int) -> None:
        one = resource_of(size, edit)
        self.next = Envelope().delta(Sent(one.version, (one,), ()), ROUTES, edit).data

    async def publish(self) -> None:
        self.server.publish(self.next)

    def acknowledged(self) -> int:
        return self.server.answers


async def serve(role: str) -> None:
    """Obey lines on standard input."""
    measured: Measured = Ours() if role == "cellway" else Bare()
    allow_many_files()
    collect_rarely()
    print(await measured.start(), flush=True)
    edit, wanted, loop = 0, 0, asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        answer = {"memory": memory(), "acknowledged": measured.acknowledged()}
        if order["do"] == "settle":
            wanted = measured.acknowledged()
            gc.collect()
            gc.freeze()
        else:
            edit += 1
            measured.prepare(order["size"], edit)
            wanted += order["streams"]
            began = time.process_time()
            await measured.publish()
            while measured.acknowledged() < wanted:  # noqa: ASYNC110 - both servers pay the same for it
                await asyncio.sleep(0.002)
            answer["cpu"] = time.process_time() - began
        print(json.dumps(answer), flush=True)


@dataclass(slots=True)
class Side:
    """A server, its clients, and what was found."""

    server: Worker
    clients: Crowd
    streams: int
    rounds: int = 1
    memory: float = 0.0
    cpu: dict[str, list[float]] = field(default_factory=dict)

    def connect(self) -> None:
        """All streams, and what they weigh."""
        before = float(self.server.ask({"do": "settle"})["memory"])
        asked = DeltaDiscoveryRequest(type_url=ROUTES, resource_names_subscribe=["*"])
        self.clients.connect(self.streams, [asked.SerializeToString()], GATEWAY)
        self.clients.until(1)
        time.sleep(1)  # until the answers are read
        self.memory = (float(self.server.ask({"do": "settle"})["memory"]) - before) / self.streams

    def round(self, name: str) -> None:
        """One change, to all."""
        self.rounds += 1
        self.clients.expect(self.rounds)
        found = self.server.ask({"do": "publish", "streams": self.streams, "size": SIZES[name]})
        self.clients.answers()
        self.cpu.setdefault(name, []).append(float(found["cpu"]) / self.streams * 1e6)

    def spent(self) -> float:
        """The processor time of the clients until now."""
        return sum(float(one["cpu"]) for one in self.clients.until(self.rounds))


def measure(streams: int, file: Path | None) -> None:
    """Both servers in turns."""
    with ExitStack() as held:
        sides = {}
        for name in ("floor", "cellway"):
            server = held.enter_context(worker("bench.fanout", "--role", name))
            clients = held.enter_context(crowd(f"127.0.0.1:{int(server.line())}"))
            sides[name] = Side(server, clients, streams)
            sides[name].connect()
        for size in SIZES:
            began = {name: one.spent() for name, one in sides.items()}
            rounds = min(_MOST, RESPONSES[size] // streams)
            for _ in range(rounds):
                for one in sides.values():
                    one.round(size)
            floor, ours = (statistics.median(sides[name].cpu[size]) for name in ("floor", "cellway"))
            spent = {name: (one.spent() - began[name]) / rounds / streams * 1e6 for name, one in sides.items()}
            weights = {f"{name}_kib": one.memory for name, one in sides.items() if streams >= _MANY}
            figures = {"floor_us": floor, "cellway_us": ours, "client_us": spent["cellway"], **weights}
            keep(file, "fanout", {"streams": streams, "change": size}, {**figures, "ratio": ours / floor})
            print(
                f"{streams:>8,}{size:>8}{floor:>14,.0f}{ours:>14,.0f}{ours / floor:>8.2f}{spent['cellway']:>18,.0f}"
                f"{sides['floor'].memory:>12,.0f}{sides['cellway'].memory:>10,.0f}",
                flush=True,
            )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.fanout", description=__doc__)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 100, 1_000])
    parser.add_argument("--workers", type=int, default=1, help="processes that serve, in the table of saves")
    parser.add_argument("--only", choices=["cpu", "saves"], help="only one of the two tables")
    parser.add_argument("--role", choices=["cellway", "floor"], help=argparse.SUPPRESS)
    option(parser)
    chosen = parser.parse_args()
    if chosen.role:
        asyncio.run(serve(chosen.role))
        return
    if chosen.only != "saves":
        print("microseconds of a processor for each response that was sent and acknowledged; memory a stream, KiB")
        words = f"{'streams':>8}{'change':>8}{'floor':>14}{'cellway':>14}{'ratio':>8}{'a client of ours':>18}"
        print(f"{words}{'floor':>12}{'cellway':>10}")
        for streams in chosen.streams:
            measure(streams, chosen.keep)
    if chosen.only != "cpu":
        print("from saving a file to the last ACK, ms")
        print(f"{'streams':>8}{'change':>8}{'p50':>10}{'p99':>10}")
        for streams in chosen.streams:
            for size, seconds in saves(streams, chosen.workers):
                half, p99 = (statistics.quantiles(seconds, n=100, method="inclusive")[one] * 1e3 for one in (49, 98))
                world = {"streams": streams, "change": size, "workers": chosen.workers}
                keep(chosen.keep, "saves", world, {"p50_ms": half, "p99_ms": p99})
                print(f"{streams:>8,}{size:>8}{half:>10,.0f}{p99:>10,.0f}", flush=True)


if __name__ == "__main__":
    main()
