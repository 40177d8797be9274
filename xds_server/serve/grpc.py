"""The xDS services over grpc.aio: the only file of this room that awaits.

In: snapshots, published by the app. Out: streams of Envoys served, and records of what each has. All state is confined
to one event loop. A stream that does not read holds back only itself: its next response is made when the last was
taken, from the newest snapshot.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from xds_server.serve.identity import Refused, gateway_of
from xds_server.serve.records import ProxyRecord, type_record
from xds_server.serve.requests import Node, Request
from xds_server.serve.stream import Stream
from xds_server.serve.wire import Envelope, read_delta, read_full
from xds_server.snapshot.resource import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET, Snapshot

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
_SERVICES = {
    "envoy.service.discovery.v3.AggregatedDiscoveryService": (
        "StreamAggregatedResources",
        "DeltaAggregatedResources",
        "",
    ),
    "envoy.service.cluster.v3.ClusterDiscoveryService": ("StreamClusters", "DeltaClusters", CLUSTER),
    "envoy.service.endpoint.v3.EndpointDiscoveryService": ("StreamEndpoints", "DeltaEndpoints", ENDPOINTS),
    "envoy.service.listener.v3.ListenerDiscoveryService": ("StreamListeners", "DeltaListeners", LISTENER),
    "envoy.service.route.v3.RouteDiscoveryService": ("StreamRoutes", "DeltaRoutes", ROUTES),
    "envoy.service.secret.v3.SecretDiscoveryService": ("StreamSecrets", "DeltaSecrets", SECRET),
}
_OPTIONS = (
    # Without this a second server on the port starts without an error, and the kernel deals connections to both.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 32 * 1024 * 1024),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
)


@dataclass(eq=False, slots=True)
class _Session:
    """One open stream."""

    core: Stream
    node: Node
    gateway: str
    peer: str
    connected: float
    last_message: float
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def record(self) -> ProxyRecord:
        """What is known of it."""
        requested = [one for one in self.core.channels.values() if one.requested]
        return ProxyRecord(
            self.node.id,
            self.gateway,
            "delta" if self.core.delta else "sotw",
            self.peer,
            self.node.version,
            self.node.locality,
            self.connected,
            self.last_message,
            tuple(type_record(channel, self.core.wanted(channel.type_url)) for channel in requested),
        )


@dataclass(frozen=True, slots=True)
class Counters:
    """How many messages there were, by type URL."""

    responses: Counter[str] = field(default_factory=Counter)
    acks: Counter[str] = field(default_factory=Counter)
    nacks: Counter[str] = field(default_factory=Counter)


class XdsServer:
    """Serves snapshots to Envoys. `on_ack` is told the type and the seconds from push to acknowledgement."""

    def __init__(
        self,
        clock: Callable[[], float],
        drain_delay: float = 5.0,
        on_ack: Callable[[str, float], None] = lambda _type_url, _seconds: None,
    ) -> None:
        self.counters = Counters()
        self._clock, self._drain_delay, self._on_ack = clock, drain_delay, on_ack
        self._snapshots: dict[str, Snapshot] = {}
        self._published = asyncio.Event()
        self._changed = asyncio.Condition()
        self._sessions: set[_Session] = set()
        self._envelope = Envelope()
        self._server: grpc.aio.Server | None = None
        self._health = health_aio.HealthServicer()

    async def start(self, address: str) -> int:
        """Listen; returns the bound port. Raises OSError if the address cannot be had."""
        server = grpc.aio.server(options=_OPTIONS)
        for service, methods in _SERVICES.items():
            server.add_generic_rpc_handlers((self._handlers(service, *methods),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        await self._health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        try:
            port = server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address} for xDS: {error}") from None
        if not port:
            raise OSError(f"cannot listen on {address} for xDS")
        await server.start()
        self._server = server
        return port

    async def publish(self, snapshots: Mapping[str, Snapshot]) -> None:
        """These snapshots are wanted from now on. A gateway that is not among them keeps its last one."""
        self._snapshots.update(snapshots)
        self._envelope.keep(
            one
            for snapshot in self._snapshots.values()
            for named in snapshot.resources.values()
            for one in named.values()
        )
        self._published.set()
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)
        for session in self._sessions:
            snapshot = self._snapshots.get(session.gateway)  # None: it is gone, its Envoys go on with what they have
            if snapshot is not None and snapshot is not session.core.snapshot:
                session.core.replace_snapshot(snapshot)
                session.wake.set()

    def forget(self, gateway: str) -> None:
        """A gateway no longer exists: new streams that name it are refused."""
        self._snapshots.pop(gateway, None)

    async def stop(self, grace: float) -> None:
        """Not serving from now on; streams end within `grace` seconds."""
        await self._health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        if self._server is not None:
            await self._server.stop(grace)

    def proxies(self) -> tuple[ProxyRecord, ...]:
        """All open streams, by node and time."""
        records = (session.record() for session in self._sessions)
        return tuple(sorted(records, key=lambda one: (one.gateway, one.node_id, one.connected_since)))

    async def changed(self) -> None:
        """Return when any stream opened, closed or acknowledged something."""
        async with self._changed:
            await self._changed.wait()

    def _handlers(self, service: str, full: str, delta: str, only: str) -> grpc.GenericRpcHandler:
        def handler(*, is_delta: bool) -> grpc.RpcMethodHandler[bytes, bytes]:
            async def serve(requests: AsyncIterator[bytes], context: Context) -> None:
                await self._serve(requests, context, Stream(is_delta, self._envelope, self._drain_delay, only))

            return grpc.stream_stream_rpc_method_handler(serve)

        return grpc.method_handlers_generic_handler(
            service, {full: handler(is_delta=False), delta: handler(is_delta=True)}
        )

    async def _serve(self, requests: AsyncIterator[bytes], context: Context, core: Stream) -> None:
        if not self._published.is_set():
            await context.abort(grpc.StatusCode.UNAVAILABLE, "policies are not loaded yet")
        request = await self._next(requests, context, core)
        if request is None:
            return
        gateway = gateway_of(request.node, self._snapshots)
        if isinstance(gateway, Refused):
            code = grpc.StatusCode.NOT_FOUND if gateway.unknown else grpc.StatusCode.INVALID_ARGUMENT
            await context.abort(code, gateway.message)
        assert request.node is not None
        now = self._clock()
        session = _Session(core, request.node, gateway, context.peer(), now, now)
        core.replace_snapshot(self._snapshots[gateway])
        self._sessions.add(session)
        reader = asyncio.create_task(self._read(session, request, requests, context))
        writer = asyncio.create_task(self._write(session, context))
        try:
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._sessions.discard(session)
            reader.cancel()
            writer.cancel()
            ended = await asyncio.gather(reader, writer, return_exceptions=True)
            await self._tell()
        for error in ended:
            # InternalError: the client is gone. Else an abort, or a bug: a stream that writes no more must end, too.
            if isinstance(error, Exception) and not isinstance(error, grpc.aio.InternalError):
                raise error

    async def _read(self, session: _Session, first: Request, requests: AsyncIterator[bytes], context: Context) -> None:
        request: Request | None = first
        while request is not None:
            await self._receive(session, request, context)
            request = await self._next(requests, context, session.core)

    async def _next(self, requests: AsyncIterator[bytes], context: Context, core: Stream) -> Request | None:
        try:
            data = await anext(requests)
        except StopAsyncIteration:
            return None
        try:
            request = read_delta(data) if core.delta else read_full(data)
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "this is no discovery request")
        return request

    async def _receive(self, session: _Session, request: Request, context: Context) -> None:
        core, now = session.core, self._clock()
        session.last_message = now
        if request.node is not None and (request.node.id, request.node.cluster) not in (
            ("", ""),
            (session.node.id, session.node.cluster),
        ):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "node must not change during a stream")
        problem = core.problem(request)
        if problem:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, problem)
        event = core.receive(request, now)
        if event is not None:
            (self.counters.nacks if event.refused else self.counters.acks)[event.type_url] += 1
            if not event.refused:
                self._on_ack(event.type_url, event.seconds)
        session.wake.set()
        await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _write(self, session: _Session, context: Context) -> None:
        core = session.core
        while True:
            session.wake.clear()
            for type_url, data in core.poll(self._clock()):
                if type_url in core.channels:  # other types are the client's words, and no label of a metric
                    self.counters.responses[type_url] += 1
                await context.write(data)
            due = core.wake_at()
            timeout = None if due is None else max(0.0, due - self._clock()) + 0.01
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(session.wake.wait(), timeout)
