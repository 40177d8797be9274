"""A service of a stream whose client is gone runs to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from xds_server.serve.whole import Whole


class _Service(grpc.GenericRpcHandler):
    """Reads, is about something else when the client goes, and says how that ended."""

    def __init__(self) -> None:
        self.gone, self.goes_on, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.ends: list[str] = []

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return grpc.stream_stream_rpc_method_handler(self._serve)

    async def _serve(self, _: AsyncIterator[bytes], context: Any) -> None:
        context.add_done_callback(lambda _: self.gone.set())
        await context.write(await context.read())
        try:
            await self.goes_on.wait()
            self.ends.append("nothing more to read" if await context.read() is grpc.aio.EOF else "more to read")
        except asyncio.CancelledError:
            self.ends.append("broken off")
            raise
        finally:
            self.ended.set()


async def test_a_client_that_is_gone_breaks_nothing_off() -> None:
    service, server = _Service(), grpc.aio.server(interceptors=(Whole(),))
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: Any = channel.stream_stream("/some/Method")()
        await call.write(b"hello")
        assert await call.read() == b"hello"
        call.cancel()
        await asyncio.wait_for(service.gone.wait(), 30)
        service.goes_on.set()
        await asyncio.wait_for(service.ended.wait(), 30)
    assert service.ends == ["nothing more to read"]
    await server.stop(None)
