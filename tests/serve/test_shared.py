"""Many streams that are told the same: one response, made once, and no nonce twice on a stream.

In: streams with one envelope and one memory of differences, as a server has them. Out: which bytes they share.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.serve.playbook import DRAIN, TYPE_URLS, world
from xds_server.envoy_api.envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryResponse,
)
from xds_server.serve.differences import Differences
from xds_server.serve.requests import Node, Request
from xds_server.serve.sessions import Session, Sessions
from xds_server.serve.stream import Stream
from xds_server.serve.wire import Envelope, read_delta
from xds_server.snapshot.resource import Snapshot

CDS = TYPE_URLS["CDS"]


class Fleet:
    """Streams of a server, each asking for all clusters."""

    def __init__(self, count: int, snapshot: Snapshot, had: dict[str, str] | None = None) -> None:
        envelope, differences = Envelope(), Differences()
        self.streams = [Stream(True, envelope, DRAIN, differences=differences) for _ in range(count)]
        self.change(snapshot)
        for stream in self.streams:
            stream.receive(Request(CDS, initial=had or {}), 0)

    def change(self, snapshot: Snapshot) -> None:
        """Something else is wanted."""
        for stream in self.streams:
            stream.replace_snapshot(snapshot)

    def told(self) -> list[bytes]:
        """What each is told now, and takes."""
        said = []
        for stream in self.streams:
            (response,) = (data for _, data in stream.poll(0))
            nonce = DeltaDiscoveryResponse.FromString(response).nonce
            ack = read_delta(DeltaDiscoveryRequest(type_url=CDS, response_nonce=nonce).SerializeToString())
            event = stream.take(ack, 0)
            assert event is not None
            assert stream.is_idle()
            assert not list(stream.poll(0))
            said.append(response)
        return said


def test_all_are_told_of_a_change_by_the_same_bytes() -> None:
    fleet = Fleet(3, world("CDS a1 b1"))
    first = fleet.told()
    assert first[0] is first[1] is first[2]
    fleet.change(world("CDS a2 b1"))
    second = fleet.told()
    assert second[0] is second[1] is second[2]
    assert [one.name for one in DeltaDiscoveryResponse.FromString(second[0]).resources] == ["a"]


def test_a_stream_that_is_told_the_same_once_more_gets_another_nonce() -> None:
    fleet = Fleet(2, world("CDS a1"))
    fleet.told()
    there, back = world("CDS a2"), world("CDS a1")
    nonces = []
    for snapshot in (there, back, there, back):
        fleet.change(snapshot)
        told = fleet.told()
        assert told[0] is told[1]
        nonces.append(DeltaDiscoveryResponse.FromString(told[0]).nonce)
    assert len(set(nonces)) == 4


def test_one_that_lags_is_told_all_of_what_it_missed() -> None:
    fleet = Fleet(2, world("CDS a1 b1"))
    fleet.told()
    late, other = fleet.streams
    other.replace_snapshot(world("CDS a2 b1"))
    fleet.streams = [other]
    fleet.told()
    fleet.streams = [late, other]
    fleet.change(world("CDS a2 b2"))
    names = [[one.name for one in DeltaDiscoveryResponse.FromString(data).resources] for data in fleet.told()]
    assert names == [["a", "b"], ["b"]]


def test_a_name_that_goes_before_the_first_response_is_called_absent() -> None:
    stream = Stream(True, Envelope(), DRAIN)
    stream.replace_snapshot(world("EDS a1 b1"))
    stream.receive(Request(TYPE_URLS["EDS"], subscribe=("a", "b")), 0)
    stream.replace_snapshot(world("EDS b1"))
    (response,) = (DeltaDiscoveryResponse.FromString(data) for _, data in stream.poll(0))
    assert [one.name for one in response.resources] == ["b"]
    assert list(response.removed_resources) == ["a"]


def test_clients_that_come_back_with_everything_are_told_only_what_changes_then() -> None:
    snapshot = world("CDS a1 b1")
    fleet = Fleet(2, snapshot, had={"a": "1", "b": "1"})
    assert not [data for stream in fleet.streams for data in stream.poll(0)]
    fleet.change(world("CDS a1 b2"))
    first, second = fleet.told()
    assert first is second
    assert [one.name for one in DeltaDiscoveryResponse.FromString(first).resources] == ["b"]


def test_what_stays_in_a_snapshot_is_not_looked_at_again() -> None:
    first, sessions = world("CDS a1", "RDS r1"), Sessions()
    sessions.publish({"default/web": first})
    one = Session(Stream(True, Envelope()), Node("one", "default/web"), "default/web", "", 0, 0, lambda: None)
    sessions.open(one)
    same = replace(first, resources={type_url: dict(named) for type_url, named in first.resources.items()})
    sessions.publish({"default/web": same})
    assert one.core.snapshot is first
    clusters = dict(first.get(CDS))
    other = world("CDS a1", "RDS r2")
    sessions.publish({"default/web": replace(other, resources={**other.resources, CDS: clusters})})
    assert one.core.snapshot is not None
    assert one.core.snapshot.get(CDS) is first.get(CDS)
    assert [one.version for one in one.core.snapshot.get(TYPE_URLS["RDS"]).values()] == ["2"]


@pytest.mark.parametrize("delta_first", [True, False])
def test_streams_of_two_protocols_are_told_the_same_change_each_in_its_own(*, delta_first: bool) -> None:
    envelope, differences, eds = Envelope(), Differences(), TYPE_URLS["EDS"]
    delta, full = (Stream(is_delta, envelope, DRAIN, differences=differences) for is_delta in (True, False))
    before, after = world("EDS a1"), world("EDS a2")
    for stream in (delta, full):
        stream.replace_snapshot(before)
    delta.receive(Request(eds, subscribe=("a",)), 0)
    full.receive(Request(eds, names=("a",)), 0)
    for _ in range(2):
        said = [data for stream in (delta, full) for _, data in stream.poll(0)]
        if said:
            delta.receive(Request(eds, nonce=DeltaDiscoveryResponse.FromString(said[0]).nonce), 0)
            full.receive(Request(eds, names=("a",), nonce=DiscoveryResponse.FromString(said[1]).nonce), 0)
    for stream in (delta, full):
        stream.replace_snapshot(after)
    order = (delta, full) if delta_first else (full, delta)
    told = {stream.delta: data for stream in order for _, data in stream.poll(0)}
    assert DeltaDiscoveryResponse.FromString(told[True]).resources[0].name == "a"
    assert DiscoveryResponse.FromString(told[False]).resources[0].type_url == eds


def test_what_is_held_beside_a_state_is_put_there_once_for_all_streams() -> None:
    differences = Differences()
    had, left = world("CDS a1 b1").get(CDS), world("CDS a1").get(CDS)
    held = {"b": had["b"]}
    first = differences.with_held(held, left)
    assert first == had
    assert differences.with_held(dict(held), left) is first
    assert differences.with_held({"b": world("CDS b2").get(CDS)["b"]}, left) is not first
