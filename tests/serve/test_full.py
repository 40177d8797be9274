"""The state of the world, one stream: every request says all names, clusters and listeners come all together.

In: requests and worlds in the words of `playbook.py`. Out: failures where a response is missing, needless or wrong.
"""

from __future__ import annotations

import pytest

from tests.serve.playbook import full
from xds_server.serve.requests import Request
from xds_server.snapshot.resource import CLUSTER, ENDPOINTS


def test_no_names_means_everything_only_to_a_client_that_never_gave_one() -> None:
    client = full("LDS a1 b1")
    assert client.ask("LDS") == ["LDS a1 b1"]
    assert client.ask("LDS", "*", "a") == []
    assert client.change("LDS a1 b2") == ["LDS a1 b2"]
    assert client.ask("LDS", "a") == []
    assert client.change("LDS a1 b3") == []
    assert client.change("LDS a2 b3") == ["LDS a2"]
    assert client.ask("LDS") == []
    assert client.change("LDS a3 b4") == []


def test_everything_asked_for_again_is_sent_again() -> None:
    client = full("CDS a1 b1")
    client.ask("CDS", "*")
    assert client.ask("CDS", "a") == []
    assert client.ask("CDS", "*") == ["CDS a1 b1"]


@pytest.mark.parametrize("short", ["EDS", "RDS", "SDS"])
def test_types_that_are_asked_for_by_name_have_no_wildcard_by_silence(short: str) -> None:
    client = full(f"{short} a1")
    assert client.ask(short) == []
    assert client.change(f"{short} a2") == []
    assert client.ask(short, "a", "a") == [f"{short} a2"]


@pytest.mark.parametrize("short", ["CDS", "LDS"])
def test_one_changed_cluster_or_listener_brings_all(short: str) -> None:
    client = full(f"{short} a1 b1 c1")
    assert client.ask(short) == [f"{short} a1 b1 c1"]
    assert client.ack(short) == []
    assert client.change(f"{short} a1 b2 c1") == [f"{short} a1 b2 c1"]


def test_a_listener_that_went_is_left_out() -> None:
    client = full("LDS a1 b1")
    client.ask("LDS")
    client.ack("LDS")
    assert client.change("LDS b1") == ["LDS b1"]
    client.ack("LDS")
    assert client.change() == ["LDS"]
    assert client.ack("LDS") == []
    assert client.change("LDS b1") == ["LDS b1"]


@pytest.mark.parametrize("short", ["EDS", "RDS", "SDS"])
def test_of_other_types_only_what_changed_is_sent(short: str) -> None:
    client = full(f"{short} a1 b1")
    assert client.ask(short, "a", "b") == [f"{short} a1 b1"]
    assert client.ack(short) == []
    assert client.change(f"{short} a1 b2") == [f"{short} b2"]
    assert client.ack(short) == []
    assert client.change(f"{short} a1") == []  # absent from a response says nothing here
    assert client.wait(6) == []
    assert client.change(f"{short} a1 b2") == []
    assert client.change(f"{short} a1 b3") == [f"{short} b3"]


def test_an_unchanged_world_is_not_sent() -> None:
    client = full("CDS a1", "LDS a1")
    client.ask("CDS")
    client.ask("LDS")
    client.settle()
    assert client.change("CDS a1", "LDS a1") == []


def test_everything_of_nothing_is_answered_at_once() -> None:
    client = full()
    assert client.ask("CDS") == ["CDS"]
    assert client.ack("CDS") == []


def test_a_new_name_is_sent_though_nothing_changed() -> None:
    client = full("RDS a1 b1")
    client.ask("RDS", "a")
    assert client.ask("RDS", "a", "b") == ["RDS b1"]


def test_a_name_left_and_taken_again_is_sent_again() -> None:
    client = full("EDS a1 b1")
    client.ask("EDS", "a", "b")
    assert client.ask("EDS", "b") == []
    assert client.change("EDS a2 b1") == []
    assert client.ask("EDS", "a", "b") == ["EDS a2"]
    assert client.ask("EDS", "b") == []
    assert client.ask("EDS", "a", "b") == ["EDS a2"]


def test_a_missing_name_holds_nothing_back_and_is_sent_when_it_appears() -> None:
    client = full("EDS a1")
    assert client.ask("EDS", "a", "z") == ["EDS a1"]
    assert client.ack("EDS") == []
    assert client.change("EDS a1 z1") == ["EDS z1"]


