"""What one Envoy refuses is withdrawn for all, what others accept is not, and the rest goes on.

In: playbooks with several clients. Out: failures where a refused version reaches an Envoy that has not seen it, a
restarted Envoy gets a set that does not work, or one Envoy keeps the others from what they can use.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.serve.fleet import fleet
from tests.serve.playbook import fake, world
from xds_server.serve import verdicts
from xds_server.snapshot.resource import LISTENER, ROUTES, SECRET, Resource, Snapshot, snapshot_of

BOTH = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])


@BOTH
def test_a_refused_version_is_withdrawn_for_all(delta: bool) -> None:
    server = fleet("LDS a1 b1")
    one, two = server.ready("one", "LDS", delta=delta), server.ready("two", "LDS", delta=delta)
    server.change("LDS a2 b1")
    assert one.poll() == (["LDS a2"] if delta else ["LDS a2 b1"])
    assert one.nack("LDS", "a is bad") == (["LDS a1"] if delta else ["LDS a1 b1"])
    assert two.poll() == []  # it had not been sent yet
    server.change("LDS a2 b2")
    assert two.poll() == (["LDS b2"] if delta else ["LDS a1 b2"])
    two.ack("LDS")
    assert server.record("two").state == "rejected"
    one.ack("LDS")
    one.settle()
    server.change("LDS a3 b2")
    assert one.poll() == (["LDS a3"] if delta else ["LDS a3 b2"])
    assert two.poll() == (["LDS a3"] if delta else ["LDS a3 b2"])
    one.ack("LDS")
    two.ack("LDS")
    assert [server.record(name).state for name in ("one", "two")] == ["synced", "synced"]


@BOTH
def test_a_restarted_envoy_gets_the_set_that_works_and_then_tries_once(delta: bool) -> None:
    server = fleet("LDS a1 b1")
    one = server.ready("one", "LDS", delta=delta)
    server.change("LDS a2 b2")
    one.poll()
    one.nack("LDS", "a is bad")
    one.settle()
    one.leave()
    again = server.client("one", delta=delta)
    assert again.ask("LDS") == ["LDS a1 b2"]
    assert again.ack("LDS") == (["LDS a2"] if delta else ["LDS a2 b2"])
    assert again.nack("LDS", "a is bad") == (["LDS a1"] if delta else ["LDS a1 b2"])
    assert again.ack("LDS") == []
    assert server.record("one").state == "rejected"
    other = server.client("two", delta=delta)
    assert other.ask("LDS") == ["LDS a1 b2"]
    assert other.ack("LDS") == []  # it refused nothing, and has nothing to try


@BOTH
def test_a_restarted_envoy_that_accepts_now_frees_the_others(delta: bool) -> None:
    server = fleet("LDS a1")
    one, two = server.ready("one", "LDS", delta=delta), server.ready("two", "LDS", delta=delta)
    server.change("LDS a2")
    one.poll()
    one.nack("LDS", "a cannot bind")
    one.leave()
    assert two.poll() == []
    again = server.client("one", delta=delta)
    assert again.ask("LDS") == ["LDS a1"]
    assert again.ack("LDS") == ["LDS a2"]
    assert again.ack("LDS") == []
    assert two.poll() == ["LDS a2"]
    two.ack("LDS")
    assert [server.record(name).state for name in ("one", "two")] == ["synced", "synced"]


@BOTH
def test_one_odd_envoy_does_not_keep_the_others_from_what_they_accept(delta: bool) -> None:
    server = fleet("LDS a1")
    odd, two = server.ready("odd", "LDS", delta=delta), server.ready("two", "LDS", delta=delta)
    server.change("LDS a2")
    odd.poll()
    two.poll()
    two.ack("LDS")
    assert odd.nack("LDS", "a is bad") == ["LDS a1"]
    odd.ack("LDS")
    assert two.poll() == []
    assert server.record("two").state == "synced"
    assert server.record("odd").state == "rejected"
    assert server.client("three", delta=delta).ask("LDS") == ["LDS a2"]
    odd.leave()
    assert server.client("odd", delta=delta).ask("LDS") == ["LDS a1"]


@BOTH
def test_what_was_never_accepted_is_not_sent_to_newcomers_and_taken_from_nobody(delta: bool) -> None:
    server = fleet("LDS a1 b1")
    one = server.client("one", delta=delta)
    one.ask("LDS", had={"a": "0"} if delta else None)
    assert one.nack("LDS", "a is bad") == (["LDS b1"])
    one.ack("LDS")
    assert server.client("two", delta=delta).ask("LDS") == ["LDS b1"]


def test_a_client_of_an_earlier_server_keeps_what_it_has_instead() -> None:
    server = fleet("LDS a2 b2")
    one = server.client("one")
    assert one.ask("LDS", had={"a": "1", "b": "2"}) == ["LDS a2"]
    assert one.nack("LDS", "a is bad") == []
    two = server.client("two")
    assert two.ask("LDS", had={"a": "1", "b": "1"}) == ["LDS b2"]


def table(token: str, *needs: tuple[str, str]) -> Resource:
    return replace(fake("RDS", token), needs=needs)


def listener(token: str, *needs: tuple[str, str]) -> Resource:
    return replace(fake("LDS", token), needs=needs)


def state(*resources: Resource) -> Snapshot:
    return snapshot_of("default/web", resources)


def test_an_older_listener_brings_back_the_table_and_the_secret_that_it_needs() -> None:
    before = listener("l1", (ROUTES, "r"), (SECRET, "s"))
    server = fleet()
    server.publish(state(before, table("r1"), fake("SDS", "s1")))
    one = server.client("one")
    one.ask("LDS")
    one.ask("RDS", "+r")
    one.ask("SDS", "+s")
    one.settle()
    server.publish(state(listener("l2", (ROUTES, "q"), (SECRET, "t")), table("q1"), fake("SDS", "t1")))
    assert one.poll() == ["LDS l2"]
    assert one.nack("LDS", "l is bad") == ["LDS l1"]
    new = server.client("two")
    assert new.ask("LDS") == ["LDS l1"]
    assert new.ask("RDS", "+r") == ["RDS r1"]
    assert new.ask("SDS", "+s") == ["SDS s1"]


def test_a_listener_whose_table_was_never_accepted_is_not_sent_to_newcomers() -> None:
    server = fleet()
    server.publish(state(listener("l1", (ROUTES, "r")), listener("m1"), table("r1")))
    one = server.client("one")
    assert one.ask("LDS") == ["LDS l1 m1"]
    assert one.ask("RDS", "+r") == ["RDS r1"]
    one.ack("LDS")
    one.nack("RDS", "no")
    assert server.client("two").ask("LDS") == ["LDS m1"]


def test_the_record_names_who_refused_and_what_made_it() -> None:
    server = fleet("LDS a1")
    server.ready("one", "LDS")
    two = server.ready("two", "LDS")
    server.change("LDS a2")
    two.poll()
    two.nack("LDS", "a is bad")
    (kind,) = server.record("one").types
    assert not kind.synced
    assert [(one.node, one.message, one.resources) for one in kind.standing] == [("two", "a is bad", ("a",))]
    assert kind.refusal is None


def test_what_is_mended_is_pushed_at_once_to_those_who_refused() -> None:
    server = fleet("LDS a1 b1")
    one = server.ready("one", "LDS")
    server.change("LDS a2 b1")
    one.poll()
    server.change("LDS a3 b1")
    assert one.nack("LDS", "a is bad") == ["LDS a3"]
    assert one.ack("LDS") == []
    assert server.record("one").state == "synced"


def test_a_gateway_that_goes_leaves_its_streams_alone() -> None:
    server = fleet("LDS a1")
    one = server.ready("one", "LDS")
    server.sessions.forget("default/web")
    assert one.ack("LDS") == []
    assert server.record("one").state == "synced"


def test_streams_of_one_envoy_share_the_order() -> None:
    server = fleet("CDS a1", "RDS r1")
    clusters, routes = server.client("one", only="CDS"), server.client("one", only="RDS")
    stranger = server.client("two", only="RDS")
    clusters.ask("CDS")
    clusters.ack("CDS")
    for client in (routes, stranger):
        client.ask("RDS", "+r")
        client.ack("RDS")
    server.change("CDS a1 b1", "RDS r2")
    assert clusters.poll() == ["CDS b1"]
    assert routes.poll() == []
    assert stranger.poll() == ["RDS r2"]  # nobody knows of its clusters
    clusters.ack("CDS")
    assert routes.poll() == ["RDS r2"]
    server.change("CDS a1", "RDS r3")
    assert clusters.poll() == []
    assert routes.poll() == []
    assert routes.ack("RDS") == ["RDS r3"]
    assert routes.ack("RDS") == []
    assert clusters.wait(0) == []
    assert clusters.wait(5) == ["CDS -b"]


def test_an_aggregated_stream_that_was_left_behind_does_not_hold_up_the_next() -> None:
    server = fleet("CDS a1", "RDS r1")
    left = server.client("one")
    left.ask("CDS")
    left.ask("RDS", "+r")
    server.change("CDS a1 b1", "RDS r2")
    again = server.client("one")
    again.ask("CDS")
    again.ask("RDS", "+r")
    assert again.ack("CDS") == []
    server.change("CDS a1 b1", "RDS r3")
    assert again.ack("RDS") == ["RDS r3"]


def test_names_that_clients_make_up_are_not_remembered_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "_WITNESSES", 20)
    server = fleet("LDS a1")
    clients = [server.client(f"odd{number}") for number in range(50)]
    for client in clients:
        assert client.ask("LDS") == ["LDS a1"]
    for client in clients:
        client.nack("LDS", "a is bad")
    refused = [
        number for number in range(50) if server.record(f"odd{number}").types[0].standing[0].node == f"odd{number}"
    ]
    assert refused == list(range(20))


def test_an_unknown_nonce_is_counted_and_acknowledges_nothing() -> None:
    server = fleet("LDS a1")
    one = server.client("one")
    one.ask("LDS")
    one.ask("LDS", nonce="77")
    one.ask("LDS", nonce="nonsense")
    assert one.stream.unknown_nonces == 2
    assert one.stream.channels[LISTENER].in_flight is not None
    assert world("LDS a1").get(LISTENER).keys() == {"a"}


def test_what_others_accepted_stays_accepted_whatever_the_odd_one_takes_later() -> None:
    server = fleet("LDS a1")
    one, odd = server.ready("one", "LDS"), server.ready("odd", "LDS")
    server.change("LDS a2")
    one.poll()
    one.settle()
    odd.poll()
    odd.nack("LDS", "a bad")
    odd.settle()
    server.change("LDS a2", "EDS z1")
    assert one.poll() == []
    server.change("LDS a3", "EDS z1")
    one.poll()
    assert one.nack("LDS", "a bad") == ["LDS a2"]


def test_a_late_acknowledgement_of_an_older_version_makes_it_no_newer() -> None:
    server = fleet("LDS a1")
    one, slow = server.ready("one", "LDS"), server.client("slow")
    slow.ask("LDS")
    server.change("LDS a2")
    one.poll()
    one.settle()
    slow.ack("LDS")
    server.change("LDS a3")
    one.poll()
    assert one.nack("LDS", "a bad") == ["LDS a2"]


def test_a_version_acknowledged_after_the_next_one_is_wanted_is_the_one_to_go_back_to() -> None:
    server = fleet("LDS a1")
    one = server.ready("one", "LDS")
    server.change("LDS a2")
    one.poll()
    server.change("LDS a3")
    assert one.ack("LDS") == ["LDS a3"]
    assert one.nack("LDS", "a bad") == ["LDS a2"]


def test_what_a_returning_client_has_it_has_accepted() -> None:
    server = fleet("LDS a1")
    assert server.client("good").ask("LDS", had={"a": "1"}) == []
    odd = server.client("odd")
    odd.ask("LDS")
    odd.nack("LDS", "a bad")
    assert server.client("new").ask("LDS") == ["LDS a1"]
