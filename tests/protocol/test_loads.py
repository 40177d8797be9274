"""Load reports: who may tell what, and what is made of it. The client shares no code with the server."""

from __future__ import annotations

import asyncio
import itertools
import warnings
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import pytest
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from tests.protocol.second_client import until
from tests.protocol.snapshots import snapshot
from tests.protocol.test_identity import NAMES, Secured, secured
from xds_server.serve.grpc import XdsServer
from xds_server.serve.loads import MOST, Load, LoadReport, Loads, Pace

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from envoy_data_plane.envoy.config.core.v3 import Node
    from envoy_data_plane.envoy.config.endpoint.v3 import ClusterStats, UpstreamLocalityStats
    from envoy_data_plane.envoy.service.load_stats.v3 import LoadReportingServiceAsyncStub, LoadStatsRequest

__all__ = ["secured"]
EAST = "acme/dev/front/east"


def report(cluster: str = EAST, *, node: bool = True, **loads: tuple[int, int]) -> LoadStatsRequest:
    """A report, of clusters by the end of their name: answered well, and failed."""
    stats = [
        ClusterStats(
            cluster_name=f"east|{name}",
            upstream_locality_stats=[UpstreamLocalityStats(total_successful_requests=good, total_error_requests=bad)],
        )
        for name, (good, bad) in loads.items()
    ]
    return LoadStatsRequest(node=Node(id="far", cluster=cluster) if node else None, cluster_stats=stats)


async def told(
    port: int, requests: Iterable[LoadStatsRequest], tls: Any = None, between: Callable[[int], Any] | None = None
) -> list[Any]:
    """Send reports one after the other and return all answers. `between` is awaited before each, by its number."""

    async def sent() -> AsyncIterator[LoadStatsRequest]:
        for number, one in enumerate(requests):
            if between is not None:
                await between(number)
            yield one

    channel = Channel("127.0.0.1", port, ssl=tls)
    try:
        return [one async for one in LoadReportingServiceAsyncStub(channel).stream_load_stats(sent())]
    finally:
        channel.close()


async def test_reports_of_all_envoys_of_a_gateway_add_up(server: tuple[XdsServer, int]) -> None:
    xds, port = server
    await xds.publish({EAST: snapshot("c:east|a@1", "c:east|b@1")})
    reports = [report(), report(a=(3, 1)), report(a=(2, 0), b=(0, 1), node=False)]
    (asked,) = await told(port, reports)
    assert asked.send_all_clusters
    assert asked.load_reporting_interval.total_seconds() == 5
    await told(port, [report(a=(1, 0))])
    assert xds.loads.by_gateway == {EAST: {"east|a": Load(7, 1), "east|b": Load(1, 1)}}
    xds.forget(EAST)
    assert xds.loads.by_gateway == {}


async def test_a_certificate_reports_for_its_own_gateway_alone(secured: Secured) -> None:
    server, port, authority = secured
    await server.publish({f"acme/dev/{name}/west": snapshot("c:east|x@1") for name in NAMES})
    for owner, asked in itertools.product(NAMES, NAMES):
        tls = authority.client(authority.issue(f"{owner}-west", f"spiffe://test/cell/{owner}/gw/west"))
        reports = [report(f"acme/dev/{asked}/west", x=(1, 0))]
        if owner == asked:
            assert len(await told(port, reports, tls)) == 1
            continue
        with pytest.raises(GRPCError) as refused:
            await told(port, reports, tls)
        assert refused.value.status is Status.PERMISSION_DENIED
    assert server.loads.by_gateway == {f"acme/dev/{name}/west": {"east|x": Load(1, 0)} for name in NAMES}


@pytest.mark.parametrize(
    ("first", "status"),
    [(report(node=False), Status.INVALID_ARGUMENT), (report("acme/dev/nobody/east"), Status.NOT_FOUND)],
)
async def test_who_says_not_who_it_is_is_not_heard(
    server: tuple[XdsServer, int], first: LoadStatsRequest, status: Status
) -> None:
    xds, port = server
    await xds.publish({EAST: snapshot()})
    with pytest.raises(GRPCError) as refused:
        await told(port, [first])
    assert refused.value.status is status
    assert xds.loads.by_gateway == {}
    await until(lambda: not xds._streams)


