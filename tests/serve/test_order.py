"""Order between types: what is used comes before what uses it, and goes after it.

In: playbooks over clusters, endpoints, listeners and routes. Out: failures where traffic would be lost: routes to
clusters that are not there yet or not there any more, clusters that wait for endpoints that nobody sends.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.serve.playbook import DRAIN, Client, delta, full, world
from xds_server.serve.requests import Request
from xds_server.snapshot.resource import CLUSTER, ENDPOINTS, LISTENER, ROUTES

BOTH = pytest.mark.parametrize("is_delta", [True, False], ids=["delta", "sotw"])
BEFORE = ("CDS a1", "EDS a1", "LDS l1", "RDS r1")


def connected(is_delta: bool, *lines: str) -> Client:
    """A client that has everything of `lines`, in which `r` is the only route table and all clusters have endpoints."""
    client = Client(is_delta, world(*lines))
    plus = "+" if is_delta else ""
    clusters = [f"{plus}{token[0]}" for line in lines if line.startswith("CDS") for token in line.split()[1:]]
    for short, names in (("CDS", []), ("EDS", clusters), ("LDS", []), ("RDS", [f"{plus}r"])):
        client.ask(short, *names)
        client.settle()
    assert client.stream.in_sync()
    return client


def endpoints(client: Client, *names: str) -> list[str]:
    """Envoy asks for the endpoints of clusters: it names the new ones, or all."""
    if client.delta:
        return client.ask("EDS", *(f"+{name}" for name in names))
    return client.ask("EDS", *client.names["EDS"], *names)


@BOTH
def test_endpoints_come_after_every_update_of_their_cluster(is_delta: bool) -> None:
    client = connected(is_delta, "CDS a1 b1", "EDS a1 b1")
    said = client.change("CDS a2 b1", "EDS a1 b1")
    assert said == (["CDS a2", "EDS a1"] if is_delta else ["CDS a2 b1", "EDS a1"])
    assert client.settle() == []


def test_a_returning_client_gets_the_endpoints_of_a_changed_cluster() -> None:
    client = delta("CDS a2 b1", "EDS a1 b1")
    assert client.ask("CDS", had={"a": "1", "b": "1"}) == ["CDS a2"]
    assert client.ask("EDS", "+a", "+b", had={"a": "1", "b": "1"}) == ["EDS a1"]
    assert client.settle() == []


def test_types_may_be_asked_for_in_any_order() -> None:
    client = delta(*BEFORE)
    assert client.ask("RDS", "+r") == ["RDS r1"]
    assert client.ask("EDS", "+a") == ["EDS a1"]
    assert client.ask("LDS") == ["LDS l1"]
    assert client.ask("CDS") == [
        "CDS a1",
    ]
    assert client.ack("EDS") == ["EDS a1"]


@BOTH
def test_one_change_of_everything_comes_in_order(is_delta: bool) -> None:
    client = connected(is_delta, *BEFORE)
    assert client.change("CDS a2", "EDS a2", "LDS l2", "RDS r2") == ["CDS a2", "EDS a2", "LDS l2", "RDS r2"]


@BOTH
def test_routes_and_listeners_wait_for_new_clusters(is_delta: bool) -> None:
    client = connected(is_delta, *BEFORE)
    after = ("CDS a1 b1", "EDS a1 b1", "LDS l2", "RDS r2")
    assert client.change(*after) == (["CDS b1"] if is_delta else ["CDS a1 b1"])
    assert endpoints(client, "b") == ["EDS b1"]
    assert client.ack("EDS") == []  # endpoints do not wait; the cluster warms with them
    assert client.ack("CDS") == ["LDS l2", "RDS r2"]


@BOTH
def test_old_routes_serve_for_as_long_as_a_new_cluster_is_not_acknowledged(is_delta: bool) -> None:
    client = connected(is_delta, *BEFORE)
    client.change("CDS a1 b1", "EDS a1", "LDS l1", "RDS r2")
    assert client.wait(3600) == []
    assert client.stream.holds(ROUTES)
    assert not client.stream.holds(LISTENER)
    assert client.ack("CDS") == ["RDS r2"]
    assert not client.stream.holds(ROUTES)


@BOTH
def test_routes_wait_for_a_cluster_that_comes_back(is_delta: bool) -> None:
    client = connected(is_delta, *BEFORE)
    client.change("CDS", "EDS", "LDS l1", "RDS r2")
    client.settle()
    assert client.wait(DRAIN)
    client.settle()
    assert client.change(*BEFORE) == ["CDS a1", "EDS a1"]
    client.ack("EDS")
    assert client.ack("CDS") == ["RDS r1"]


@BOTH
def test_routes_wait_for_the_correction_of_a_refused_cluster(is_delta: bool) -> None:
    client = connected(is_delta, *BEFORE)
    client.change("CDS a1 b1", "EDS a1", "LDS l1", "RDS r1")
    client.nack("CDS", "b is bad")
    said = client.change("CDS a1 b2", "EDS a1", "LDS l1", "RDS r2")
    assert said == (["CDS b2"] if is_delta else ["CDS a1 b2"])
    assert client.ack("CDS") == ["RDS r2"]


@BOTH
def test_a_listener_that_waits_for_its_route_table_gets_it(is_delta: bool) -> None:
    client = connected(is_delta, *BEFORE)
    client.change("CDS a1 b1", "EDS a1 b1", "LDS l1", "RDS r1 s1")
    plus = "+" if is_delta else ""
    # The table is no subject of the wait: the listener that was sent serves nothing without it.
    assert client.ask("RDS", *(() if is_delta else ("r",)), f"{plus}s") == ["RDS s1"]


@BOTH
def test_only_the_table_that_a_listener_waits_for_is_sent_early(is_delta: bool) -> None:
    client = connected(is_delta, *BEFORE)
    client.change("CDS a1 b1", "EDS a1 b1", "LDS l1", "RDS r2 s1")
    plus = "+" if is_delta else ""
    assert client.ask("RDS", *(() if is_delta else ("r",)), f"{plus}s") == ["RDS s1"]
    assert client.ack("RDS") == []
    assert client.ack("CDS") == ["RDS r2"]


@BOTH
def test_a_cluster_goes_after_the_routes_that_used_it(is_delta: bool) -> None:
    client = connected(is_delta, "CDS a1 b1", "EDS a1 b1", "LDS l1", "RDS r1")
    assert client.change("CDS a1", "EDS a1", "LDS l1", "RDS r2") == ["RDS r2"]
    assert client.wait(60) == []  # not acknowledged: still in use
    assert client.ack("RDS") == []
    assert client.wait(DRAIN - 1) == []  # requests in flight
    assert client.wait(1) == (["CDS -b", "EDS -b"] if is_delta else ["CDS a1"])
    assert client.settle() == []
    assert client.stream.in_sync()


@BOTH
def test_a_cluster_stays_while_the_routes_without_it_are_refused(is_delta: bool) -> None:
    client = connected(is_delta, "CDS a1 b1", "EDS a1 b1", "LDS l1", "RDS r1")
    client.change("CDS a1", "EDS a1", "LDS l1", "RDS r2")
    client.nack("RDS")
    assert client.wait(600) == []
    assert client.change("CDS a1", "EDS a1", "LDS l1", "RDS r3") == ["RDS r3"]
    client.ack("RDS")
    assert client.wait(DRAIN) == (["CDS -b", "EDS -b"] if is_delta else ["CDS a1"])


@BOTH
def test_a_cluster_that_comes_back_in_time_never_went(is_delta: bool) -> None:
    client = connected(is_delta, "CDS a1 b1", "EDS a1 b1", "LDS l1", "RDS r1")
    client.change("CDS a1", "EDS a1", "LDS l1", "RDS r2")
    client.ack("RDS")
    assert client.change("CDS a1 b1", "EDS a1 b1", "LDS l1", "RDS r2") == []
    assert client.wait(60) == []


@BOTH
def test_a_cluster_is_replaced_without_a_gap(is_delta: bool) -> None:
    client = connected(is_delta, *BEFORE)
    assert client.change("CDS b1", "EDS b1", "LDS l1", "RDS r2") == (["CDS b1"] if is_delta else ["CDS a1 b1"])
    assert endpoints(client, "b") == ["EDS b1"]
    assert client.ack("CDS") == ["RDS r2"]
    client.ack("EDS")
    client.ack("RDS")
    assert client.wait(DRAIN) == (["CDS -a", "EDS -a"] if is_delta else ["CDS b1"])


def test_a_returning_client_keeps_a_cluster_until_its_routes_are_new() -> None:
    client = delta("CDS a1", "EDS a1", "LDS l1", "RDS r2")
    assert client.ask("CDS", had={"a": "1", "b": "1"}) == []
    assert client.ask("EDS", "+a", "+b", had={"a": "1", "b": "1"}) == []
    assert client.ask("LDS", had={"l": "1"}) == []
    assert client.ask("RDS", "+r", had={"r": "1"}) == ["RDS r2"]
    assert client.wait(60) == []
    client.ack("RDS")
    assert client.wait(DRAIN) == ["CDS -b", "EDS -b"]
    client.settle()
    assert client.stream.in_sync()


@pytest.mark.parametrize("make", [delta, full])
def test_a_stream_of_one_type_waits_for_no_other(make: Callable[..., Client]) -> None:
    client = make("CDS a1 b1", "RDS r1", only="CDS")
    client.ask("CDS")
    client.ack("CDS")
    client.change("CDS a1", "RDS r2")
    assert client.wait(DRAIN) == (["CDS -b"] if client.delta else ["CDS a1"])


def test_a_stream_of_one_type_does_not_read_others() -> None:
    client = delta("CDS a1", "EDS a1", only="EDS")
    assert client.ask("EDS", "+a") == ["EDS a1"]
    with pytest.raises(AssertionError):
        client.ask("CDS")


def test_who_asks_no_more_for_what_goes_has_the_version_without_it() -> None:
    client = connected(True, "CDS a1 b1", "EDS a1 b1", "LDS l1", "RDS r1")
    client.change("CDS a1", "EDS a1", "LDS l1", "RDS r2")
    client.settle()
    said = client.stream.poll(client.now + 10 * DRAIN)
    assert next(said)[0] == CLUSTER
    client.stream.receive(Request(ENDPOINTS, unsubscribe=("b",)), client.now + 10 * DRAIN)
    assert [type_url for type_url, _ in said] == []
    endpoints_of = client.stream.channels[ENDPOINTS]
    assert client.stream.snapshot is not None
    assert endpoints_of.acknowledged == endpoints_of.sent_version == client.stream.snapshot.versions[ENDPOINTS]
