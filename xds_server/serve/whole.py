"""What serves a stream is not broken off when the client is gone: it hears of it by itself, since there is nothing more to read.

In: every call of a gRPC server, before anything else sees it. Out: calls of streams whose service runs to its end. What gRPC
is about when a task is cancelled it never frees: some hundred bytes of each read, and of each write the whole message.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from xds_server.serve.gate import Calls, Handler


class Whole(grpc.aio.ServerInterceptor):
    """Stands before all services, and before those that may break them off."""

    def __init__(self) -> None:
        self._wholes: dict[Calls, Handler] = {}
        """One for each service: a stream keeps it for as long as it lasts."""

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]], handler_call_details: Any
    ) -> Any:
        """Called by gRPC for every call."""
        handler = await continuation(handler_call_details)
        inner = None if handler is None else handler.stream_stream
        if inner is None or inspect.isasyncgenfunction(inner):
            return handler
        if inner not in self._wholes:
            self._wholes[inner] = _whole(handler, inner)
        return self._wholes[inner]


def _whole(handler: Handler, inner: Calls) -> Handler:
    async def whole(requests: Any, context: Any) -> None:
        await asyncio.shield(inner(requests, context))

    return grpc.stream_stream_rpc_method_handler(whole, handler.request_deserializer, handler.response_serializer)
