"""Refused responses: what is never sent again, what is, and how it ends.

In: playbooks in which the client says no. Out: failures where a refused version comes again, or a client is left
with half of what it was sent.
"""

from __future__ import annotations

import pytest

from tests.serve.playbook import TYPE_URLS, Client, delta, full, world
from xds_server.serve.channel import guilty
from xds_server.snapshot.resource import LISTENER

BOTH = pytest.mark.parametrize("is_delta", [True, False], ids=["delta", "sotw"])


def client_of(is_delta: bool, *lines: str) -> Client:
    return Client(is_delta, world(*lines))


@BOTH
@pytest.mark.parametrize("short", ["CDS", "LDS"])
def test_a_refused_version_is_never_sent_again(is_delta: bool, short: str) -> None:
    client = client_of(is_delta, f"{short} a1")
    client.ask(short)
    client.ack(short)
    assert client.change(f"{short} a2") == [f"{short} a2"]
    assert client.nack(short) == []
    assert client.wait(600) == []
    assert client.change(f"{short} a2") == []
    assert client.ack(short) == []
    assert client.nack(short) == []
    assert client.stream.channels[LISTENER].in_flight is None
    assert not client.stream.in_sync()


@BOTH
def test_the_next_version_is_sent_and_its_acknowledgement_clears_the_refusal(is_delta: bool) -> None:
    client = client_of(is_delta, "LDS a1")
    client.ask("LDS")
    assert client.nack("LDS") == []
    assert client.change("LDS a2") == ["LDS a2"]
    assert client.ack("LDS") == []
    assert client.stream.in_sync()
    assert client.change("LDS a1") == ["LDS a1"]  # what it once refused may be right today


@BOTH
def test_a_version_that_waited_is_sent_at_once_after_a_refusal(is_delta: bool) -> None:
    client = client_of(is_delta, "LDS a1")
    client.ask("LDS")
    client.change("LDS a2")
    assert client.nack("LDS") == ["LDS a2"]


@BOTH
def test_a_rollback_after_a_refusal_is_sent(is_delta: bool) -> None:
    client = client_of(is_delta, "LDS a1 b1")
    client.ask("LDS")
    client.ack("LDS")
    client.change("LDS a2 b2 c1")
    client.nack("LDS", "it is a, or b, or c")
    # It may have taken `b2` and `c1`, although it refused.
    assert client.change("LDS a1 b1") == (["LDS a1 b1 -c"] if is_delta else ["LDS a1 b1"])
    assert client.ack("LDS") == []
    assert client.stream.in_sync()


@BOTH
def test_routes_refused_and_rolled_back(is_delta: bool) -> None:
    client = client_of(is_delta, "RDS a1")
    client.ask("RDS", "+a" if is_delta else "a")
    client.ack("RDS")
    client.change("RDS a2")
    assert client.nack("RDS") == []
    assert client.change("RDS a1") == ["RDS a1"]
    client.ack("RDS")
    assert client.stream.in_sync()


def test_the_innocent_are_sent_once_more() -> None:
    client = delta("LDS a1 b1")
    client.ask("LDS")
    client.ack("LDS")
    client.change("LDS a2 b2")
    assert client.nack("LDS", "listener a: wrong") == ["LDS b2"]
    assert client.ack("LDS") == []
    assert not client.stream.in_sync()


def test_where_all_must_be_sent_the_last_accepted_one_stands_in() -> None:
    client = full("LDS a1 b1")
    client.ask("LDS")
    client.ack("LDS")
    client.change("LDS a2 b2 c1")
    assert client.nack("LDS", "listener a: wrong") == ["LDS a1 b2 c1"]
    assert client.ack("LDS") == []  # and `a2` is not tried again
    assert not client.stream.in_sync()
    assert client.change("LDS a2 b3 c1") == ["LDS a1 b3 c1"]
    assert client.ack("LDS") == []
    assert client.change("LDS a3 b3 c1") == ["LDS a3 b3 c1"]
    assert client.ack("LDS") == []
    assert client.stream.in_sync()


def test_without_words_only_what_changed_is_blamed() -> None:
    client = full("LDS a1 b1")
    client.ask("LDS")
    client.ack("LDS")
    client.change("LDS a2 b1")
    assert client.nack("LDS", "bad") == []  # it has `a1 b1`
    assert client.change("LDS a2 b2") == ["LDS a1 b2"]
    client.ack("LDS")
    assert client.change("LDS a3 b2") == ["LDS a3 b2"]


def test_what_was_taken_away_in_a_refused_response_is_taken_away_again() -> None:
    client = full("LDS a1 b1")
    client.ask("LDS")
    client.ack("LDS")
    assert client.change("LDS a2") == ["LDS a2"]
    assert client.nack("LDS", "listener a: wrong") == ["LDS a1"]
    assert client.ack("LDS") == []


@BOTH
@pytest.mark.parametrize("words", ["no", "it is a", "it is b", "it is c", ""])
def test_a_client_that_refuses_everything_is_left_alone(is_delta: bool, words: str) -> None:
    client = client_of(is_delta, "LDS a1 b1 c1")
    client.ask("LDS")
    client.ack("LDS")
    said = client.change("LDS a2 b2")
    for _ in range(6):
        said += client.nack("LDS", words)
    assert not client.stream.channels[LISTENER].in_flight
    assert 1 <= len(said) <= 5
    assert client.nack("LDS", words) == []


@pytest.mark.parametrize(("short", "is_delta"), [("LDS", True), ("RDS", True), ("RDS", False)])
def test_where_nobody_is_named_the_guilty_is_found_by_halves(short: str, is_delta: bool) -> None:
    client = client_of(is_delta, f"{short} a1 b1 c1 d1")
    if short == "LDS":
        client.ask(short)
    else:
        client.ask(short, *(f"+{name}" if is_delta else name for name in "abcd"))
    client.ack(short)
    assert client.change(f"{short} a2 b2 c2 d2") == [f"{short} a2 b2 c2 d2"]
    assert client.nack(short, "bad") == [f"{short} a2 b2"]
    assert client.nack(short, "bad") == [f"{short} a2"]
    assert client.ack(short) == [f"{short} b2"]
    assert client.nack(short, "bad") == [f"{short} c2"]
    assert client.ack(short) == [f"{short} d2"]
    assert client.ack(short) == []
    channel = client.stream.channels[TYPE_URLS[short]]
    assert channel.refusal is not None
    assert [one.name for one in channel.refusal.resources] == ["b"]


@BOTH
def test_a_removal_that_is_refused_is_not_repeated_for_ever(is_delta: bool) -> None:
    client = client_of(is_delta, "LDS a1")
    client.ask("LDS")
    client.ack("LDS")
    said = client.change()
    for _ in range(5):
        said += client.nack("LDS")
    assert len(said) <= 2
    assert client.change("LDS a1") == ["LDS a1"]


@BOTH
def test_one_type_refused_leaves_the_others_alone(is_delta: bool) -> None:
    client = client_of(is_delta, "LDS a1", "EDS a1")
    client.ask("LDS")
    client.ask("EDS", "+a" if is_delta else "a")
    client.nack("LDS")
    client.ack("EDS")
    assert client.change("LDS a1", "EDS a2") == ["EDS a2"]


def test_the_words_of_a_refusal_find_the_guilty() -> None:
    resources = tuple(world("LDS a1 a/b1 c1").get(LISTENER).values())
    assert [one.name for one in guilty(resources, "error: a/b: bad port")] == ["a/b"]
    assert [one.name for one in guilty(resources, "no")] == ["a", "a/b", "c"]
