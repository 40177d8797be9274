"""What would cost traffic, or time for ever: clients that come back, clusters that warm slowly, snapshots without end.

In: playbooks in which resources say what they refer to. Out: failures where a listener would be deleted, a route would
lead to a cluster that is not there, or something would never be sent or taken away.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.serve.playbook import DRAIN, TYPE_URLS, Client, fake
from xds_server.serve.requests import Request
from xds_server.snapshot.hosts import Hosts
from xds_server.snapshot.resource import CLUSTER, ROUTES, Resource, Snapshot, snapshot_of

BOTH = pytest.mark.parametrize("is_delta", [True, False], ids=["delta", "sotw"])


def table(token: str, *clusters: str) -> Resource:
    """A route table to these clusters."""
    plain = fake("RDS", token)
    needs = tuple((CLUSTER, name) for name in clusters)
    return Resource(plain.type_url, plain.name, plain.body, plain.version, (), needs)


def listener(token: str, *tables: str) -> Resource:
    """A listener that asks for these route tables."""
    plain = fake("LDS", token)
    needs = tuple((ROUTES, name) for name in tables)
    return Resource(plain.type_url, plain.name, plain.body, plain.version, (), needs)


def state(clusters: str, *others: Resource) -> Snapshot:
    """A snapshot of these clusters (`a1 b1`) and other resources."""
    return snapshot_of("default/web", [*(fake("CDS", token) for token in clusters.split()), *others])


def change(client: Client, snapshot: Snapshot) -> list[str]:
    client.stream.replace_snapshot(snapshot)
    return client.poll()


def connected(is_delta: bool, snapshot: Snapshot) -> Client:
    """A client that has everything of a snapshot with the route table `r`."""
    client = Client(is_delta, snapshot)
    for short, names in (("CDS", []), ("LDS", []), ("RDS", ["+r"] if is_delta else ["r"])):
        client.ask(short, *names)
        client.settle()
    assert client.stream.in_sync()
    return client


def come_back(client: Client, *asked: tuple[str, Sequence[str]]) -> list[str]:
    """A client of the state of the world asks again on a new stream, for all types at once."""
    for short, names in asked:
        client.names[short] = tuple(names)
        client.stream.receive(Request(TYPE_URLS[short], "old", names=tuple(names), version="earlier"), client.now)
    return client.poll()


def test_a_refused_listener_is_not_left_out_for_a_client_that_may_have_an_older_one() -> None:
    client = Client(False, state("", listener("l2"), listener("m1")))
    assert come_back(client, ("LDS", ())) == ["LDS l2 m1"]
    assert client.nack("LDS", "listener l: wrong") == []  # `LDS m1` would delete what it still has of `l`
    assert client.wait(600) == []
    assert change(client, state("", listener("l2"), listener("m2"))) == ["LDS l2 m2"]
    assert client.nack("LDS", "listener l: wrong") == []
    assert change(client, state("", listener("l3"), listener("m2"))) == ["LDS l3 m2"]
    assert client.ack("LDS") == []
    assert client.stream.in_sync()


def test_routes_of_a_client_that_comes_back_wait_for_new_clusters() -> None:
    client = Client(False, state("a1 b1", listener("l1", "r"), table("r2", "b")))
    assert come_back(client, ("CDS", ()), ("LDS", ()), ("RDS", ["r"])) == ["CDS a1 b1", "LDS l1"]
    assert client.ack("CDS") == ["RDS r2"]


@BOTH
def test_routes_wait_for_a_cluster_that_cannot_even_be_sent_yet(is_delta: bool) -> None:
    client = connected(is_delta, state("a1", listener("l1", "r"), table("r1", "a")))
    assert change(client, state("a2", listener("l1", "r"), table("r1", "a"))) == ["CDS a2"]
    assert change(client, state("a2 b1", listener("l1", "r"), table("r2", "b"))) == []
    assert client.ack("CDS") == (["CDS b1"] if is_delta else ["CDS a2 b1"])
    assert client.ack("CDS") == ["RDS r2"]


@BOTH
def test_a_cluster_that_warms_slowly_holds_up_only_what_uses_it(is_delta: bool) -> None:
    client = connected(is_delta, state("a1", listener("l1", "r"), table("r1", "a")))
    assert len(change(client, state("a1 b1", listener("l1", "r"), table("r1", "a")))) == 1
    assert change(client, state("a1 b1", listener("l2", "r"), table("r2", "a"))) == ["LDS l2", "RDS r2"]


@BOTH
def test_a_listener_waits_for_the_clusters_of_the_table_that_it_will_ask_for(is_delta: bool) -> None:
    client = connected(is_delta, state("a1", listener("l1", "r"), table("r1", "a")))
    after = state("a1 b1", listener("l2", "r", "s"), table("r1", "a"), table("s1", "b"))
    assert len(change(client, after)) == 1
    assert client.ack("CDS") == ["LDS l2"]


@BOTH
def test_a_client_that_never_answers_is_not_looked_at_all_the_time(is_delta: bool) -> None:
    client = connected(is_delta, state("a1", listener("l1", "r"), table("r1", "a")))
    change(client, state("a1 b1", listener("l1", "r"), table("r2", "b")))
    assert client.stream.wake_at() is None


@BOTH
def test_a_cluster_goes_though_snapshots_never_pause(is_delta: bool) -> None:
    client = connected(is_delta, state("a1 b1", listener("l1", "r"), table("r1", "a")))
    went = []
    for version in range(2, 20):
        client.now += 1
        change(client, state("a1", listener("l1", "r"), table(f"r{version}", "a")))
        client.settle()
        went += [version] if "b" not in client.stream.wanted(CLUSTER) else []
    assert went
    assert went[0] <= 2 + DRAIN + 1


@BOTH
def test_the_rest_of_a_refusal_without_a_name_is_sent_when_the_cause_is_mended(is_delta: bool) -> None:
    client = Client(is_delta, state("", table("r1"), table("s1")))
    names = ["+r", "+s"] if is_delta else ["r", "s"]
    assert client.ask("RDS", *names) == ["RDS r1 s1"]
    assert client.nack("RDS", "a domain is there twice") == ["RDS r1"]
    assert client.nack("RDS", "a domain is there twice") == ["RDS s1"]
    assert change(client, state("", table("r2"), table("s1"))) == []
    assert client.ack("RDS") == ["RDS r2"]
    assert client.ack("RDS") == []
    assert client.stream.in_sync()


@BOTH
def test_a_refusal_of_what_is_no_longer_asked_for_is_over(is_delta: bool) -> None:
    client = Client(is_delta, state("", table("r1")))
    client.ask("RDS", "+r" if is_delta else "r")
    client.nack("RDS")
    assert not client.stream.in_sync()
    client.ask("RDS", *(["-r"] if is_delta else []))
    assert client.stream.in_sync()
    assert client.ask("RDS", "+r" if is_delta else "r") == ["RDS r1"]


def test_endpoints_asked_for_again_are_sent_once_for_one_push_of_clusters() -> None:
    client = Client(False, snapshot_of("default/web", [fake("CDS", "a1"), fake("EDS", "a1")]))
    client.ask("CDS")
    client.ask("EDS", "a")
    client.settle()
    said = [client.ack("EDS") for _ in range(5)]
    assert said == [["EDS a1"], [], [], [], []]


def test_everything_of_a_type_that_is_not_served_is_nothing_once() -> None:
    client = Client(True, state("a1"))
    url = "type.googleapis.com/envoy.service.load_stats.v3.LoadStatsResponse"
    assert client.ask(url) == [url]
    assert client.ask(url) == []


def test_what_was_never_sent_is_never_held() -> None:
    client = Client(True, state("a1"))
    client.ask("CDS")
    assert change(client, state("a1 b1")) == []
    assert change(client, state("a1")) == []
    assert client.ack("CDS") == []


def test_names_that_are_not_there_leave_nothing_behind() -> None:
    client = Client(True, state("a1"))
    client.ask("CDS")
    client.settle()
    for number in range(50):
        client.ask("CDS", f"+n{number}")
        client.settle()
        client.ask("CDS", f"-n{number}")
        client.settle()
    assert client.stream.channels[CLUSTER].known == {"a": "1"}


def test_names_of_types_that_are_not_served_do_not_pile_up() -> None:
    client = Client(True, state("a1"))
    for number in range(100):
        client.stream.receive(Request("x", subscribe=(f"n{number}", "m")), client.now)
    assert client.stream.subscriptions == 64


def test_a_name_of_many_parts_costs_nothing() -> None:
    assert Hosts().owner("t/" + "a." * 1_000_000) is None