def test_what_leads_nowhere_out_of_a_cell_and_what_is_too_much_is_not_counted() -> None:
    loads = Loads()
    many = {f"east|{number}": Load(1) for number in range(2 * MOST)}
    has = {"cellway_xds", "default/shop:80", "south|mail", *many}
    told = {"cellway_xds": Load(9), "default/shop:80": Load(9), "south|mail": Load(1), "south|unheard-of": Load(1)}
    loads.add("g", LoadReport(None, told), has)
    assert loads.by_gateway == {"g": {"south|mail": Load(1)}}
    loads.add("g", LoadReport(None, many), has)
    assert len(loads.by_gateway["g"]) == MOST
    loads.add("g", LoadReport(None, {"south|mail": Load(2, 1)}), has)
    assert loads.by_gateway["g"]["south|mail"] == Load(3, 1)


def sized(field: bytes) -> bytes:
    """A field of number 2 with these bytes: a cluster of a report, or a place of a cluster."""
    size, length = len(field), b""
    while size > 127:
        size, length = size >> 7, length + bytes([size & 127 | 128])
    return b"\x12" + length + bytes([size]) + field


def and_more(more: bytes) -> LoadStatsRequest:
    """A report of one request that goes on with these bytes."""
    data = bytes(report(a=(1, 0))) + more

    class Report(LoadStatsRequest):
        def SerializeToString(self) -> bytes:  # noqa: N802
            return data

    return Report()


EMPTY = sized(b"")


@pytest.mark.parametrize(
    "more", [EMPTY * 20_000, sized(EMPTY * 20_000), sized(EMPTY * 150) * 150, sized(b"\x0a" + sized(b"a" * 2**20)[1:])]
)
async def test_a_report_that_is_too_large_ends_the_stream(server: tuple[XdsServer, int], more: bytes) -> None:
    xds, port = server
    await xds.publish({EAST: snapshot("c:east|a@1")})
    with pytest.raises(GRPCError) as refused:
        await told(port, [report(a=(1, 0)), and_more(more)])
    assert refused.value.status is Status.RESOURCE_EXHAUSTED
    assert xds.loads.by_gateway == {EAST: {"east|a": Load(1, 0)}}
    assert xds.counters.refused == {"RESOURCE_EXHAUSTED": 1}


async def test_a_report_may_be_as_large_as_a_gateway_needs_it(server: tuple[XdsServer, int]) -> None:
    xds, port = server
    await xds.publish({EAST: snapshot("c:east|a@1")})
    await told(port, [and_more(sized(EMPTY * 9_000) + EMPTY * 9_000)])
    assert xds.loads.by_gateway == {EAST: {"east|a": Load(1, 0)}}


async def test_who_reports_all_the_time_is_not_heard_any_longer(server: tuple[XdsServer, int]) -> None:
    xds, port = server
    await xds.publish({EAST: snapshot("c:east|a@1")})

    async def no_more_once_refused(_number: int) -> None:
        await asyncio.sleep(0)
        if xds.counters.refused:
            await asyncio.Event().wait()

    with pytest.raises(GRPCError) as refused:
        await told(port, [report(a=(1, 0))] * 1000, between=no_more_once_refused)
    assert refused.value.status is Status.RESOURCE_EXHAUSTED
    assert xds.loads.by_gateway[EAST]["east|a"].requests < 1000
    await until(lambda: not xds._streams)


def test_reports_may_come_at_once_after_a_pause_but_not_all_the_time() -> None:
    pace = Pace(5)
    assert all(pace.keeps(now) for now in range(0, 1000, 5))
    assert [pace.keeps(1000) for _ in range(22)] == [True] * 20 + [False] * 2
    assert not pace.keeps(1001)
    assert pace.keeps(1100)


async def test_clusters_that_the_gateway_has_not_are_not_remembered(server: tuple[XdsServer, int]) -> None:
    xds, port = server
    await xds.publish({EAST: snapshot("c:east|a@1")})
    made_up: dict[str, Any] = {name * 100_000: (1, 0) for name in "bcd"}
    await told(port, [report(a=(1, 0), **made_up), report(**made_up)])
    assert xds.loads.by_gateway == {EAST: {"east|a": Load(1, 0)}}


async def test_a_gateway_that_is_gone_has_nothing_more_to_report(server: tuple[XdsServer, int]) -> None:
    xds, port = server
    await xds.publish({EAST: snapshot("c:east|a@1")})

    async def forget(number: int) -> None:
        if number == 1:
            await until(lambda: bool(xds.loads.by_gateway.get(EAST)))
            xds.forget(EAST)

    with pytest.raises(GRPCError) as refused:
        await told(port, [report(a=(1, 0))] * 2, between=forget)
    assert refused.value.status is Status.NOT_FOUND
    assert xds.loads.by_gateway == {}
