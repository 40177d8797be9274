"""Where does the time go? Samples of the two ways that are gone most often: an edit among many routes, a change to many streams.

In: `--routes`, `--streams`, `--seconds` of each. Out: for each the share of every room, by the innermost function of Cellway that
runs, and the functions that most samples are in. `py-spy` looks into the process from outside: it has to be allowed to trace it.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from bench.fanout import GATEWAY, SIZES
from bench.workers import Worker, crowd, worker
from bench.world import write_routes, write_world
from xds_server.collector import collect_rarely, keep_for_good
from xds_server.compile import Options
from xds_server.envoy_api.envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest
from xds_server.reload import Policies, Source, reload
from xds_server.snapshot.resource import ROUTES

_RATE = 500
_SHOWN = 12
_FRAME = re.compile(r"(?P<name>[^;]*?) \((?P<path>[^;]*?):\d+\)")
_PACKAGES = ("grpc", "asyncio")
_POLLER = "Thread.run"
"""Nothing of Python's runs in that thread below this."""
_WAITING = "_worker ("
"""A thread of a pool that waits for the next line of standard input."""


def edit_again_and_again(routes: int) -> None:
    """The process that edits: it says when it begins, and ends when it is told to."""
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        folder = Path(name)
        write_world(folder, routes)
        source = Source((folder,), Options(), time.monotonic)
        policies, _ = reload(Policies(), source)
        collect_rarely()
        keep_for_good()
        print(json.dumps({"routes": routes}), flush=True)
        edit = 0
        while True:
            edit += 1
            write_routes(folder, routes // 2, routes, edit)
            policies, _ = reload(policies, source)


def spy(process: Worker, seconds: float) -> Counter[str]:
    """Stacks of a process, and in how many samples each was seen."""
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        found = Path(name) / "stacks"
        command = [str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(process.process.pid)]
        command += ["--format", "raw", "--full-filenames", "--rate", str(_RATE), "--duration", f"{seconds:.0f}"]
        subprocess.run([*command, "--output", str(found)], check=True, capture_output=True)
        lines = (line.rpartition(" ") for line in found.read_text(encoding="utf-8").splitlines())
        return Counter({stack: int(count) for stack, _, count in lines})


def edits(routes: int, seconds: float) -> Counter[str]:
    """An edit among so many routes."""
    with worker("bench.profiles", "--role", "edits", "--routes", str(routes)) as process:
        process.line()
        stacks = spy(process, seconds)
    return Counter({stack: count for stack, count in stacks.items() if "reload (" in stack})


def fanout(streams: int, seconds: float) -> Counter[str]:
    """A change of a kilobyte to so many streams, again and again."""
    with ExitStack() as held:
        server = held.enter_context(worker("bench.fanout", "--role", "cellway"))
        clients = held.enter_context(crowd(f"127.0.0.1:{int(server.line())}"))
        asked = DeltaDiscoveryRequest(type_url=ROUTES, resource_names_subscribe=["*"])
        clients.connect(streams, [asked.SerializeToString()], GATEWAY)
        clients.until(1)
        server.ask({"do": "settle"})
        spying = held.enter_context(ThreadPoolExecutor(1)).submit(spy, server, seconds)
        rounds = 1
        while not spying.done():
            rounds += 1
            clients.expect(rounds)
            server.ask({"do": "publish", "streams": streams, "size": SIZES["1 KB"]})
            clients.answers()
        found = spying.result()
    return Counter({stack: count for stack, count in found.items() if _WAITING not in stack.rpartition(";")[2]})


def place(stack: str) -> tuple[str, str]:
    """The room that a sample is in, and the function: the innermost one of Cellway's, else whose code runs."""
    frames = [(one["name"], Path(one["path"])) for one in _FRAME.finditer(stack)]
    for name, path in reversed(frames):
        if "xds_server" in path.parts:
            inside = path.parts[path.parts.index("xds_server") + 1 :]
            return inside[0].removesuffix(".py"), f"{'/'.join(inside)} {name}"
    for name, path in reversed(frames):
        for package in _PACKAGES:
            if package in path.parts:
                return package, f"{package}/{path.name} {name}"
    if frames and frames[-1][0].endswith(_POLLER):
        return "grpc", "the thread of grpc's core that polls sockets"
    return "elsewhere", f"{frames[-1][1].name} {frames[-1][0]}" if frames else "elsewhere"


def show(what: str, stacks: Mapping[str, int]) -> None:
    """Two tables: rooms, and functions."""
    rooms: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for stack, count in stacks.items():
        room, function = place(stack)
        rooms[room] += count
        functions[function] += count
    print(f"{what}: {rooms.total():,} samples")
    for found in (rooms, functions):
        print(
            "".join(f"  {count / found.total():6.1%}  {name}\n" for name, count in found.most_common(_SHOWN)),
            flush=True,
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.profiles", description=__doc__)
    parser.add_argument("--routes", type=int, default=10_000)
    parser.add_argument("--streams", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--role", choices=["edits"], help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.role:
        edit_again_and_again(chosen.routes)
        return
    show(f"an edit among {chosen.routes:,} routes", edits(chosen.routes, chosen.seconds))
    show(f"a change to {chosen.streams:,} streams", fanout(chosen.streams, chosen.seconds))


if __name__ == "__main__":
    main()
