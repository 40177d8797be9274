"""Light xDS clients by the hundred, in a process of their own: each a connection with one stream, delta.

In: one command a line on standard input. Out: one JSON object a line. `Clients` is the other end, for goals. A client takes
clusters and one route configuration, acknowledges them, and looks for `edit-N` in the latter: that is the edit it has.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from bench.soak.rig import word
from tests.e2e.running import Cellway
from xds_server.envoy_api.envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from xds_server.snapshot.resource import CLUSTER, ROUTES

_METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
_EDIT = re.compile(rb"edit-(\d+)")
_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))
_TOGETHER = 50
Answer = dict[str, Any]


def _shown(token: str) -> tuple[tuple[str, str]]:
    return (("authorization", f"Bearer {token}"),)


@dataclass(eq=False)
class Client:
    """One stream. `kind`: plain; `mute`: reads and never acknowledges; `deaf`: never reads."""

    node: str
    kind: str
    news: asyncio.Event
    newest: int = -1
    times: dict[int, float] = field(default_factory=dict)
    ended: tuple[float, str] = (0.0, "")
    task: asyncio.Task[None] | None = None

    async def run(self, target: str, gateway: str, routes: str, token: str) -> None:
        """Until the stream ends."""
        async with grpc.aio.insecure_channel(target, options=_OPTIONS) as channel:
            call: Any = channel.stream_stream(_METHOD)(metadata=_shown(token))
            try:
                first = DeltaDiscoveryRequest(type_url=CLUSTER)
                first.node.id, first.node.cluster = self.node, gateway
                await call.write(first.SerializeToString())
                wanted = DeltaDiscoveryRequest(type_url=ROUTES, resource_names_subscribe=[routes])
                await call.write(wanted.SerializeToString())
                if self.kind == "deaf":
                    await asyncio.Event().wait()
                while (data := await call.read()) is not grpc.aio.EOF:
                    await self._take(call, data)
                self.ended = time.monotonic(), (await call.code()).name
            except grpc.aio.AioRpcError as error:
                self.ended = time.monotonic(), error.code().name
            self.news.set()

    async def _take(self, call: Any, data: bytes) -> None:
        response = DeltaDiscoveryResponse.FromString(data)
        if self.kind == "plain":
            ack = DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
            await call.write(ack.SerializeToString())
        found = _EDIT.search(data) if response.type_url == ROUTES else None
        if found is not None:
            self.newest = int(found[1])
            self.times[self.newest] = time.monotonic()
            self.news.set()


class Process:
    """All clients of this process, and what they are told to do."""

    def __init__(self, target: str, gateway: str, routes: str, token: str) -> None:
        self.target, self.gateway, self.routes, self.token = target, gateway, routes, token
        self.ids = itertools.count()
        self.clients: list[Client] = []
        self.news = asyncio.Event()

    async def open(self, count: str, kind: str) -> Answer:
        """So many more; an answer when all plain ones have something."""
        wanted = [Client(f"raw-{kind}-{next(self.ids)}", kind, self.news) for _ in range(int(count))]
        for start in range(0, len(wanted), _TOGETHER):
            some = wanted[start : start + _TOGETHER]
            for one in some:
                one.task = asyncio.create_task(one.run(self.target, self.gateway, self.routes, self.token))
            if kind == "plain":
                await self._until_have(some, 0)
        self.clients += wanted
        return await self.state()

    async def close(self, count: str, kind: str) -> Answer:
        """So many fewer, without a word."""
        chosen = random.sample([one for one in self.clients if one.kind == kind], int(count))
        for one in chosen:
            assert one.task is not None
            one.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await one.task
        self.clients = [one for one in self.clients if one not in chosen]
        return await self.state()

    async def state(self) -> Answer:
        """What they have: how many are open, by edit; when streams were ended by the server, and how."""
        plain = [one for one in self.clients if one.kind == "plain"]
        return {
            "open": sum(not one.ended[1] for one in self.clients),
            "newest": Counter(one.newest for one in plain if not one.ended[1]),
            "ended": [one.ended for one in self.clients if one.ended[1]],
        }

    async def seen(self, edit: str) -> Answer:
        """When each has acknowledged this edit, or a newer one first; an answer when all have, or after a minute."""
        number, plain = int(edit), [one for one in self.clients if one.kind == "plain"]
        await self._until_have(plain, number)
        times = [
            min(at for one_edit, at in one.times.items() if one_edit >= number) for one in plain if one.newest >= number
        ]
        for one in plain:
            one.times = {newer: at for newer, at in one.times.items() if newer >= number}
        return {"times": times, "missing": len(plain) - len(times)}

    async def _until_have(self, some: list[Client], edit: int) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(60):
                while any(one.newest < edit and not one.ended[1] for one in some):
                    self.news.clear()
                    await self.news.wait()
                    await asyncio.sleep(0.002)  # others have it in this moment, too

    async def cancel(self, count: str) -> Answer:
        """So many streams that are opened, asked on and cancelled, on a few connections."""
        left = itertools.count(int(count), -1)

        async def some() -> None:
            async with grpc.aio.insecure_channel(self.target, options=_OPTIONS) as channel:
                while next(left) > 0:
                    call: Any = channel.stream_stream(_METHOD)(metadata=_shown(self.token))
                    first = DeltaDiscoveryRequest(type_url=CLUSTER)
                    first.node.id, first.node.cluster = f"raw-short-{next(self.ids)}", self.gateway
                    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
                        await call.write(first.SerializeToString())
                        call.cancel()

        await asyncio.gather(*(some() for _ in range(8)))
        return {"opened": int(count)}

    async def serve(self) -> None:
        """Do what is asked, until nothing more can be."""
        loop = asyncio.get_running_loop()
        while words := (await loop.run_in_executor(None, sys.stdin.readline)).split():
            command: Callable[..., Awaitable[Answer]] = getattr(self, words[0])
            print(json.dumps(await command(*words[1:])), flush=True)


@dataclass
class Clients:
    """The process of clients, as a goal sees it."""

    process: subprocess.Popen[str]

    def ask(self, *words: object) -> Mapping[str, Any]:
        """Have something done: the name of a method of `Process` and its arguments."""
        self.begin(*words)
        return self.answer()

    def begin(self, *words: object) -> None:
        """The same, without waiting for the answer."""
        assert self.process.stdin is not None
        print(*words, file=self.process.stdin, flush=True)

    def answer(self) -> Mapping[str, Any]:
        """What was answered."""
        assert self.process.stdout is not None
        found: Mapping[str, Any] = json.loads(self.process.stdout.readline())
        return found


@contextmanager
def clients(
    cellway: Cellway, gateway: str = "default/edge", routes: str = "default/edge/http-8080"
) -> Iterator[Clients]:
    """A process of clients of this server, without any client yet."""
    command = [sys.executable, "-m", "bench.soak.clients", f"{cellway.block.address(250)}:18000", gateway, routes]
    command.append(word(cellway, gateway))
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Clients(process)
    finally:
        process.kill()
        process.wait(30)


if __name__ == "__main__":
    asyncio.run(Process(*sys.argv[1:]).serve())
