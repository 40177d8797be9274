"""The incremental protocol, one stream: who says what, in which order, and when nobody says anything.

In: requests and worlds in the words of `playbook.py`. Out: failures where a response is missing, needless or wrong.
"""

from __future__ import annotations

import pytest

from tests.serve.playbook import DRAIN, delta, world


def test_an_empty_first_request_means_everything_and_a_name_adds_to_it() -> None:
    client = delta("CDS a1 b1")
    assert client.ask("CDS") == ["CDS a1 b1"]
    assert client.ack("CDS") == []
    assert client.ask("CDS", "+a") == ["CDS a1"]  # named: sent again
    assert client.ack("CDS") == []
    assert client.change("CDS a1 b2 c1") == ["CDS b2 c1"]  # still everything
    assert client.ack("CDS") == []
    assert client.ask("CDS", "-*") == []
    assert client.change("CDS a2 b3 c2") == ["CDS a2"]  # only the name is left


def test_the_star_means_everything_and_ends_with_its_removal() -> None:
    client = delta("LDS a1")
    assert client.ask("LDS", "+*") == ["LDS a1"]
    client.ack("LDS")
    assert client.ask("LDS", "-*") == []
    assert client.change("LDS a2 b1") == []
    assert client.ask("LDS", "+*") == ["LDS a2 b1"]


def test_everything_asked_for_again_is_sent_again() -> None:
    client = delta("CDS a1 b1")
    client.ask("CDS")
    client.ack("CDS")
    client.ask("CDS", "-*")
    assert client.ask("CDS", "+*") == ["CDS a1 b1"]


def test_the_star_taken_and_given_back_in_the_first_request_is_nothing() -> None:
    client = delta("CDS a1")
    assert client.ask("CDS", "+*", "-*") == []
    assert client.change("CDS a2") == []


def test_a_first_request_with_names_is_no_wildcard() -> None:
    client = delta("CDS a1 b1")
    assert client.ask("CDS", "+a") == ["CDS a1"]
    client.ack("CDS")
    assert client.change("CDS a1 b2") == []


@pytest.mark.parametrize("short", ["EDS", "RDS", "SDS"])
def test_types_that_are_asked_for_by_name_have_no_wildcard_by_silence(short: str) -> None:
    client = delta(f"{short} a1")
    assert client.ask(short) == []
    assert client.change(f"{short} a2") == []
    assert client.ask(short, "+a", "+a") == [f"{short} a2"]


def test_everything_of_nothing_is_answered_at_once() -> None:
    client = delta()
    assert client.ask("CDS") == ["CDS"]
    assert client.ack("CDS") == []
    assert client.change("CDS a1") == ["CDS a1"]


def test_what_did_not_change_is_not_sent() -> None:
    client = delta("CDS a1 b1", "LDS a1")
    client.ask("CDS")
    client.ask("LDS")
    client.settle()
    assert client.change("CDS a1 b1", "LDS a1") == []
    assert client.change("CDS a1 b2", "LDS a1") == ["CDS b2"]


@pytest.mark.parametrize("short", ["EDS", "RDS", "SDS", "LDS"])
def test_a_missing_name_is_called_absent_once_and_sent_when_it_appears(short: str) -> None:
    client = delta(f"{short} a1")
    assert client.ask(short, "+a", "+z") == [f"{short} a1 -z"]
    assert client.ack(short) == []
    assert client.change(f"{short} a1 y1") == []
    assert client.change(f"{short} a1 z1") == [f"{short} z1"]
    client.ack(short)
    client.change(f"{short} a1")
    client.settle()
    client.wait(6)
    client.settle()
    assert client.change(f"{short} a1") == []
    assert client.change(f"{short} a1 z1") == [f"{short} z1"]  # it comes back as it was


def test_a_name_left_and_taken_again_is_sent_again() -> None:
    client = delta("EDS a1")
    client.ask("EDS", "+a")
    client.ack("EDS")
    assert client.ask("EDS", "-a") == []
    assert client.change("EDS a2") == []
    assert client.ask("EDS", "+a") == ["EDS a2"]
    client.ack("EDS")
    assert client.ask("EDS", "+a") == ["EDS a2"]  # taken twice: sent twice


def test_leaving_a_name_that_was_never_taken_is_not_answered() -> None:
    client = delta("EDS a1", "CDS a1")
    client.ask("EDS", "+a")
    client.ack("EDS")
    assert client.ask("EDS", "-q") == []
    client.ask("CDS")
    client.settle()
    assert client.ask("CDS", "-q", "-a") == []


@pytest.mark.parametrize(("there", "answer"), [("LDS a1", "LDS a1"), ("LDS b1", "LDS -a")])
def test_leaving_a_name_beside_the_wildcard_is_answered(there: str, answer: str) -> None:
    client = delta(there)
    client.ask("LDS", "+*", "+a")
    client.settle()
    assert client.ask("LDS", "-a") == [answer]
    assert client.ack("LDS") == []


