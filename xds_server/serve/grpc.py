"""The xDS services over grpc.aio: the only file of this room that awaits, but for what stands before it and a wake-up call.

In: snapshots, published by the app. Out: streams of Envoys served, and records of what each has. All state is confined
to one event loop. A stream that does not read holds back only itself: its next response is made when the last was
taken, from the newest snapshot.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from typing import NoReturn, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from xds_server.serve.counters import Counters, Listeners
from xds_server.serve.differences import Differences
from xds_server.serve.gate import Gate
from xds_server.serve.identity import Identities, Refused, gateway_of
from xds_server.serve.limits import Limits
from xds_server.serve.loads import Loads, Pace
from xds_server.serve.pressure import REST, Pressure
from xds_server.serve.records import ProxyRecord, Serving
from xds_server.serve.requests import Node, Request
from xds_server.serve.revocation import Revocations
from xds_server.serve.services import LOADS, SERVICES
from xds_server.serve.sessions import Court, Session, Sessions
from xds_server.serve.stream import Stream
from xds_server.serve.tls import Credentials
from xds_server.serve.tokens import Tokens
from xds_server.serve.turns import Turns, due
from xds_server.serve.verdicts import Verdicts
from xds_server.serve.wake import Wake
from xds_server.serve.whole import Whole
from xds_server.serve.wire import FILES, Envelope, TooLargeError, read_delta, read_full, read_loads, wanted_loads
from xds_server.snapshot.resource import CLUSTER, Snapshot

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Allowed: TypeAlias = frozenset[str] | None
"""The gateways that a peer may ask for; None: any, since nobody asks who it is."""
_LOADS_EVERY = 5
"""Seconds between load reports."""
_FIRST_REQUEST = 30.0
"""Seconds in which a stream has to say who it is."""
_NOT_SHOWN = (
    "in plain text this port asks for the token of a gateway, which the bootstraps of `cellway run` and "
    "`cellway bootstrap --state-dir` have; see docs/operations.md"
)
_NO_REQUEST = "this is no discovery request"
_SPREAD = 0.8
"""The part of the time for the end in which streams are ended; the rest is for what they are about."""
_TICK = 0.01
"""Seconds between streams that end because the server stops, or between as many as must end together."""
_LOOK = 1.0
"""Seconds between looks at revocation lists."""
_WARNINGS = 1000
"""So many clients that ask for what is not served are told of."""
_SPARE = 1000
"""The bytes of so many resources may be kept beside those of all that is wanted."""


class XdsServer:
    """Serves snapshots to Envoys."""

    def __init__(
        self,
        clock: Callable[[], float],
        drain_delay: float = 5.0,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        told: Listeners = Listeners(),  # noqa: B008 - frozen
        identities: Identities = Identities(),  # noqa: B008 - frozen
    ) -> None:
        self.counters = Counters()
        self.loads = Loads()
        self._clock, self._drain_delay, self._limits, self._told = clock, drain_delay, limits, told
        self._identities = identities
        self._tokens: Tokens | None = None
        self._gate: Gate | None = None
        self.pressure, self._full = Pressure(clock, limits.memory), ""
        self._published = asyncio.Event()
        self._changed: set[asyncio.Future[None]] = set()
        self.sessions = Sessions()
        self._streams: Counter[str] = Counter()
        self._turns = Turns(lambda work: asyncio.get_running_loop().call_soon(work))
        self._leave: dict[Wake, None] = {}
        self._warned: set[tuple[str, str]] = set()
        self._envelope, self._differences = Envelope(), Differences()
        self._health = health_aio.HealthServicer()
        self._server: grpc.aio.Server | None = None
        self._shares_ports = False

    def be_one_of_several(self, process: int, court: Court) -> None:
        """Share ports with other processes, and tell `court` what Envoys say of resources. To be said before `listen`."""
        self._shares_ports = True
        self.sessions.court, self.sessions.process, self.sessions.touched = court, process, set()

    def ask_for_tokens(self, tokens: Tokens) -> None:
        """Whoever comes in plain text has to show one. Without this its own word counts."""
        self._tokens = tokens

    def refuse_revoked(self, revocations: Revocations) -> None:
        """Nobody with one of these certificates has a stream. To be said before `listen`; `watch_revoked` keeps it up."""
        self._gate = Gate(revocations, self.counters.refused, self._told.warned)

    @property
    def revocations(self) -> Revocations | None:
        """What was given to `refuse_revoked`."""
        return self._gate.revocations if self._gate is not None else None

    async def watch_revoked(self) -> None:
        """Until cancelled, look again and again whether certificates of open streams are revoked."""
        while True:
            await asyncio.sleep(_LOOK)
            if self._gate is not None:
                await self._gate.look()

    async def watch_memory(self, every: float = REST) -> None:
        """Until cancelled, give back what streams that have gone leave."""
        while True:
            await asyncio.sleep(every)
            await asyncio.to_thread(self.pressure.tidy)

    async def watch_processes(self) -> None:
        """Until cancelled: there are none."""
        await asyncio.Event().wait()

    def listen(self, address: str, credentials: Credentials | None = None) -> int:
        """Bind one more address, in plain text without credentials; returns the port. OSError if it cannot be had."""
        server = self._server or self._new_server()
        try:
            if credentials is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, credentials.server_credentials())
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address} for xDS: {error}") from None
        if not port:
            raise OSError(f"cannot listen on {address} for xDS")
        self._server = server
        return port

    def _new_server(self) -> grpc.aio.Server:
        # Without reuseport 0 a second server on the port starts, and the kernel deals connections to both.
        shared = ("grpc.so_reuseport", int(self._shares_ports))
        gates = (Whole(),) if self._gate is None else (Whole(), self._gate)
        server = grpc.aio.server(interceptors=gates, options=(shared, *self._limits.options()))
        for service, methods in SERVICES.items():
            server.add_generic_rpc_handlers((self._handlers(service, *methods),))
        server.add_generic_rpc_handlers((self._load_handler(),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (
            *SERVICES,
            LOADS,
            health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
            reflection.SERVICE_NAME,
        )
        reflection.enable_server_reflection(names, server)
        assert FILES  # reflection finds what these modules have registered
        return server

    async def start(self) -> None:
        """Serve on all addresses that were bound."""
        assert self._server is not None
        await self._say_health(serving=self._published.is_set())
        await self._server.start()

    async def publish(self, snapshots: Mapping[str, Snapshot]) -> None:
        """These snapshots are wanted from now on. A gateway that is not among them keeps its last one."""
        self._differences.turn()
        self._envelope.drop(self.sessions.publish(snapshots))
        self._drop_unwanted()
        await self._ready()

    def _drop_unwanted(self) -> None:
        wanted = [named for snapshot in self.sessions.snapshots() for named in snapshot.resources.values()]
        if self._envelope.prepared > 2 * sum(map(len, wanted)) + _SPARE:
            self._envelope.keep(one for named in wanted for one in named.values())

    async def adopt(self, verdicts: Mapping[str, Verdicts]) -> None:
        """Begin with what another process has published, and what Envoys said of it."""
        self.sessions.adopt(verdicts)
        await self._ready()

    async def _ready(self) -> None:
        if not self._published.is_set():
            self._published.set()
            await self._say_health(serving=True)

    async def _say_health(self, *, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse
        await self._health.set("", status.SERVING if serving else status.NOT_SERVING)

    def forget(self, gateway: str) -> None:
        """A gateway no longer exists: new streams that name it are refused."""
        self.sessions.forget(gateway)
        self.loads.forget(gateway)

    async def stop(self, grace: float) -> None:
        """Not serving from now on; streams end one after the other within `grace` seconds: not all come back at once."""
        await self._say_health(serving=False)
        if self._server is None:
            return
        ended = asyncio.create_task(self._server.stop(grace))  # takes no more connections and streams
        waiting, began, left = list(self._leave), self._clock(), 0
        while left < len(waiting):
            # As many as are due by the clock: where a round takes long, more of them leave in it.
            upto = max(left + 1, due(len(waiting), self._clock() - began + _TICK, grace * _SPREAD))
            for leave in waiting[left:upto]:
                leave.leave()
            left = upto
            await asyncio.sleep(_TICK)
        await ended

    async def look(self) -> None:
        """Know all that `proxies`, `loads` and `counters` tell: here it is always known."""

    def processes(self) -> tuple[Serving, ...]:
        """The processes that serve, if they are others than this one."""
        return ()

    def proxies(self) -> tuple[ProxyRecord, ...]:
        """All open streams, by node and time."""
        return self.sessions.records()

    def connected(self) -> set[str]:
        """The gateways that have a stream."""
        return self.sessions.connected()

    async def changed(self) -> None:
        """Return when any stream opened, closed or acknowledged something."""
        waits = asyncio.get_running_loop().create_future()
        self._changed.add(waits)
        try:
            await waits
        finally:
            self._changed.discard(waits)

    def _handlers(self, service: str, full: str, delta: str, only: str) -> grpc.GenericRpcHandler:
        def handler(*, is_delta: bool) -> grpc.RpcMethodHandler[bytes, bytes]:
            async def serve(_: AsyncIterator[bytes], context: Context) -> None:
                peer, allowed = await self._admitted(context)
                try:
                    core = Stream(is_delta, self._envelope, self._drain_delay, only, differences=self._differences)
                    await self._serve_peer(context, core, allowed)
                finally:
                    self._left(peer)

            return grpc.stream_stream_rpc_method_handler(serve)

        methods = {full: handler(is_delta=False), delta: handler(is_delta=True)}
        return grpc.method_handlers_generic_handler(service, {name: one for name, one in methods.items() if name})

    async def _refuse(self, context: Context, code: str, message: str) -> NoReturn:
        """End a stream before it began."""
        self.counters.refused[code] += 1
        await context.abort(grpc.StatusCode[code], message)
        raise AssertionError("abort raises")

    def _load_handler(self) -> grpc.GenericRpcHandler:
        async def serve(requests: AsyncIterator[bytes], context: Context) -> None:
            peer, allowed = await self._admitted(context)
            try:
                await self._take_loads(requests, context, allowed)
            finally:
                self._left(peer)

        method: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(serve)
        return grpc.method_handlers_generic_handler(LOADS, {"StreamLoadStats": method})

    def _crowded(self) -> str:
        """Why there is no memory for one more stream; empty if there is. It is told when that begins and when it ends."""
        before, self._full = self._full, self.pressure.problem()
        if self._full and not before:
            self._told.warned(f"new streams are refused, those that there are go on: {self._full}")
        elif before and not self._full:
            self._told.warned("there is memory for new streams again")
        return self._full

    async def _admitted(self, context: Context) -> tuple[str, Allowed]:
        """One more stream of a peer, if it may have one, who counts it off when it ends; the gateways that it may ask for."""
        self.counters.begun += 1
        if not self._published.is_set():
            await self._refuse(context, "UNAVAILABLE", "policies are not loaded yet")
        if crowded := self._crowded():
            await self._refuse(context, "RESOURCE_EXHAUSTED", f"there is no room for more streams here: {crowded}")
        names = _certificate_names(context)
        peer, allowed = names[0] if names else _host(context.peer()), await self._allowed(context, names)
        if self._streams.total() >= self._limits.streams:
            await self._refuse(context, "RESOURCE_EXHAUSTED", f"this server serves {self._limits.streams} streams")
        if self._streams[peer] >= self._limits.streams_per_peer:
            text = f"{peer} has {self._limits.streams_per_peer} streams already"
            await self._refuse(context, "RESOURCE_EXHAUSTED", text)
        self._streams[peer] += 1
        return peer, allowed

    def _left(self, peer: str) -> None:
        self._streams[peer] -= 1
        if not self._streams[peer]:
            del self._streams[peer]

    async def _serve_peer(self, context: Context, core: Stream, allowed: Allowed) -> None:
        try:
            request = _request(await asyncio.wait_for(context.read(), _FIRST_REQUEST), core)
        except TimeoutError:
            await self._refuse(context, "DEADLINE_EXCEEDED", f"no request in {_FIRST_REQUEST:g} seconds")
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _NO_REQUEST)
        if request is None:
            return
        gateway = await self._gateway(request.node, context, allowed)
        assert request.node is not None
        now, wake = self._clock(), Wake(self._turns)
        session = Session(core, request.node, gateway, context.peer(), now, now, wake.call)
        self.sessions.open(session)
        self._leave[wake] = None
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write(session, wake, context))
                reading = self._read(session, request, context)
                del request  # see there
                await reading
                wake.end()
        except ExceptionGroup as ended:
            # InternalError: the client is gone. Else an abort, or a bug: a stream that writes no more must end, too.
            for error in ended.exceptions:
                if not isinstance(error, grpc.aio.InternalError):
                    raise error from None
        finally:
            del self._leave[wake]
            self.sessions.close(session, self._clock())
            self._tell()

    async def _allowed(self, context: Context, names: tuple[str, ...]) -> Allowed:
        """The gateways that the peer's certificate is for, or its token."""
        if context.auth_context().get("transport_security_type") != [b"insecure"]:
            return self._identities.gateways(names)
        if self._tokens is None:
            return None
        gateway = self._tokens.gateway(_authorization(context))
        if gateway is None:
            peer = _host(context.peer())
            self._warn(peer, "no token", f"a stream from {peer} is refused: it has no token of this server")
            await self._refuse(context, "UNAUTHENTICATED", _NOT_SHOWN)
        return frozenset((gateway,))

    async def _gateway(self, node: Node | None, context: Context, allowed: Allowed) -> str:
        """The gateway that a stream is for, if it may be."""
        gateway = gateway_of(node, self.sessions.gateways, allowed)
        if isinstance(gateway, Refused):
            await self._refuse(context, gateway.code, gateway.message)
        return gateway

    async def _take_loads(self, requests: AsyncIterator[bytes], context: Context, allowed: Allowed) -> None:
        """Count what an Envoy reports. It says once who it is, and that counts for the whole stream."""
        gateway, pace = "", Pace(_LOADS_EVERY)
        while True:
            try:
                waits = None if gateway else _FIRST_REQUEST
                data = await asyncio.wait_for(anext(requests), waits)
                if not pace.keeps(self._clock()):
                    text = f"load reports are asked for every {_LOADS_EVERY} seconds, and come much more often"
                    await self._refuse(context, "RESOURCE_EXHAUSTED", text)
                report = read_loads(data)
            except StopAsyncIteration:
                return
            except TimeoutError:
                await self._refuse(context, "DEADLINE_EXCEEDED", f"no report in {_FIRST_REQUEST:g} seconds")
            except DecodeError:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "this is no load report")
            except TooLargeError as error:
                await self._refuse(context, "RESOURCE_EXHAUSTED", str(error))
            if not gateway:
                gateway = await self._gateway(report.node, context, allowed)
                await context.write(wanted_loads(_LOADS_EVERY))
            snapshot = self.sessions.snapshot(gateway)
            if snapshot is None:
                await self._refuse(context, "NOT_FOUND", f"{gateway} is no gateway any more")
            self.loads.add(gateway, report, snapshot.get(CLUSTER))

    async def _read(self, session: Session, request: Request | None, context: Context) -> None:
        core = session.core
        while request is not None:
            problem = self._receive(session, request)
            if problem is not None:
                if problem.code == "INVALID_ARGUMENT":  # not a refusal: the client does not speak xDS
                    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, problem.message)
                await self._refuse(context, problem.code, problem.message)
            request = None  # who comes back says all that it has: that is not kept until the next request
            try:
                request = _request(await context.read(), core)
            except DecodeError:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _NO_REQUEST)

    def _receive(self, session: Session, request: Request) -> Refused | None:
        """Take a request; or why the stream ends."""
        if request.bare and (event := self.sessions.take(session, request, self._clock())) is not None:
            self.counters.acks[event.type_url] += 1
            self._told.acknowledged(event.type_url, event.seconds)
            self._tell()
            return None
        core, node = session.core, request.node
        if node is not None and (node.id, node.cluster) not in (("", ""), (session.node.id, session.node.cluster)):
            return Refused("INVALID_ARGUMENT", "node must not change during a stream")
        problem = core.problem(request)
        if problem:
            return Refused("INVALID_ARGUMENT", problem)
        nonces = core.unknown_nonces
        event = self.sessions.receive(session, request, self._clock())
        if event is not None:
            if event.refused:
                self.counters.nacks[event.type_url] += 1
            else:
                self.counters.acks[event.type_url] += 1
                self._told.acknowledged(event.type_url, event.seconds)
        asks = request.subscribe or request.names or request.initial
        if asks and max(core.subscriptions, len(request.initial)) > self._limits.subscriptions:
            text = f"more than {self._limits.subscriptions} subscriptions on one stream"
            return Refused("RESOURCE_EXHAUSTED", text)
        if event is None:
            self.counters.unknown_nonces += core.unknown_nonces - nonces
            if not core.serves(request.type_url or core.only):
                self._count_unknown_type(session, request.type_url)
        self._tell()
        return None

    def _count_unknown_type(self, session: Session, type_url: str) -> None:
        self.counters.unknown_types += 1
        node, kind = session.node.id, type_url[:200]
        self._warn(node, kind, f"{node[:200]} asks for {kind!r}, which is not served")

    def _warn(self, who: str, what: str, sentence: str) -> None:
        """Say it once of each."""
        if (who, what) not in self._warned and len(self._warned) < _WARNINGS:
            self._warned.add((who, what))
            self._told.warned(sentence)

    def _tell(self) -> None:
        while self._changed:
            waits = self._changed.pop()
            if not waits.done():
                waits.set_result(None)

    async def _write(self, session: Session, wake: Wake, context: Context) -> None:
        core, responses = session.core, self.counters.responses
        wake.call()
        while not wake.over:
            if not wake.ready:
                due = core.wake_at()
                if due is None:
                    await wake.turn()
                else:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(wake.turn(), max(0.0, due - self._clock()) + 0.01)
            wake.clear()
            if wake.leaves:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "this server stops")
            for type_url, data in () if wake.over else core.poll(self._clock()):
                if core.serves(type_url):  # other types are the client's words, and no label of a metric
                    responses[type_url] += 1
                self.sessions.touch(session)
                await context.write(data)
            self.sessions.touch(session)


def _request(data: object, core: Stream) -> Request | None:
    """What was read from a stream; None if nothing more comes. Raises DecodeError."""
    if not isinstance(data, bytes):  # grpc.aio.EOF
        return None
    return read_delta(data) if core.delta else read_full(data)


def _certificate_names(context: Context) -> tuple[str, ...]:
    """The URIs and DNS names in the client's certificate, which gRPC has verified; none in plain text."""
    found = context.auth_context().get("x509_subject_alternative_name", ())
    return tuple(name.decode("utf-8", "replace") for name in found)


def _authorization(context: Context) -> str:
    """What the peer says with the stream to show who it is."""
    return next((str(value) for key, value in context.invocation_metadata() or () if key == "authorization"), "")


def _host(peer: str) -> str:
    """`ipv4:127.0.0.1:1234` without the port."""
    return peer.rpartition(":")[0]
