"""Streams from their start to their end: the services of one type, who may ask, health, and clients that misbehave.

In: messages and gRPC of the second client. Out: failures where a stream is served that should not be, a stream of one
client disturbs another, or a stream that ended is still counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpclib.client import Channel, StreamStreamMethod, UnaryUnaryMethod
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from tests.protocol.health import NOT_SERVING, SERVING, health
from tests.protocol.second_client import Client, Garbage, ads, request, until
from tests.protocol.snapshots import resource, snapshot
from xds_server.serve.grpc import XdsServer
from xds_server.serve.limits import Limits
from xds_server.serve.requests import Request
from xds_server.snapshot.resource import (
    CLUSTER,
    ENDPOINTS,
    EXTENSION,
    HOST,
    LISTENER,
    ROUTES,
    RUNTIME,
    SCOPES,
    SECRET,
    Resource,
    snapshot_of,
)

Served = tuple[XdsServer, int]
STATE = ("c:one@1", "e:one@1", "l:web@1", "r:web@1", "s:cert@1", "o:scope@1", "x:filter@1", "t:layer@1", "h:web/a@1")
UNKNOWN = "type.googleapis.com/envoy.service.load_stats.v3.LoadStatsResponse"


@pytest.mark.parametrize(
    ("service", "type_url", "name"),
    [
        ("clusters", CLUSTER, "one"),
        ("endpoints", ENDPOINTS, "one"),
        ("listeners", LISTENER, "web"),
        ("routes", ROUTES, "web"),
        ("secrets", SECRET, "cert"),
        ("scopes", SCOPES, "scope"),
        ("extensions", EXTENSION, "filter"),
        ("runtime", RUNTIME, "layer"),
    ],
)
async def test_each_type_has_a_service_of_its_own(
    server: Served, delta: bool, service: str, type_url: str, name: str
) -> None:
    xds, port = server
    await xds.publish({"default/edge": snapshot(*STATE)})
    async with Client(port, delta, service=service) as client:
        client.ask("", name)  # the type goes without saying
        response = await client.next()
        assert (response.type_url, client.names(response)) == (type_url, [name])
        client.answer(response, name)
        await until(lambda: xds.proxies()[0].synced)
    async with Client(port, delta, service=service) as client:
        client.ask(UNKNOWN, name)
        with pytest.raises(GRPCError, match="this service is for"):
            await client.next()


@pytest.mark.parametrize(
    ("node", "type_url", "words"),
    [
        (None, CLUSTER, "must carry a node"),
        (("", "default/edge"), CLUSTER, r"node\.id is empty"),
        (("one", ""), CLUSTER, "NAMESPACE/GATEWAY"),
        (("one", "default/edge"), "", "type_url is empty"),
    ],
)
async def test_a_first_request_must_say_who_asks_for_what(
    server: Served, delta: bool, node: tuple[str, str] | None, type_url: str, words: str
) -> None:
    await server[0].publish({"default/edge": snapshot(*STATE)})
    async with Client(server[1], delta) as client:
        client.send(request(delta, type_url, node=node))
        with pytest.raises(GRPCError, match=words) as refused:
            await client.next()
        assert refused.value.status is Status.INVALID_ARGUMENT
    await until(lambda: not server[0].proxies())


async def test_what_a_client_had_when_it_came_back_is_not_kept(server: Served) -> None:
    await server[0].publish({"default/edge": snapshot(*STATE)})
    async with Client(server[1], True) as client:
        client.ask(CLUSTER, "one", had={f"gone-{number}": "1" for number in range(100)})
        await client.next()
        assert not [one for one in gc.get_objects() if isinstance(one, Request) and "gone-1" in one.initial]


async def test_an_unknown_gateway_is_not_found(server: Served, delta: bool) -> None:
    await server[0].publish({"default/edge": snapshot(*STATE)})
    async with Client(server[1], delta, cluster="default/nowhere") as client:
        client.ask(CLUSTER)
        with pytest.raises(GRPCError, match="Known: default/edge") as refused:
            await client.next()
        assert refused.value.status is Status.NOT_FOUND


async def test_before_the_first_load_the_answer_is_unavailable(server: Served, delta: bool) -> None:
    async with Client(server[1], delta) as client:
        client.ask(CLUSTER)
        with pytest.raises(GRPCError) as refused:
            await client.next()
        assert refused.value.status is Status.UNAVAILABLE


async def test_a_node_may_be_repeated_and_not_changed(server: Served, delta: bool) -> None:
    await server[0].publish({"default/edge": snapshot(*STATE), "default/other": snapshot(*STATE)})
    async with Client(server[1], delta) as client:
        client.ask(CLUSTER)
        client.answer(await client.next())
        client.send(request(delta, LISTENER, node=("second-client", "default/edge")))
        assert client.names(await client.next()) == ["web"]
        client.send(request(delta, ROUTES, "web", node=("second-client", "default/other")))
        with pytest.raises(GRPCError, match="node must not change"):
            await client.next()


async def test_virtual_hosts_have_a_service_of_their_own_in_the_incremental_protocol(server: Served) -> None:
    xds, port = server
    await xds.publish({"default/edge": snapshot(*STATE)})
    async with Client(port, True, service="hosts") as client:
        client.ask(HOST)
        response = await client.next()
        assert client.names(response) == ["web/a"]
        client.answer(response)
        client.ask(HOST, "web/b")
        absent = await client.next()
        assert [(one.name, one.aliases, one.resource) for one in absent.resources] == [("web/b", ["web/b"], None)]


async def test_versions_are_the_same_on_every_server(server: Served) -> None:
    other = XdsServer(time.monotonic)
    second = other.listen("127.0.0.1:0")
    await other.start()
    state = STATE
    await server[0].publish({"default/edge": snapshot(*state)})
    await other.publish({"default/edge": snapshot(*reversed(state))})
    had = {}
    async with Client(server[1], True) as client:
        client.ask(CLUSTER)
        client.ask(LISTENER)
        for response in (await client.next(), await client.next()):
            client.answer(response)
            had[response.type_url] = {one.name: one.version for one in response.resources}
    async with Client(second, True) as client:
        client.ask(CLUSTER, "*", had=had[CLUSTER])
        client.ask(LISTENER, "*", had=had[LISTENER])
        await client.nothing()
    await other.stop(0)


async def test_reflection_tells_of_all_services(server: Served) -> None:
    def ask() -> tuple[set[str], bytes]:
        with grpc.insecure_channel(f"127.0.0.1:{server[1]}") as channel:
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            service = "envoy.service.discovery.v3.AggregatedDiscoveryService"
            requests = [
                reflection_pb2.ServerReflectionRequest(list_services=""),
                reflection_pb2.ServerReflectionRequest(file_containing_symbol=service),
            ]
            listed, described = stub.ServerReflectionInfo(iter(requests))
            names = {one.name for one in listed.list_services_response.service}
            return names, described.file_descriptor_response.file_descriptor_proto[0]

    names, file = await asyncio.to_thread(ask)
    assert len([name for name in names if name.startswith("envoy.service.")]) == 11
    assert "grpc.health.v1.Health" in names
    assert b"DeltaAggregatedResources" in file


async def test_health_follows_the_first_load_and_the_end(server: Served) -> None:
    xds, port = server
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    said = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
    assert (await health(port), (await said.read()).status) == (NOT_SERVING, NOT_SERVING)
    await xds.publish({"default/edge": snapshot(*STATE)})
    assert (await health(port), (await said.read()).status) == (SERVING, SERVING)
    ended = asyncio.create_task(xds.stop(5))
    assert (await said.read()).status == NOT_SERVING
    await channel.close()
    await ended


async def test_a_method_that_is_not_there_is_unimplemented(server: Served) -> None:
    channel = Channel("127.0.0.1", server[1])
    method: UnaryUnaryMethod[Any, Any] = UnaryUnaryMethod(
        channel, "/envoy.service.discovery.v3.AggregatedDiscoveryService/Other", empty_pb2.Empty, empty_pb2.Empty
    )
    with pytest.raises(GRPCError) as refused:
        await method(empty_pb2.Empty())
    assert refused.value.status is Status.UNIMPLEMENTED
    channel.close()


class Relay:
    """Passes bytes on between a client and the server, until it is cut without a word to either."""

    def __init__(self, port: int) -> None:
        self.port, self.cut = port, False
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers += [writer, far_writer]
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if not self.cut:
                writer.write(data)

    async def stop(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def test_a_peer_that_falls_silent_is_let_go(delta: bool) -> None:
    xds = XdsServer(time.monotonic, limits=Limits(keepalive=1, keepalive_timeout=1))
    relay = Relay(xds.listen("127.0.0.1:0"))
    await xds.start()
    await xds.publish({"default/edge": snapshot(*STATE)})
    try:
        async with Client(await relay.start(), delta) as client:
            client.ask(CLUSTER)
            client.answer(await client.next())
            await until(lambda: xds.proxies()[0].synced)
            relay.cut = True
            await until(lambda: not xds.proxies())
    finally:
        await relay.stop()
        await xds.stop(0)


async def test_garbage_ends_its_own_stream_only(server: Served, delta: bool) -> None:
    xds, port = server
    await xds.publish({"default/edge": snapshot(*STATE)})
    async with Client(port, delta) as client:
        client.ask(CLUSTER)
        client.answer(await client.next())
        channel = Channel("127.0.0.1", port)
        method: StreamStreamMethod[Any, Any] = StreamStreamMethod(channel, ads(delta), Garbage, Garbage)
        with pytest.raises(GRPCError, match="no discovery request"):
            await method([Garbage()])
        channel.close()
        await xds.publish({"default/edge": snapshot("c:one@2", *STATE[1:])})
        assert client.names(await client.next()) == ["one"]


async def test_a_type_that_is_not_served_leaves_the_stream_alone(server: Served, delta: bool) -> None:
    await server[0].publish({"default/edge": snapshot(*STATE)})
    async with Client(server[1], delta) as client:
        client.ask(UNKNOWN, "filter")
        if delta:
            absent = await client.next()
            assert (absent.type_url, absent.removed_resources) == (UNKNOWN, ["filter"])
            client.answer(absent)
        client.ask(CLUSTER)
        assert client.names(await client.next()) == ["one"]
    assert list(server[0].counters.responses) == [CLUSTER]


async def test_a_stream_that_ended_is_not_counted(server: Served, delta: bool) -> None:
    xds, port = server
    await xds.publish({"default/edge": snapshot(*STATE)})
    async with Client(port, delta, node_id="leaves") as leaves, Client(port, delta, node_id="vanishes") as vanishes:
        for client in (leaves, vanishes):
            client.ask(CLUSTER)
            client.answer(await client.next())
        assert [one.node_id for one in xds.proxies()] == ["leaves", "vanishes"]
        leaves.hang_up()
        await until(lambda: [one.node_id for one in xds.proxies()] == ["vanishes"])
    await until(lambda: not xds.proxies())


@pytest.mark.parametrize("cut", ["abort", "close", "cancel"])
async def test_a_client_that_vanishes_in_the_middle_of_a_response_leaves_no_trace(
    server: Served, delta: bool, cut: str, caplog: pytest.LogCaptureFixture
) -> None:
    xds, port = server
    body = b"x" * 1_000_000
    await xds.publish(
        {"default/edge": snapshot_of("default/edge", (Resource(CLUSTER, f"c{n}", body, "1") for n in range(8)))}
    )
    channel = Channel("127.0.0.1", port)
    asks = request(delta, CLUSTER, node=("vanishes", "default/edge"))
    method: StreamStreamMethod[Any, Any] = StreamStreamMethod(channel, ads(delta), type(asks), Garbage)
    with contextlib.suppress(StreamTerminatedError):
        async with method.open() as stream:
            await stream.send_message(asks)
            await until(lambda: xds.counters.responses[CLUSTER] == 1)
            await asyncio.sleep(0.05)  # it is being written
            match cut:
                case "abort":
                    (await channel.__connect__()).connection._transport.abort()
                case "close":
                    channel.close()
                case _:
                    await stream.cancel()
            await until(lambda: not xds.proxies())
            if cut != "cancel":
                await stream.cancel()
    channel.close()
    errors = [one.getMessage() for one in caplog.records if one.levelname == "ERROR"]
    # grpc itself says so when the peer goes while it sends the end of the stream; whether it notices is a race.
    assert [text for text in errors if not text.startswith("ExecuteBatchError raised in core by servicer")] == []


async def test_two_streams_of_one_node_do_not_disturb_each_other(server: Served, delta: bool) -> None:
    xds, port = server
    await xds.publish({"default/edge": snapshot("c:one@1")})
    async with Client(port, delta) as new:
        async with Client(port, delta) as old:
            for client in (old, new):
                client.ask(CLUSTER)
                client.answer(await client.next())
            assert len(xds.proxies()) == 2
        await until(lambda: len(xds.proxies()) == 1)
        await xds.publish({"default/edge": snapshot("c:one@2")})
        assert client.names(await new.next()) == ["one"]


async def test_a_client_that_does_not_read_delays_nobody(server: Served, delta: bool) -> None:
    xds, port = server
    body = b"x" * 1_000_000
    large = snapshot_of("default/edge", (Resource(CLUSTER, f"c{n}", body, "1") for n in range(8)))
    await xds.publish({"default/edge": large, "default/small": snapshot("c:one@0")})
    channel = Channel("127.0.0.1", port)
    asks = request(delta, CLUSTER, node=("stuck", "default/edge"))
    stuck: StreamStreamMethod[Any, Any] = StreamStreamMethod(channel, ads(delta), type(asks), Garbage)
    async with stuck.open() as stream, Client(port, delta, cluster="default/small") as client:
        await stream.send_message(asks)  # and nothing is received
        await until(lambda: any(one.node_id == "stuck" for one in xds.proxies()))
        client.ask(CLUSTER)
        client.answer(await client.next())
        for version in range(1, 20):
            await xds.publish({"default/edge": large, "default/small": snapshot(f"c:one@{version}")})
            client.answer(await client.next())
        (record,) = [one for one in xds.proxies() if one.node_id == "stuck"]
        assert not record.synced
        await stream.cancel()
    channel.close()
    await until(lambda: not xds.proxies())


async def test_a_gateway_that_went_keeps_its_streams_and_takes_no_new_ones(server: Served, delta: bool) -> None:
    xds, port = server
    await xds.publish({"default/edge": snapshot("c:one@1")})
    async with Client(port, delta) as client:
        client.ask(CLUSTER)
        client.answer(await client.next())
        xds.forget("default/edge")
        await xds.publish({"default/other": snapshot("c:one@2")})
        async with Client(port, delta) as late:
            late.ask(CLUSTER)
            with pytest.raises(GRPCError, match="is no gateway here"):
                await late.next()
        await xds.publish({"default/edge": snapshot("c:one@3")})
        assert client.names(await client.next()) == ["one"]


async def test_a_client_may_come_back_with_very_many_versions(server: Served) -> None:
    xds, port = server
    names = [f"httproute/default/a-route-with-quite-a-long-name/rule/{n}" for n in range(50_000)]
    await xds.publish({"default/edge": snapshot_of("default/edge", (resource("c", name, "1" * 64) for name in names))})
    async with Client(port, delta=True) as client:
        client.ask(CLUSTER, had={name: ("0" if name == names[7] else "1") * 64 for name in names})
        assert client.names(await client.next()) == [names[7]]


async def test_a_returning_client_of_the_state_of_the_world_is_sent_everything_once(server: Served) -> None:
    xds, port = server
    await xds.publish({"default/edge": snapshot(*STATE)})
    for _ in range(2):
        async with Client(port, delta=False) as client:
            client.ask(CLUSTER)
            client.answer(await client.next())
            await client.nothing()


async def test_a_long_refusal_is_cut_and_made_printable(server: Served, delta: bool) -> None:
    xds, port = server
    await xds.publish({"default/edge": snapshot("c:one@1")})
    async with Client(port, delta) as client:
        client.ask(CLUSTER)
        client.answer(await client.next(), refusal="bad\n\x1b[31m" + "x" * 1_000_000)
        await until(lambda: xds.counters.nacks[CLUSTER] == 1)
        refusal = xds.proxies()[0].types[0].refusal
        assert refusal is not None
        assert refusal.message.startswith("bad  [31m")
        assert refusal.message.isprintable()
        assert len(refusal.message) == 4096
