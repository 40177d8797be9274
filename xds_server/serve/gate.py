"""Nobody with a revoked certificate has a stream, of whatever service of the port.

In: every call of a gRPC server, before its service sees it, and the revocation lists. Out: calls as they came, or refused; and
streams that end when their certificate gets on a list. A certificate is read once a call. In plain text there is none.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import grpc

from xds_server.serve.revocation import Revocations, Shown, read_shown

_CODE = "PERMISSION_DENIED"
_NOT_TRUSTED = "this client certificate is revoked, or the one of its authority"
_UNREADABLE = "this client certificate cannot be read, and so not be looked for on revocation lists"
_TOLD = 1000
"""So many certificates that are refused are told of, until the lists change."""
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Calls: TypeAlias = Callable[[Any, Any], Any]


class Gate(grpc.aio.ServerInterceptor):
    """Stands before all services. `refused` counts streams by the name of the gRPC status."""

    def __init__(self, revocations: Revocations, refused: Counter[str], told: Callable[[str], None]) -> None:
        self.revocations = revocations
        self._refused, self._told = refused, told
        self._open: dict[_Call, None] = {}
        self._said: set[Shown] = set()
        self._guards: dict[Handler, Handler] = {}
        """One for each service: a stream keeps it for as long as it lasts."""

    async def look(self) -> None:
        """Read the lists again, and end the streams of certificates that have got on one."""
        changed = await asyncio.to_thread(self.revocations.look)
        if changed:
            self._said.clear()
        lists = self.revocations.lists
        for call in list(self._open):
            if call.ended or (changed and lists.has(call.certificates)):
                call.end()

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]], handler_call_details: Any
    ) -> Any:
        """Called by gRPC for every call."""
        handler = await continuation(handler_call_details)
        if handler is not None and handler not in self._guards:
            self._guards[handler] = self._guarded(handler)
        return self._guards.get(handler)

    def _guarded(self, handler: Handler) -> Handler:
        kind = f"{'stream' if handler.request_streaming else 'unary'}_{'stream' if handler.response_streaming else 'unary'}"
        inner: Calls = getattr(handler, kind)

        async def guarded(asked: Any, context: Context) -> Any:
            shown = await self._shown(context)
            if not shown:
                return await _answer(inner, asked, context)
            return await self._serve(inner, asked, context, shown)

        make = getattr(grpc, f"{kind}_rpc_method_handler")
        made: Handler = make(guarded, handler.request_deserializer, handler.response_serializer)
        return made

    async def _shown(self, context: Context) -> tuple[Shown, ...]:
        """The certificates that the client showed; none in plain text."""
        auth: Mapping[str, Any] = context.auth_context()
        if auth.get("transport_security_type") == [b"insecure"]:
            return ()
        names = tuple(name.decode("utf-8", "replace") for name in auth.get("x509_subject_alternative_name", ()))
        pem = b"".join((*auth.get("x509_pem_cert", ()), *auth.get("x509_pem_cert_chain", ())))
        try:
            return read_shown(pem, names)
        except ValueError:
            self._refused[_CODE] += 1
            await context.abort(grpc.StatusCode[_CODE], _UNREADABLE)

    async def _serve(self, inner: Calls, asked: Any, context: Context, shown: tuple[Shown, ...]) -> Any:
        if self.revocations.lists.has(shown):
            await self._refuse(context, shown)
        call = _Call(shown, context)
        self._open[call] = None
        try:
            answer = await _answer(inner, asked, call)
        except asyncio.CancelledError:
            if not call.ended:
                raise
        finally:
            del self._open[call]
        if call.ended:
            await call.written()
            await self._refuse(context, shown)
        return answer

    async def _refuse(self, context: Context, shown: tuple[Shown, ...]) -> None:
        self._refused[_CODE] += 1
        found = self.revocations.lists.has(shown)
        if found is not None and found not in self._said and len(self._said) < _TOLD:
            self._said.add(found)
            self._told(f"streams of {context.peer()} are refused: certificate {found} is revoked")
        await context.abort(grpc.StatusCode[_CODE], _NOT_TRUSTED)


class _Call:
    """One call that is being answered, by this task. To the service it is the call's context."""

    def __init__(self, certificates: tuple[Shown, ...], context: Context) -> None:
        self.certificates, self.ended = certificates, False
        self._context, self._task = context, asyncio.current_task()
        self._writing: asyncio.Future[None] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def write(self, message: Any) -> None:
        """Send a message. What has begun is not broken off: gRPC takes no last word before it is through."""
        self._writing = asyncio.ensure_future(self._context.write(message))
        await asyncio.shield(self._writing)

    def end(self) -> None:
        """Break off what the service does. To be said again as long as it does not heed that."""
        self.ended = True
        if self._task is not None:
            self._task.cancel()

    async def written(self) -> None:
        """The service has ended; return when the client has taken what was on its way, and may hear why."""
        while self._task is not None and self._task.uncancel():
            pass
        if self._writing is not None:
            await asyncio.wait((self._writing,))


async def _answer(inner: Calls, asked: Any, context: Any) -> Any:
    """What the service answers. One that yields its messages has none to return."""
    if not inspect.isasyncgenfunction(inner):
        return await inner(asked, context)
    async with contextlib.aclosing(inner(asked, context)) as messages:
        async for message in messages:
            await context.write(message)
    return None
