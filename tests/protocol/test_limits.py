"""How much one client and all of them may ask, and what they hear when it is too much."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from tests.protocol.second_client import Client, until
from tests.protocol.snapshots import snapshot
from xds_server.envoy_api.envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest
from xds_server.serve.counters import Listeners
from xds_server.serve.grpc import XdsServer
from xds_server.serve.limits import Limits, parse_limits
from xds_server.serve.pressure import resident
from xds_server.snapshot.resource import CLUSTER, ENDPOINTS
from xds_server.workers.pool import Pool, Share

DELTA = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
_MIB = 1024 * 1024


@asynccontextmanager
async def serving(limits: Limits, said: list[str] | None = None) -> AsyncIterator[tuple[XdsServer, int]]:
    told = Listeners(warned=said.append) if said is not None else Listeners()
    server = XdsServer(time.monotonic, limits=limits, told=told)
    port = server.listen("127.0.0.1:0")
    await server.start()
    await server.publish({"default/edge": snapshot("c:one@1")})
    yield server, port
    await server.stop(0)


async def refusal(client: Client) -> str:
    with pytest.raises(GRPCError) as refused:
        await client.next()
    assert refused.value.status is Status.RESOURCE_EXHAUSTED
    return str(refused.value.message)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(streams=2), "this server serves 2 streams"),
        (Limits(streams_per_peer=2), "127.0.0.1 has 2 streams already"),
    ],
    ids=["all", "of one peer"],
)
async def test_streams_beyond_the_limit_are_refused_and_the_others_go_on(
    delta: bool, limits: Limits, words: str
) -> None:
    async with serving(limits) as (server, port), contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(port, delta, node_id=str(n))) for n in range(3)]
        for client in clients[:2]:
            client.ask(CLUSTER)
            client.answer(await client.next())
        clients[2].ask(CLUSTER)
        assert words in await refusal(clients[2])
        assert server.counters.refused == {"RESOURCE_EXHAUSTED": 1}
        await server.publish({"default/edge": snapshot("c:one@2")})
        assert clients[0].names(await clients[0].next()) == ["one"]
        clients[1].hang_up()
        await until(lambda: len(server.proxies()) == 1)
        async with Client(port, delta, node_id="3") as client:
            client.ask(CLUSTER)
            assert client.names(await client.next()) == ["one"]


async def test_without_memory_there_are_no_more_streams_and_the_others_go_on(delta: bool) -> None:
    said: list[str] = []
    limits = Limits(memory=int((resident() + 80 * _MIB) / 0.9))
    async with serving(limits, said) as (server, port), Client(port, delta) as first:
        first.ask(CLUSTER)
        first.answer(await first.next())
        filled = [b"x" * (120 * _MIB)]
        await until(lambda: bool(server.pressure.problem()))
        async with Client(port, delta, node_id="second") as second:
            second.ask(CLUSTER)
            assert re.search(r"no room for more streams here: memory: \d+ of \d+ MiB", await refusal(second))
        assert server.counters.refused == {"RESOURCE_EXHAUSTED": 1}
        await server.publish({"default/edge": snapshot("c:one@2")})
        assert first.names(await first.next()) == ["one"]
        filled.clear()
        await until(lambda: not server.pressure.problem())
        async with Client(port, delta, node_id="third") as third:
            third.ask(CLUSTER)
            assert third.names(await third.next()) == ["one"]
    assert "new streams are refused, those that there are go on: memory" in said[0]
    assert said[1:] == ["there is memory for new streams again"]


async def test_streams_that_come_at_once_are_all_served() -> None:
    numbers = range(1, 2 * _AT_ONCE, 2)
    async with serving(Limits(streams_per_connection=_AT_ONCE)) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(_FIRST)
        await reader.readexactly(9)  # the server has said what it takes
        sent = (_frame(1, 4, number, _CALL) + _frame(0, 0, number, _asks(number)) for number in numbers)
        writer.write(_frame(4, 1, 0, b"") + b"".join(sent))
        await until(lambda: server.counters.responses[CLUSTER] == _AT_ONCE)
        writer.close()


async def test_a_connection_has_so_many_streams_and_the_next_waits() -> None:
    async with (
        serving(Limits(streams_per_connection=2)) as (server, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        calls: list[Any] = []
        for number in range(2):
            calls.append(channel.stream_stream(DELTA)())
            await calls[number].write(_request(number))
            assert await calls[number].read()
        third: Any = channel.stream_stream(DELTA)()
        waits = asyncio.create_task(third.write(_request(2)))
        async with Client(port, True, node_id="other") as other:
            other.ask(CLUSTER)
            other.answer(await other.next())
            assert server.counters.begun == 3
        calls[0].cancel()
        await waits
        assert await third.read()
        assert server.counters.begun == 4


@pytest.mark.parametrize("front", [XdsServer(time.monotonic), Pool(Share(1), time.monotonic)], ids=["one", "several"])
async def test_memory_of_streams_that_have_gone_is_given_back(front: XdsServer | Pool) -> None:
    held = [bytes((number % 256,)) * 600 for number in range(200_000)]
    filled = resident()
    del held[:-1]  # the last one keeps the allocator from shrinking by itself
    watching = asyncio.create_task(front.watch_memory(0.01))
    await until(lambda: resident() < filled - 60 * _MIB)
    watching.cancel()


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    """One HTTP/2 frame."""
    return len(body).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + body


def _request(number: int) -> bytes:
    """The first request of an Envoy."""
    request = DeltaDiscoveryRequest(type_url=CLUSTER)
    request.node.id, request.node.cluster = str(number), "default/edge"
    return request.SerializeToString()


def _asks(number: int) -> bytes:
    """The same as gRPC has it in HTTP/2."""
    message = _request(number)
    return b"\0" + len(message).to_bytes(4, "big") + message


def _field(name: str, value: str) -> bytes:
    """A header, neither indexed nor compressed."""
    return b"".join((b"\0", bytes((len(name),)), name.encode(), bytes((len(value),)), value.encode()))


_AT_ONCE = 1_600
"""Of streams that nobody has looked at yet gRPC itself cancels some from 1,000 on."""
_FIRST = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b"")
_CALL = b"".join(
    (
        _field(":method", "POST"),
        _field(":scheme", "http"),
        _field(":path", DELTA),
        _field(":authority", "test"),
        _field("te", "trailers"),
        _field("content-type", "application/grpc"),
    )
)


async def test_subscriptions_beyond_the_limit_end_the_stream(delta: bool) -> None:
    async with serving(Limits(subscriptions=100)) as (server, port), Client(port, delta) as client:
        client.ask(ENDPOINTS, *(f"e{number}" for number in range(101)))
        assert "more than 100 subscriptions on one stream" in await refusal(client)
        await until(lambda: not server.proxies())


async def test_a_message_beyond_the_limit_ends_its_stream_only(delta: bool) -> None:
    async with serving(Limits(message=10_000)) as (_, port), Client(port, delta) as other:
        other.ask(CLUSTER)
        other.answer(await other.next())
        async with Client(port, delta, node_id="large") as client:
            client.ask(ENDPOINTS, *(f"endpoints-{number}" for number in range(2000)))
            assert "larger than max" in await refusal(client)
        other.ask(ENDPOINTS, "x")
        assert other.names(await other.next()) == [] if delta else True


async def test_a_connection_ends_when_it_is_old() -> None:
    async with serving(Limits(age=1, age_grace=1)) as (server, port), Client(port, True) as client:
        client.ask(CLUSTER)
        client.answer(await client.next())
        with pytest.raises((GRPCError, StreamTerminatedError)):
            await client.next()
        await until(lambda: not server.proxies())


def test_limits_as_they_are_written() -> None:
    assert parse_limits([]) == Limits()
    assert parse_limits(["streams=5", "age-grace=7"]) == Limits(streams=5, age_grace=7)
    for text, words in [
        ("stream=5", "no limit"),
        ("streams", "whole number"),
        ("streams=0", "whole number"),
        ("age=x", "age=500"),
    ]:
        with pytest.raises(ValueError, match=words):
            parse_limits([text])


async def test_streams_end_one_after_the_other_when_the_server_stops() -> None:
    async with serving(Limits()) as (server, port), contextlib.AsyncExitStack() as stack:
        calls: list[Any] = []
        for number in range(20):
            options = (("grpc.use_local_subchannel_pool", 1),)
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}", options))
            calls.append(channel.stream_stream(DELTA)())
            first = DeltaDiscoveryRequest(type_url=CLUSTER)
            first.node.id, first.node.cluster = str(number), "default/edge"
            await calls[-1].write(first.SerializeToString())
            assert await calls[-1].read()
        counts: set[int] = set()
        stopping = asyncio.create_task(server.stop(5))
        while not stopping.done():
            counts.add(len(server.proxies()))
            await asyncio.wait({stopping}, timeout=0.002)
        assert len(counts & set(range(1, 20))) > 3, "not all at once"
        for call in calls:
            assert (await call.code(), await call.details()) == (grpc.StatusCode.UNAVAILABLE, "this server stops")
