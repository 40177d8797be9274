"""Scopes: behind every listener that names them, again where a client had them, and for long after they went.

In: playbooks in which the listener `l` needs the scope `s`, which leads to the table `t`; after a change `m` leads to `u`.
Out: failures where a listener would wait for scopes that nobody sends, or where connections to a former listener lose theirs.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.serve.playbook import DRAIN, SCOPE_DELAY, Client, fake
from xds_server.serve.former import LIMIT, Former, Left
from xds_server.serve.generations import GENERATIONS
from xds_server.serve.order import DRAIN_MARGIN
from xds_server.serve.requests import Node, Request
from xds_server.serve.sessions import Session, Sessions
from xds_server.serve.stream import Stream
from xds_server.serve.verdicts import Verdict, Verdicts
from xds_server.serve.wire import Envelope
from xds_server.snapshot.resource import ENVOY_DRAIN, LISTENER, ROUTES, SCOPES, Snapshot, snapshot_of, with_resources

BOTH = pytest.mark.parametrize("is_delta", [True, False], ids=["delta", "sotw"])
WEEK = 7 * 86400.0


def world(listener: str, *pairs: tuple[str, str]) -> Snapshot:
    """The listener needs all scopes; each leads to its table."""
    made = [replace(fake("LDS", listener), needs=tuple((SCOPES, scope[0]) for scope, _ in pairs))]
    for scope, table in pairs:
        made += [replace(fake("SRDS", scope), needs=((ROUTES, table[0]),)), fake("RDS", table)]
    return snapshot_of("default/web", made)


A, B = world("l1", ("s1", "t1")), world("l2", ("m1", "u1"))
NEITHER = world("l3")


def change(client: Client, wanted: Snapshot) -> list[str]:
    client.stream.replace_snapshot(wanted)
    return client.poll()


def connected(is_delta: bool) -> Client:
    client = Client(is_delta, A)
    plus = "+" if is_delta else ""
    for short, names in (("LDS", []), ("SRDS", []), ("RDS", [f"{plus}t"])):
        client.ask(short, *names)
        client.settle()
    assert client.stream.in_sync()
    return client


@BOTH
def test_scopes_follow_their_listener_and_the_former_ones_stay(is_delta: bool) -> None:
    client = connected(is_delta)
    assert change(client, B) == ["LDS l2", "SRDS m1" if is_delta else "SRDS s1 m1"]
    client.settle()
    assert change(client, A) == ["LDS l1", "SRDS s1" if is_delta else "SRDS m1 s1"]
    client.settle()
    assert client.wait(SCOPE_DELAY - 1) == []
    assert client.wait(2) == ["SRDS -m" if is_delta else "SRDS s1"]
    client.settle()
    assert change(client, B) == ["LDS l2", "SRDS m1" if is_delta else "SRDS s1 m1"]


@BOTH
def test_a_changed_listener_with_the_same_scopes_gets_them_again(is_delta: bool) -> None:
    client = connected(is_delta)
    assert change(client, world("l4", ("s1", "t1"))) == ["LDS l4", "SRDS s1"]
    assert client.settle() == []


@BOTH
def test_scopes_on_their_way_when_the_listener_goes_come_once_more(is_delta: bool) -> None:
    client = connected(is_delta)
    assert change(client, world("l1", ("s2", "t1"))) == ["SRDS s2"]
    assert change(client, world("l4", ("s2", "t1"))) == ["LDS l4"]
    assert client.ack("SRDS") == ["SRDS s2"]


@BOTH
def test_tables_under_former_scopes_stay_as_long_as_these(is_delta: bool) -> None:
    client = connected(is_delta)
    change(client, NEITHER)
    client.settle()
    client.wait(SCOPE_DELAY - 1)
    client.settle()
    assert {"t"} == client.stream.wanted(ROUTES).keys()
    assert {"s"} == client.stream.wanted(SCOPES).keys()
    client.wait(2)
    client.settle()
    assert not client.stream.wanted(ROUTES)
    assert not client.stream.wanted(SCOPES)
    assert client.wait(WEEK) == []


@BOTH
@pytest.mark.parametrize("drain", [1.0, 15.0, 3600.0])
def test_former_scopes_stay_a_minute_longer_than_envoy_drains(is_delta: bool, drain: float) -> None:
    client = connected(is_delta)
    change(client, replace(B, drain=drain))
    client.settle()
    client.wait(DRAIN)
    client.settle()
    assert client.wait(drain + DRAIN_MARGIN - DRAIN - 1) == []
    assert client.wait(2) == (["SRDS -s", "RDS -t"] if is_delta else ["SRDS m1"])


def test_sessions_take_another_drain_time_where_nothing_else_changes_and_keep_it_where_one_is_refused() -> None:
    sessions = Sessions()
    for drain in (ENVOY_DRAIN, 15.0):
        sessions.publish({"default/web": replace(A, drain=drain)})
        found = sessions.snapshot("default/web")
        assert found is not None
        assert found.drain == drain
    listener = next(iter(A.get(LISTENER).values()))
    verdicts = Verdicts(replace(A, drain=15.0))
    verdicts.refuse([Verdict("one", listener, "", "no", 0)])
    assert verdicts.served("one").get(LISTENER)["l"].withheld
    assert verdicts.served("one").drain == 15


def table(number: int) -> str:
    """Each change of filters makes names anew."""
    return "tables/" + "abcdefghijklmnopqrstuvwxyz"[number]


def filters(number: int) -> Snapshot:
    """What is wanted after so many changes of filters."""
    name = table(number)
    listener = replace(fake("LDS", f"l{number + 2}"), needs=((SCOPES, f"s/{name}"),))
    scope = replace(fake("SRDS", f"s/{name}1"), needs=((ROUTES, name),))
    return snapshot_of("default/web", [listener, scope, fake("RDS", f"{name}1")])


@BOTH
def test_of_many_changes_within_the_drain_time_the_newest_eight_are_held(is_delta: bool) -> None:
    client, newest = connected(is_delta), ["s"]
    for number in range(20):
        change(client, filters(number))
        client.settle()
        client.ask("RDS", f"+{table(number)}" if is_delta else table(number))
        client.settle()
        client.wait(DRAIN)
        client.settle()
        newest = [*newest, f"s/{table(number)}"][-GENERATIONS - 1 :]
        assert set(client.stream.wanted(SCOPES)) == set(newest)
    assert len(client.stream.wanted(ROUTES)) <= GENERATIONS + 2, "the oldest ones go a little later"
    client.wait(DRAIN)
    assert len(client.stream.wanted(ROUTES)) == GENERATIONS + 1


def test_scopes_of_the_listener_in_force_go_behind_no_bound() -> None:
    client = connected(True)
    for number in range(20):
        change(client, filters(number))
        client.nack("LDS")
        client.settle()
    client.wait(DRAIN)
    client.settle()
    assert len(client.stream.wanted(SCOPES)) <= GENERATIONS + 2
    assert {"s"} <= client.stream.wanted(SCOPES).keys()


@BOTH
def test_scopes_of_a_change_that_was_passed_over_are_never_sent(is_delta: bool) -> None:
    client = connected(is_delta)
    client.stream.replace_snapshot(filters(0))
    client.stream.replace_snapshot(filters(1))
    said = client.poll()
    client.settle()
    assert not [line for line in said if table(0) in line]
    assert set(client.stream.wanted(SCOPES)) == {"s", f"s/{table(1)}"}
    assert set(client.stream.wanted(ROUTES)) == {"t", table(1)}


def test_a_client_that_comes_back_is_told_its_scopes_again_and_keeps_former_ones() -> None:
    client = Client(True, B)
    assert client.ask("LDS", had={"l": "2"}) == []
    assert client.ask("SRDS", had={"s": "1", "m": "1"}) == ["SRDS m1"]
    client.ask("RDS", "+u", "+t", had={"u": "1", "t": "1"})
    client.settle()
    client.wait(SCOPE_DELAY - 1)
    client.settle()
    assert "s" in client.stream.channels[SCOPES].known
    assert "SRDS -s" in client.wait(2)


def test_scopes_of_a_listener_in_force_stay_while_the_wanted_one_is_withheld() -> None:
    """The server starts anew, another Envoy refuses the wanted listener: this one goes on with what it came back with."""
    listener = next(iter(B.get(LISTENER).values()))
    client = Client(True, with_resources(B, [replace(listener, withheld=True)]))
    assert client.ask("LDS", had={"l": "1"}) == []
    assert client.ask("SRDS", had={"s": "1"}) == ["SRDS m1"]
    client.ask("RDS", "+t", had={"t": "1"})
    client.settle()
    assert [said for _ in range(20) for said in client.wait(SCOPE_DELAY / 10)] == []
    assert change(client, B) == ["LDS l2", "SRDS m1"]
    client.ask("RDS", "+u")
    client.settle()
    assert client.wait(SCOPE_DELAY - 1) == [], "connections to the former listener"
    assert client.wait(2) == ["SRDS -s", "RDS -t"]


def test_scopes_of_a_listener_in_force_stay_while_one_is_wanted_that_was_refused() -> None:
    """Others took the second version and refuse the third; this client refused both."""
    client = connected(True)
    for wanted in (B, NEITHER):
        change(client, wanted)
        client.nack("LDS")
        client.settle()
    change(client, B)
    client.settle()
    client.wait(DRAIN)
    client.settle()
    assert [said for _ in range(20) for said in client.wait(SCOPE_DELAY / 10)] == []
    assert "s" in client.stream.wanted(SCOPES)


def opened(sessions: Sessions, now: float = 0.0, node: str = "one", *, only: str = "") -> Session:
    """A stream of an Envoy in the state of the world begins."""
    stream = Stream(False, Envelope(), DRAIN, only)
    session = Session(stream, Node(node, "default/web"), "default/web", "", now, now, lambda: None)
    sessions.open(session)
    return session


def scopes_of(session: Session, version: str = "1") -> set[str]:
    """What it has when it has asked for everything; `version` is what it says it has, if anything."""
    client = Client(False, B)
    client.stream = session.core
    client.ask("LDS")
    client.settle()
    session.core.receive(Request(SCOPES, version=version), client.now)
    client.poll()
    client.settle()
    client.ask("RDS", "t", "u")
    client.settle()
    return set(session.core.wanted(SCOPES))


@pytest.fixture
def sessions() -> Sessions:
    """One Envoy has the scope `s`; its stream is open."""
    made = Sessions()
    made.publish({"default/web": A})
    return made


def test_a_client_in_the_state_of_the_world_comes_back_to_its_former_scopes(sessions: Sessions) -> None:
    first = opened(sessions)
    assert scopes_of(first, "") == {"s"}
    sessions.close(first, 0)
    sessions.publish({"default/web": B})
    assert scopes_of(opened(sessions, node="two")) == {"m"}, "another Envoy had none"
    sessions.close(opened(sessions), 0)  # it ends before anything is asked
    assert scopes_of(opened(sessions)) == {"s", "m"}


def test_a_client_comes_back_before_its_last_streams_are_seen_to_end(sessions: Sessions) -> None:
    first = opened(sessions)
    assert scopes_of(first, "") == {"s"}
    sessions.publish({"default/web": B})
    second = opened(sessions, 1)
    assert scopes_of(second) == {"s", "m"}
    sessions.publish({"default/web": filters(0)})
    third = opened(sessions, 2)
    assert scopes_of(third) == {"s", "m", f"s/{table(0)}"}
    for one in (first, second, third):
        sessions.close(one, 3)
    assert scopes_of(opened(sessions, 3)) == {"s", "m", f"s/{table(0)}"}


def test_scopes_on_a_stream_of_their_own_are_not_taken_by_that_of_another_type(sessions: Sessions) -> None:
    first = opened(sessions, only=SCOPES)
    first.core.receive(Request(SCOPES), 0)
    sessions.close(first, 0)
    sessions.publish({"default/web": NEITHER})
    opened(sessions, 1, only=LISTENER)
    assert set(opened(sessions, 2, only=SCOPES).core.former[SCOPES]) == {"s"}


@pytest.mark.parametrize("drain", [15.0, ENVOY_DRAIN])
@pytest.mark.parametrize(("late", "found"), [(-1, {"s", "m"}), (0, {"m"})])
def test_what_the_last_stream_had_counts_as_long_as_connections_last(
    drain: float, late: float, found: set[str]
) -> None:
    sessions = Sessions()
    sessions.publish({"default/web": replace(A, drain=drain)})
    first = opened(sessions)
    assert scopes_of(first, "") == {"s"}
    sessions.close(first, 0)
    sessions.publish({"default/web": replace(B, drain=drain)})
    assert scopes_of(opened(sessions, drain + DRAIN_MARGIN + late)) == found


def test_what_streams_had_goes_with_their_gateway() -> None:
    left: Left = {SCOPES: {"s": fake("SRDS", "s1")}}
    former = Former()
    former.keep(("a", "one"), left, 0, 10)
    former.keep(("b", "one"), left, 0, 10)
    former.forget("a")
    assert not former.take(("a", "one"), 1)
    assert former.take(("b", "one"), 1) == left
    assert not former.take(("b", "one"), 1), "for one stream"
    former.keep(("b", "one"), left, 0, 10)
    former.keep(("b", "two"), left, 10, 10)
    assert len(former) == 1, "what is over is dropped"
    for number in range(2 * LIMIT):
        former.keep(("b", str(number)), left, 11, 10)
    assert len(former) == LIMIT


def test_a_gateway_that_went_leaves_nothing_of_its_streams(sessions: Sessions) -> None:
    early, late = opened(sessions), opened(sessions, node="two")
    scopes_of(early, "")
    scopes_of(late, "")
    sessions.close(early, 0)
    sessions.forget("default/web")
    sessions.close(late, 0)
    sessions.publish({"default/web": B})
    assert scopes_of(opened(sessions, 1)) == {"m"}
    assert scopes_of(opened(sessions, 1, "two")) == {"m"}