def test_a_late_nonce_changes_the_subscription_and_acknowledges_nothing() -> None:
    client = full("RDS a1 b1")
    client.ask("RDS", "a")
    client.ack("RDS")
    assert client.change("RDS a2 b1") == ["RDS a2"]
    assert client.ask("RDS", "a", "b", nonce="1", error="no") == []
    assert client.verdict == ""
    assert client.ack("RDS") == ["RDS b1"]
    assert client.verdict == "ack"


def test_names_dropped_with_a_late_nonce_are_dropped() -> None:
    client = full("RDS a1")
    client.ask("RDS", "a")
    client.ack("RDS")
    client.change("RDS a2")
    assert client.ask("RDS", nonce="1") == []
    client.ask("RDS")
    assert client.change("RDS a3") == []


def test_an_empty_nonce_in_the_middle_is_a_subscription_and_no_new_start() -> None:
    client = full("CDS a1", "EDS a1 b1")
    client.ask("CDS")
    assert client.ask("EDS", "a") == ["EDS a1"]
    assert client.ask("EDS", "a", "b", nonce="") == []
    assert client.verdict == ""
    assert client.ack("EDS") == ["EDS b1"]
    assert client.ack("EDS") == []


def test_an_old_nonce_on_a_new_stream_is_a_first_request() -> None:
    client = full("CDS a1")
    assert client.ask("CDS", nonce="77") == ["CDS a1"]


def test_the_same_acknowledgement_twice_is_harmless() -> None:
    client = full("CDS a1", "LDS a1")
    client.ask("CDS")
    client.ack("CDS")
    assert client.ack("CDS") == []
    client.ask("LDS")
    client.ack("LDS")
    assert client.ack("LDS") == []


def test_endpoints_asked_for_again_in_the_same_words_are_sent_again() -> None:
    client = full("EDS a1")
    client.ask("EDS", "a")
    assert client.ack("EDS") == []
    assert client.ack("EDS") == ["EDS a1"]  # what Envoy does after an update of the cluster
    assert client.ack("EDS") == []


def test_a_slow_client_skips_versions() -> None:
    client = full("CDS a1")
    client.ask("CDS")
    assert client.change("CDS a2") == []
    assert client.change("CDS a3 b1") == []
    assert client.ack("CDS") == ["CDS a3 b1"]


def test_a_type_that_is_not_served_is_not_answered() -> None:
    client = full("CDS a1")
    assert client.ask("type.googleapis.com/envoy.service.load_stats.v3.LoadStatsResponse", "x") == []
    assert client.ask("CDS") == ["CDS a1"]


def test_a_version_belongs_to_one_content() -> None:
    client = full("CDS a1", "RDS r1")
    client.ask("CDS")
    client.ask("RDS", "r")
    client.settle()
    said: list[str] = []
    for lines in (("CDS b1", "RDS r2"), ("CDS c1", "RDS r3"), ("CDS b1", "RDS r4")):
        said += client.change(*lines) + client.settle() + client.wait(6) + client.settle()
    assert [line for line in said if line.startswith("CDS")] == [
        "CDS a1 b1",  # `a` is still in use
        "CDS b1",
        "CDS b1 c1",
        "CDS c1",
        "CDS c1 b1",
        "CDS b1",
    ]
    assert len(client.versions) == 6


def test_a_name_twice_is_a_name_once() -> None:
    client = full("EDS a1 b1")
    assert client.ask("EDS", "a", "a") == ["EDS a1"]
    assert client.stream.channels[ENDPOINTS].subscription.names == {"a"}


def test_of_two_requests_that_wait_every_name_counts_and_the_newest_is_answered() -> None:
    client = full("EDS a1 b1 c1")
    client.ask("EDS", "a")
    for names in (("a", "b"), ("a", "c")):
        client.receive(Request(ENDPOINTS, "", names=names), client.now)
    client.names["EDS"] = ("a", "c")
    assert client.ack("EDS") == ["EDS c1"]


def test_a_nonce_with_another_version_and_no_error_is_an_acknowledgement() -> None:
    client = full("CDS a1")
    client.ask("CDS")
    client.receive(Request(CLUSTER, client.last_nonce["CDS"], version="something else"), client.now)
    assert client.poll() == []
    assert client.stream.in_sync()
    assert client.stream.channels[CLUSTER].refusal is None