def test_a_late_nonce_changes_the_subscription_and_acknowledges_nothing() -> None:
    client = delta("EDS a1 b1")
    client.ask("EDS", "+a")
    client.ack("EDS")
    client.change("EDS a2 b1")
    assert client.ask("EDS", "+b", nonce="1") == []  # `a2` is on its way
    assert client.verdict == ""
    assert client.ack("EDS") == ["EDS b1"]


def test_a_refusal_of_an_older_response_refuses_nothing() -> None:
    client = delta("EDS a1 b1")
    client.ask("EDS", "+a")
    client.ack("EDS")
    client.change("EDS a2 b1")
    assert client.ask("EDS", "+b", nonce="1", error="no") == []
    assert client.verdict == ""
    assert client.ack("EDS") == ["EDS b1"]
    assert client.verdict == "ack"
    client.ack("EDS")
    assert client.stream.in_sync()


@pytest.mark.parametrize("nonce", ["", "never-given"])
def test_a_request_without_a_known_nonce_is_only_a_subscription(nonce: str) -> None:
    client = delta("EDS a1 b1")
    client.ask("EDS", "+a")
    assert client.ask("EDS", "+b", nonce=nonce) == []
    assert client.verdict == ""
    assert client.ask("EDS", nonce="1") == ["EDS b1"]


def test_an_acknowledgement_may_carry_a_subscription() -> None:
    client = delta("EDS a1 b1")
    client.ask("EDS", "+a")
    assert client.ask("EDS", "+b") == ["EDS b1"]
    assert client.verdict == "ack"


def test_a_refusal_may_carry_a_subscription() -> None:
    client = delta("EDS a1 b1")
    client.ask("EDS", "+a")
    assert client.ask("EDS", "+b", error="not a") == ["EDS b1"]


def test_the_same_acknowledgement_twice_is_harmless() -> None:
    client = delta("CDS a1")
    client.ask("CDS")
    client.ack("CDS")
    assert client.verdict == "ack"
    assert client.ack("CDS") == []
    assert client.verdict == ""


def test_a_returning_client_is_sent_the_difference() -> None:
    client = delta("LDS a2 b1 d1")
    assert client.ask("LDS", had={"a": "1", "b": "1", "c": "1"}) == ["LDS a2 d1 -c"]
    assert client.ack("LDS") == []


def test_a_returning_client_that_has_everything_is_not_answered() -> None:
    client = delta("CDS a1", "EDS a1")
    assert client.ask("CDS", had={"a": "1"}) == []
    assert client.ask("EDS", "+a", had={"a": "1"}) == []
    assert client.change("CDS a1", "EDS a2") == ["EDS a2"]


def test_versions_that_a_client_has_are_no_subscription() -> None:
    client = delta("EDS a1 b2")
    assert client.ask("EDS", "+a", had={"a": "1", "b": "1"}) == []
    assert client.ask("EDS", "+b") == ["EDS b2"]


def test_versions_in_a_later_request_count_for_nothing() -> None:
    client = delta("EDS a1 b1")
    client.ask("EDS", "+a")
    assert client.ask("EDS", "+b", had={"b": "1"}) == ["EDS b1"]


def test_an_old_nonce_on_a_new_stream_is_a_first_request() -> None:
    client = delta("CDS a1")
    assert client.ask("CDS", nonce="77") == ["CDS a1"]


def test_names_of_a_type_that_is_not_served_are_absent() -> None:
    client = delta("CDS a1")
    url = "type.googleapis.com/envoy.service.load_stats.v3.LoadStatsResponse"
    assert client.ask(url, "+x", "+y") == [f"{url} -x -y"]
    assert client.ack(url) == []
    assert client.ask("CDS") == ["CDS a1"]


def test_a_slow_client_skips_versions() -> None:
    client = delta("CDS a1")
    client.ask("CDS")
    assert client.change("CDS a2") == []
    assert client.change("CDS a3 b1") == []
    assert client.change("CDS a4 b1") == []
    assert client.ack("CDS") == ["CDS a4 b1"]


def test_a_large_change_comes_in_portions() -> None:
    client = delta("CDS a1 b1 c1 d1", "EDS a1")
    client.stream.portion = 4  # bytes; each body here has two
    assert client.ask("CDS") == ["CDS a1 b1"]
    assert client.change("CDS a1 b2 c1 d1") == []
    assert client.ack("CDS") == ["CDS b2 c1"]
    assert client.ack("CDS") == ["CDS d1"]
    assert client.ack("CDS") == []
    assert client.change("CDS b2 c2 d2", "EDS a1") == ["CDS c2 d2"]
    client.ack("CDS")
    assert client.wait(DRAIN) == ["CDS -a"]


def test_no_response_holds_a_name_twice_or_a_resource_of_another_type() -> None:
    with pytest.raises(ValueError, match="two different resources"):
        world("CDS a1 a2")
    client = delta("CDS a1", "EDS a1")
    client.ask("CDS")
    assert client.ask("EDS", "+a", "+a") == ["EDS a1"]  # the playbook looks at the types


def test_a_response_that_could_not_be_written_counts_for_nothing_on_the_next_stream() -> None:
    client = delta("CDS a1 b1")
    client.ask("CDS")
    again = delta("CDS a1 b1")
    assert again.ask("CDS", "+*", had={}) == ["CDS a1 b1"]
