"""Many streams that connect, are pushed to, churn and vanish: does the server's memory stay flat?

In: `--streams`, `--seconds`. A server process serves a gateway of 200 clusters with endpoints and publishes a change
every second. Client processes hold streams; each second a tenth of them end: some say goodbye, some are cancelled, some
vanish with their connection while a response is on its way. Out: a line every ten seconds, and at the end the ratio of
the last memory to that after the first fifth of the time. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import random
import subprocess
import sys
import time
from typing import Any

import grpc

from bench.light import METHOD
from bench.workers import memory
from xds_server.envoy_api.envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
)
from xds_server.serve.grpc import XdsServer
from xds_server.snapshot.resource import CLUSTER, ENDPOINTS, Resource, Snapshot, snapshot_of

GATEWAY = "default/bench"
CLUSTERS = 200
_PER_CONNECTION = 10


def world(edit: int) -> Snapshot:
    """200 clusters with endpoints, of which one differs from the edit before."""
    resources = []
    for number in range(CLUSTERS):
        version = str(edit // CLUSTERS + (number < edit % CLUSTERS))
        body = f"{number} {version}".encode() * 50
        resources.append(Resource(CLUSTER, f"c{number}", body, version))
        resources.append(Resource(ENDPOINTS, f"c{number}", body, version))
    return snapshot_of(GATEWAY, resources)


async def serve() -> None:
    """The server process: says its port, then serves until its standard input ends."""
    server = XdsServer(time.monotonic)
    port = server.listen("127.0.0.1:0")
    await server.start()
    await server.publish({GATEWAY: world(0)})
    print(port, flush=True)
    edit = 0
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    while not ended.done():
        await asyncio.sleep(1)
        edit += 1
        await server.publish({GATEWAY: world(edit)})
    await server.stop(0)


class Load:
    """Streams of one client process."""

    def __init__(self, port: int, streams: int) -> None:
        self.port, self.wanted = port, streams
        self.received = self.opened = 0
        self.ids = itertools.count()
        self.channels: dict[grpc.aio.Channel, set[asyncio.Task[None]]] = {}

    async def run(self, seconds: float) -> None:
        """Keep so many streams open for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            while self.open_streams() < self.wanted:
                self._connect()
            print(f"{self.open_streams()} {self.opened} {self.received}", flush=True)
            await asyncio.sleep(1)
            await self._churn()
        for channel in list(self.channels):
            await self._vanish(channel)

    def open_streams(self) -> int:
        """How many streams are open."""
        return sum(not task.done() for tasks in self.channels.values() for task in tasks)

    def _connect(self) -> None:
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options=[("grpc.use_local_subchannel_pool", 1)])
        self.channels[channel] = {asyncio.create_task(self._stream(channel)) for _ in range(_PER_CONNECTION)}
        self.opened += _PER_CONNECTION

    async def _stream(self, channel: grpc.aio.Channel) -> None:
        call: Any = channel.stream_stream(METHOD)()
        first = DeltaDiscoveryRequest(type_url=CLUSTER)
        first.node.id, first.node.cluster = f"{os.getpid()}-{next(self.ids)}", GATEWAY
        names = [f"c{number}" for number in range(CLUSTERS)]
        with contextlib.suppress(grpc.aio.AioRpcError):
            await call.write(first.SerializeToString())
            await call.write(
                DeltaDiscoveryRequest(type_url=ENDPOINTS, resource_names_subscribe=names).SerializeToString()
            )
            while (data := await call.read()) is not grpc.aio.EOF:
                response = DeltaDiscoveryResponse.FromString(data)
                self.received += 1
                ack = DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
                await call.write(ack.SerializeToString())

    async def _churn(self) -> None:
        leaving = random.sample(list(self.channels), max(1, len(self.channels) // 10))
        for number, channel in enumerate(leaving):
            if number % 2:
                for task in self.channels[channel]:
                    task.cancel()
            await self._vanish(channel)

    async def _vanish(self, channel: grpc.aio.Channel) -> None:
        tasks = self.channels.pop(channel)
        await channel.close(None)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def measure(streams: int, seconds: float) -> None:
    """Run the processes and print what there is to see."""
    me = [sys.executable, "-m", "bench.streams"]
    server = subprocess.Popen([*me, "--role", "server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    port = server.stdout.readline().strip()
    command = [*me, "--role", "client", "--port", port, "--streams", str(streams), "--seconds", str(seconds)]
    client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert client.stdout is not None
    begun = time.monotonic()
    seen: list[tuple[float, float]] = []
    last = begun
    for line in client.stdout:
        now = time.monotonic()
        seen.append((now - begun, memory(server.pid) / 1024))
        if now - last >= 10:
            last = now
            is_open, opened, received = line.split()
            print(
                f"{now - begun:6.0f} s  {is_open} streams open, {opened} opened, {received} responses, {seen[-1][1]:.0f} MiB"
            )
    client.wait()
    settled = next(size for moment, size in seen if moment >= seen[-1][0] / 5)
    server.communicate("")
    print(
        f"memory at the end / after a fifth of the time: {seen[-1][1] / settled:.2f} ({seen[-1][1]:.0f} / {settled:.0f} MiB)"
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--role", choices=["all", "server", "client"], default="all")
    chosen = parser.parse_args()
    if chosen.role == "server":
        asyncio.run(serve())
    elif chosen.role == "client":
        asyncio.run(Load(chosen.port, chosen.streams).run(chosen.seconds))
    else:
        measure(chosen.streams, chosen.seconds)


if __name__ == "__main__":
    main()
