"""The least that a server on grpc.aio can do: the same bytes to every stream, and an answer taken from each.

In: bytes to send. Out: how many answers came. It knows nothing of xDS: no answer is looked into. What Cellway costs is
shown beside what this costs, in the same run, with the same clients.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc

from bench.light import METHOD
from xds_server.serve.limits import Limits


class Floor:
    """The bare server. A stream reads and writes at any time, as every server that pushes must."""

    def __init__(self) -> None:
        self.answers = 0
        self._data = b""
        self._wakes: set[asyncio.Event] = set()
        self._server = grpc.aio.server(options=(("grpc.so_reuseport", 0), *Limits().options()))
        service, _, method = METHOD[1:].partition("/")
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(self._serve)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))

    async def start(self) -> int:
        """Serve: the port."""
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return port

    def publish(self, data: bytes) -> None:
        """Send this to all streams."""
        self._data = data
        for wake in self._wakes:
            wake.set()

    async def _serve(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        wake = asyncio.Event()
        self._wakes.add(wake)
        writer = asyncio.create_task(self._write(wake, context))
        try:
            async for _ in requests:
                self.answers += 1
        finally:
            self._wakes.discard(wake)
            writer.cancel()

    async def _write(self, wake: asyncio.Event, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        if self._data:
            await context.write(self._data)
        while True:
            await wake.wait()
            wake.clear()
            await context.write(self._data)
