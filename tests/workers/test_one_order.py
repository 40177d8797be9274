"""Several processes serve as one would: what an Envoy of one says counts for those of all, in whatever order it arrives.

In: playbooks with processes on paper; and any sequence of changes, answers, starts and deliveries. Out: failures where two
processes end with other verdicts, or one serves what an Envoy of another refused.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.protocol.snapshots import resource
from tests.serve.fleet import GATEWAY, Member, fleet
from tests.serve.playbook import fake, world
from tests.workers.several import Paper, Several
from xds_server.diagnostics import Span
from xds_server.snapshot.resource import LISTENER, snapshot_of
from xds_server.types import Key, Origin
from xds_server.workers import court


def test_a_refused_version_is_withdrawn_in_all_processes() -> None:
    server = Several(2, "LDS a1 b1")
    first, second = server.processes
    one, two = first.ready("one", "LDS"), second.ready("two", "LDS")
    server.deliver()
    server.change("LDS a2 b1")
    assert one.poll() == ["LDS a2"]
    one.nack("LDS", "a is bad")
    server.deliver()
    assert one.poll() == ["LDS a1"]
    assert two.poll() == [], "it had not been sent yet"
    assert second.client("three").ask("LDS") == ["LDS a1 b1"]
    (record,) = [one for one in second.sessions.records() if one.node_id == "two"]
    assert [(kind.standing[0].node, kind.standing[0].message) for kind in record.types] == [("one", "a is bad")]
    one.ack("LDS")
    server.change("LDS a3 b1")
    assert [one.poll(), two.poll()] == [["LDS a3"], ["LDS a3"]]


def test_what_an_envoy_of_another_process_accepted_is_withdrawn_for_those_alone_who_refuse_it() -> None:
    server = Several(2, "LDS a1")
    first, second = server.processes
    odd, two = first.ready("odd", "LDS"), second.ready("two", "LDS")
    server.deliver()
    server.change("LDS a2")
    odd.poll()
    two.poll()
    two.ack("LDS")
    odd.nack("LDS", "a is bad")
    server.deliver()
    assert [odd.poll(), two.poll()] == [["LDS a1"], []]
    assert first.client("three").ask("LDS") == ["LDS a2"]


def test_a_process_that_starts_anew_knows_what_was_refused_and_accepted() -> None:
    server = Several(2, "LDS a1 b1")
    first, second = server.processes
    one = first.ready("one", "LDS")
    server.deliver()
    server.change("LDS a2 b1")
    one.poll()
    one.nack("LDS", "a is bad")
    server.deliver()
    server.processes.remove(second)
    begun = server.start()
    server.deliver()
    assert begun.client("two").ask("LDS") == ["LDS a1 b1"]
    back = begun.client("one")
    assert back.ask("LDS", had={"a": "1", "b": "1"}) == ["LDS a2"], "it tries once what it refused before"


def test_the_court_tells_which_documents_made_what_was_refused() -> None:
    server = Several(2)
    first, second = server.processes
    made = replace(fake("LDS", "a1"), origins=(Origin(Key("", "Gateway", "default", "web"), Span("web.yaml", 7, 1)),))
    server.court.publish({GATEWAY: snapshot_of(GATEWAY, [made])})
    server.deliver()
    one, _ = first.client("one"), second.client("two")
    assert one.ask("LDS") == ["LDS a1"]
    one.nack("LDS", "a is bad")
    server.deliver()
    (record,) = first.sessions.records()
    assert record.types[0].standing[0].origins == ()
    for gone in (False, True):
        if gone:
            server.change("LDS b1")
        (kind,) = server.court.blamed(record).types
        assert kind.refusal is not None
        assert [str(one.origins[0].span) for one in (kind.standing[0], kind.refusal)] == ["web.yaml:7:1"] * 2


def test_a_thousand_acks_of_the_same_are_told_once() -> None:
    server = Several(2, "LDS a1")
    first = server.processes[0]
    clients = [first.client(f"n{number}") for number in range(1000)]
    for one in clients:
        one.ask("LDS")
        one.settle()
    assert len(first.up) < 5


def test_what_is_accepted_late_is_remembered_as_by_one_process() -> None:
    for further in (3, 20):
        server, alone = Several(2, "LDS a1 b1"), fleet("LDS a1 b1")
        first, second = server.processes
        one, same = first.client("one"), alone.client("one")
        assert one.ask("LDS") == same.ask("LDS") == ["LDS a1 b1"]
        for edit in range(further):
            for change in (server.change, alone.change):
                change(f"LDS a2 b{edit + 1}")
        for client in (one, same):
            client.ack("LDS")
        server.deliver()
        assert one.poll() == same.poll()
        for client in (one, same):
            client.nack("LDS", "a is bad")
        server.deliver()
        assert second.client("two").ask("LDS") == alone.client("two").ask("LDS")


def test_what_was_wanted_is_kept_as_far_as_there_is_room() -> None:
    recent = court._Recent()
    for version in range(20):
        recent.add([resource("l", "a", str(version)), resource("l", f"b{version}", "1")])
    kept = [number for number in range(20) if recent.get((LISTENER, "a", str(number)))]
    assert kept == list(range(12, 20))
    last = recent.named(LISTENER, "a")
    assert last is not None
    assert last.version == "19"
    large = [replace(resource("l", f"c{number}", "1"), body=bytes(2**20)) for number in range(40)]
    recent.add(large)
    assert recent.named(LISTENER, "a") is None
    assert all(recent.named(LISTENER, one.name) is one for one in large), "what has just gone is acknowledged last"
    recent.add(large[:1])
    assert recent.named(LISTENER, "c1") is None
    assert recent.named(LISTENER, "c0") is large[0]


VERSIONS = st.sampled_from(["1", "2", "3"])
WORLDS = st.dictionaries(st.sampled_from("abc"), VERSIONS, min_size=1, max_size=3)
STEPS = st.one_of(
    st.tuples(st.just("world"), WORLDS),
    st.tuples(st.just("join"), st.integers(0, 1), st.sampled_from("xyz")),
    st.tuples(st.sampled_from(["ack", "nack", "poll", "leave"]), st.integers(0, 9)),
    st.tuples(st.just("up"), st.integers(0, 1)),
    st.tuples(st.just("down"), st.integers(0, 1)),
    st.tuples(st.just("restart"), st.integers(0, 1)),
)


def lines(wanted: dict[str, str]) -> tuple[str, ...]:
    listed = " ".join(name + version for name, version in wanted.items())
    return f"CDS {listed}", f"LDS {listed}"


def act(server: Several, clients: list[tuple[Paper, Member]], step: tuple[object, ...]) -> None:
    match step:
        case ("world", dict() as wanted):
            server.court.publish({GATEWAY: world(*lines(wanted))})
        case ("join", int() as number, str() as node):
            process = server.processes[number]
            if GATEWAY in process.sessions.gateways:
                client = process.client(node)
                clients.append((process, client))
                client.ask("LDS")
        case ("up", int() as number) if server.processes[number].up:
            server.listen(server.processes[number])
        case ("down", int() as number) if server.processes[number].down:
            server.processes[number].hear()
        case ("restart", int() as number):
            gone = server.processes.pop(number)
            clients[:] = [one for one in clients if one[0] is not gone]
            begun = server.start()
            server.processes.insert(number, server.processes.pop(server.processes.index(begun)))
        case (str() as what, int() as number) if clients:
            at = number % len(clients)
            answer(clients, at, what)


def answer(clients: list[tuple[Paper, Member]], at: int, what: str) -> None:
    _, client = clients[at]
    match what:
        case "poll":
            client.poll()
        case "ack" if client.last_nonce:
            client.ack("LDS")
        case "nack" if client.last_nonce:
            client.nack("LDS", "a is bad")
        case "leave":
            client.leave()
            del clients[at]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEPS, max_size=60))
def test_whatever_happens_all_processes_end_with_the_same(steps: list[tuple[object, ...]]) -> None:
    server = Several(2, "CDS a1 b1", "LDS a1 b1")
    clients: list[tuple[Paper, Member]] = []
    for step in steps:
        act(server, clients, step)
    server.deliver()
    wanted = server.court.sessions.verdicts()
    for process in server.processes:
        assert process.sessions.verdicts() == wanted
        for node in "xyz":
            served = [one.verdicts()[GATEWAY].served(node) for one in (process.sessions, server.court.sessions)]
            assert served[0] == served[1]
    for process, client in clients:
        assert client.session is not None
        now = process.sessions.verdicts()[GATEWAY].served(client.node, client.session.retried)
        assert client.stream.snapshot == now
