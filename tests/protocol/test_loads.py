"""Load reports: who may tell what, and what is made of it. The client shares no code with the server."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from tests.protocol.second_client import until
from tests.protocol.snapshots import snapshot
from tests.protocol.test_identity import NAMES, Secured, secured
from xds_server.serve.grpc import XdsServer
from xds_server.serve.loads import MOST, Load, LoadReport, Loads

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


async def told(port: int, requests: Iterable[LoadStatsRequest], tls: Any = None) -> list[Any]:
    """Send reports one after the other and return all answers."""

    async def sent() -> AsyncIterator[LoadStatsRequest]:
        for one in requests:
            yield one

    channel = Channel("127.0.0.1", port, ssl=tls)
    try:
        return [one async for one in LoadReportingServiceAsyncStub(channel).stream_load_stats(sent())]
    finally:
        channel.close()


async def test_reports_of_all_envoys_of_a_gateway_add_up(server: tuple[XdsServer, int]) -> None:
    xds, port = server
    await xds.publish({EAST: snapshot()})
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
    loads.add("g", LoadReport(None, {"cellway_xds": Load(9), "default/shop:80": Load(9), "south|mail": Load(1)}))
    assert loads.by_gateway == {"g": {"south|mail": Load(1)}}
    loads.add("g", LoadReport(None, {f"east|{number}": Load(1) for number in range(2 * MOST)}))
    assert len(loads.by_gateway["g"]) == MOST
    loads.add("g", LoadReport(None, {"south|mail": Load(2, 1)}))
    assert loads.by_gateway["g"]["south|mail"] == Load(3, 1)
