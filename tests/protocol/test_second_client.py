"""A client that shares no code with the server subscribes, acknowledges, refuses and comes back."""

from __future__ import annotations

import time

import pytest
from grpclib.exceptions import GRPCError

from tests.protocol.second_client import Client
from tests.protocol.snapshots import snapshot
from xds_server.serve.grpc import XdsServer
from xds_server.snapshot.resource import CLUSTER, ENDPOINTS, LISTENER, ROUTES

STATE = ("c:one@1", "c:two@1", "e:one@1", "e:two@1", "l:web@1", "r:web@1")


async def test_nothing_is_said_before_the_first_load(server: tuple[XdsServer, int], delta: bool) -> None:
    async with Client(server[1], delta) as client:
        client.ask(CLUSTER)
        with pytest.raises(GRPCError, match="not loaded yet"):
            await client.next()


async def test_an_unknown_gateway_is_refused_with_the_known_ones(server: tuple[XdsServer, int], delta: bool) -> None:
    await server[0].publish({"default/edge": snapshot(*STATE)})
    async with Client(server[1], delta, cluster="default/egde") as client:
        client.ask(CLUSTER)
        with pytest.raises(GRPCError, match="Did you mean 'default/edge'"):
            await client.next()


async def test_it_subscribes_and_gets_each_change_once(server: tuple[XdsServer, int], delta: bool) -> None:
    xds, port = server
    await xds.publish({"default/edge": snapshot(*STATE)})
    async with Client(port, delta) as client:
        client.ask(CLUSTER)
        clusters = await client.next()
        assert client.names(clusters) == ["one", "two"]
        client.answer(clusters)
        client.ask(ENDPOINTS, "one")
        endpoints = await client.next()
        assert client.names(endpoints) == ["one"]
        client.answer(endpoints, "one")
        client.ask(LISTENER)
        listeners = await client.next()
        assert client.names(listeners) == ["web"]
        client.answer(listeners)
        client.ask(ROUTES, "web")
        routes = await client.next()
        client.answer(routes, "web")
        nonces = {one.nonce for one in (clusters, endpoints, listeners, routes)}
        assert len(nonces) == 4

        await xds.publish({"default/edge": snapshot(*STATE)})
        await xds.publish({"default/edge": snapshot(*STATE[:-1], "r:web@2")})
        changed = await client.next()
        assert (changed.type_url, client.names(changed)) == (ROUTES, ["web"])
        client.answer(changed, "web")
        await client.nothing()
    assert xds.counters.nacks.total() == 0


async def test_a_refusal_is_recorded_held_back_and_mended(server: tuple[XdsServer, int], delta: bool) -> None:
    xds, port = server
    await xds.publish({"default/edge": snapshot("c:one@1", "c:two@1")})
    async with Client(port, delta) as client:
        client.ask(CLUSTER)
        client.answer(await client.next())
        await xds.publish({"default/edge": snapshot("c:one@2", "c:two@1")})
        refused = await client.next()
        client.answer(refused, refusal="Error adding cluster(s) one: it is bad")
        await xds.publish({"default/edge": snapshot("c:one@2", "c:two@2")})
        second = await client.next()
        assert client.names(second) == ["one", "two"]
        if delta:
            assert [one.version for one in second.resources] == ["1", "2"], "what was last taken stands in"
        client.answer(second)
        (record,) = xds.proxies()
        assert record.state == "rejected"
        refusal = record.types[0].refusal
        assert refusal is not None
        assert refusal.resources == ("one",)
        assert [str(origin.span) for origin in refusal.origins] == ["one.yaml:7:1"]
        assert "it is bad" in refusal.message

        await xds.publish({"default/edge": snapshot("c:one@3", "c:two@2")})
        mended = await client.next()
        assert "one" in client.names(mended)
        client.answer(mended)
        await client.nothing()
        assert xds.proxies()[0].state == "synced"


async def test_one_that_comes_back_with_equal_versions_gets_nothing(server: tuple[XdsServer, int]) -> None:
    xds, port = server
    await xds.publish({"default/edge": snapshot("c:one@1", "c:two@2")})
    async with Client(port, delta=True) as client:
        client.ask(CLUSTER, had={"one": "1", "two": "2"})
        await client.nothing()
    async with Client(port, delta=True) as client:
        client.ask(CLUSTER, had={"one": "1", "two": "1", "gone": "1"})
        response = await client.next()
        assert client.names(response) == ["two"]
        client.answer(response)
        later = await client.next()
        assert (client.names(later), later.removed_resources) == ([], ["gone"]), "after what may still use it"


async def test_a_cluster_goes_after_the_routes_that_used_it(server: tuple[XdsServer, int], delta: bool) -> None:
    xds, port = server
    await xds.publish({"default/edge": snapshot("c:one@1", "c:two@1", "r:web@1")})
    async with Client(port, delta) as client:
        client.ask(CLUSTER)
        client.answer(await client.next())
        client.ask(ROUTES, "web")
        client.answer(await client.next(), "web")
        await xds.publish({"default/edge": snapshot("c:two@1", "r:web@2")})
        routes = await client.next()
        assert routes.type_url == ROUTES, "routes leave the cluster before it goes"
        client.answer(routes, "web")
        clusters = await client.next()
        assert clusters.type_url == CLUSTER
        if delta:
            assert clusters.removed_resources == ["one"]
        else:
            assert client.names(clusters) == ["two"]


async def test_a_name_that_is_not_there_is_told_and_comes_later(server: tuple[XdsServer, int]) -> None:
    xds, port = server
    await xds.publish({"default/edge": snapshot("e:one@1")})
    async with Client(port, delta=True) as client:
        client.ask(ENDPOINTS, "one", "two")
        response = await client.next()
        assert (client.names(response), response.removed_resources) == (["one"], ["two"])
        client.answer(response)
        await xds.publish({"default/edge": snapshot("e:one@1", "e:two@1")})
        assert client.names(await client.next()) == ["two"]


async def test_a_client_that_does_not_answer_delays_nobody(server: tuple[XdsServer, int], delta: bool) -> None:
    xds, port = server
    await xds.publish({"default/edge": snapshot("c:one@0")})
    async with Client(port, delta, node_id="silent") as silent, Client(port, delta) as client:
        silent.ask(CLUSTER)
        await silent.next()
        client.ask(CLUSTER)
        client.answer(await client.next())
        for version in range(1, 30):
            await xds.publish({"default/edge": snapshot(f"c:one@{version}")})
            client.answer(await client.next())
    assert xds.counters.responses[CLUSTER] == 30 + 1, "the silent one has one response, and no queue behind it"


async def test_a_second_server_on_the_port_is_refused(server: tuple[XdsServer, int]) -> None:
    other = XdsServer(time.monotonic)
    with pytest.raises(OSError, match="cannot listen"):
        other.listen(f"127.0.0.1:{server[1]}")
