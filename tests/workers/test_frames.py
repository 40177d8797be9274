"""What goes from one process to another arrives as it was; what is no frame is refused, and runs nothing.

In: snapshots, those of all policies that ship among them; frames; bytes that are broken. Out: failures where anything is lost,
or anything but a FrameError comes of bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.protocol.snapshots import SHORT, resource
from xds_server.compile import Options, compile_objects
from xds_server.diagnostics import Span
from xds_server.load.directory import load_paths
from xds_server.load.objects import parse_documents_of
from xds_server.parts import Gathered
from xds_server.serve.counters import Counters
from xds_server.serve.identity import Identities
from xds_server.serve.limits import Limits
from xds_server.serve.loads import Load
from xds_server.serve.records import ProxyRecord, RefusalRecord, TypeRecord
from xds_server.serve.revocation import Lists
from xds_server.serve.verdicts import Verdict, Verdicts
from xds_server.snapshot.resource import ENVOY_DRAIN, LISTENER, Resource, Snapshot, snapshot_of
from xds_server.types import Key, Origin
from xds_server.workers import frames
from xds_server.workers.changes import change_between, changed
from xds_server.workers.frames import HEAD, FrameError, decode_down, decode_up, encode, encode_up, length_of

POLICIES = Path(__file__).parents[2] / "policies"
ORIGINS = st.sampled_from(
    [
        (),
        (Origin(Key("", "Thing", "a", "b"), Span("x.yaml", 3, 7, 5)),),
        Gathered([(Origin(Key("", "K", "", "n"), Span("y")),)]),
    ]
)
RESOURCES = st.builds(
    Resource,
    st.sampled_from(list(SHORT.values())),
    st.text(max_size=8),
    st.binary(max_size=40),
    st.sampled_from(["1", "2"]),
    ORIGINS,
    st.sampled_from([(), ((LISTENER, "x"),)]),
    st.sampled_from([0.0, 3.5]),
    st.booleans(),
    st.lists(st.text(max_size=4), max_size=2).map(tuple),
)


def snapshot(resources: list[Resource]) -> Snapshot:
    return snapshot_of("default/edge", {(one.type_url, one.name): one for one in resources}.values())


SNAPSHOTS = st.builds(
    lambda one, drain: replace(one, drain=drain),
    st.lists(RESOURCES, max_size=12).map(snapshot),
    st.sampled_from([15.0, ENVOY_DRAIN]),
)


def sent(frame: frames.Down) -> frames.Down:
    data = encode(frame)
    assert length_of(data[:HEAD], 2**30) == len(data) - HEAD
    return decode_down(data[HEAD:])


def arrived(before: Snapshot | None, after: Snapshot) -> Snapshot:
    frame = sent(frames.Published((change_between(before, after),)))
    assert isinstance(frame, frames.Published)
    return changed(before, frame.changes[0])


def in_order(one: Snapshot) -> list[tuple[str, list[Resource]]]:
    return [(type_url, list(named.values())) for type_url, named in one.resources.items()]


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(SNAPSHOTS, SNAPSHOTS)
def test_any_snapshot_arrives_as_it_was(before: Snapshot, after: Snapshot) -> None:
    first = arrived(None, before)
    second = arrived(first, after)
    for got, meant in ((first, before), (second, after)):
        assert got == meant
        assert in_order(got) == in_order(meant)
        assert not any(one.origins for named in got.resources.values() for one in named.values())
    for type_url, named in second.resources.items():
        for name, one in named.items():
            old = first.get(type_url).get(name)
            if old is not None and old == one:
                assert one is old, "what is the same stays the same object"
    assert arrived(second, after).resources == after.resources


def test_a_change_of_one_among_many_is_one() -> None:
    many = [resource("r", f"r{number}", "1") for number in range(1000)]
    before, after = snapshot(many), snapshot([resource("r", "r7", "2"), *(one for one in many if one.name != "r7")])
    change = change_between(before, after)
    assert [one.name for named in change.came.values() for one in named] == ["r7"]
    assert len(encode(frames.Published((change,)))) < 2000


@pytest.mark.parametrize("folder", sorted(one.name for one in POLICIES.iterdir() if one.is_dir()))
def test_the_policies_that_ship_arrive_as_they_are(folder: str) -> None:
    loaded = load_paths((POLICIES / folder,))
    compiled = compile_objects(parse_documents_of(loaded.documents, loaded.broken).objects, Options())
    assert compiled.snapshots
    verdicts = {name: Verdicts(one) for name, one in compiled.snapshots.items()}
    for name, one in compiled.snapshots.items():
        assert arrived(None, one) == one
        assert in_order(arrived(None, one)) == in_order(one), name
    assert sent(frames.Known(verdicts)) == frames.Known(verdicts)


RECORD = ProxyRecord(
    *("one", "default/edge", "delta", "ipv4:127.0.0.1:1", "1.40.0", "here", 1.0, 2.0),
    (TypeRecord(LISTENER, "1", "1", 1.0, 0.0, True, False, (RefusalRecord("one", "1", 2.0, "no", ("a",), ()),), None),),
    2,
)
UP: tuple[frames.Up, ...] = (
    frames.Listening("no port"),
    frames.Changed(),
    frames.Acknowledged(LISTENER, (0.1, 0.2)),
    frames.Said("a sentence"),
    frames.Seen(7, {1: RECORD}, (2,), Counters(), {"default/edge": {"east|x": Load(3, 1)}}, (0.01,)),
    frames.Took("default/edge", "one", ((LISTENER, "a", "1"),)),
    frames.Refused("default/edge", "one", ((LISTENER, "a", "1"),), "1", "no", 3.0),
)
A = resource("l", "a", "1")
LISTS = Lists({"CN=ca": frozenset({1, 2})}, {"CN=ca": 1.5})
DOWN: tuple[frames.Down, ...] = (
    frames.Begin(
        1, Limits(), Identities({"x": ("a/b",)}, {"d": "o/s"}), ("c", "k"), b"key", (("127.0.0.1:1", True),), LISTS
    ),
    frames.Known({"default/edge": Verdicts(snapshot([A]), {(LISTENER, "a"): {"n": Verdict("n", A, "1", "no", 1.0)}})}),
    frames.Forgotten("default/edge"),
    frames.Took("default/edge", "one", (A,)),
    frames.Look(3, (1, 2)),
    frames.Stop(5.0),
)


def test_every_frame_arrives_and_on_its_own_side_only() -> None:
    for down in DOWN:
        assert sent(down) == down
    for up in UP:
        assert decode_up(encode_up(up)[HEAD:]) == up
    with pytest.raises(FrameError, match="not for a process that serves"):
        decode_down(pickle.dumps(Key("", "K", "", "n")))
    with pytest.raises(FrameError, match="no frame from a process that serves"):
        decode_up(encode(DOWN[0])[HEAD:])


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(UP), st.data())
def test_broken_bytes_are_no_frame_and_nothing_worse(frame: frames.Up, data: st.DataObject) -> None:
    body = bytearray(encode_up(frame)[HEAD:])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(body[: data.draw(st.integers(0, len(body)))])
    for broken in (bytes(body), cut, data.draw(st.binary(max_size=60))):
        with contextlib.suppress(FrameError):  # anything else that is raised fails
            decode_up(broken)


def test_bytes_that_would_run_something_run_nothing(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "made"),)

    with pytest.raises(FrameError, match="mkdir belongs to no frame"):
        decode_down(pickle.dumps(Runs()))
    assert not (tmp_path / "made").exists()


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just(10**30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)


def places(tree: object, way: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """The ways to all values in lists in lists."""
    for number, one in enumerate(tree if isinstance(tree, list) else ()):
        yield (*way, number)
        yield from places(one, (*way, number))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(UP), st.data())
def test_a_field_holds_what_its_class_says_or_it_is_no_frame(frame: frames.Up, data: st.DataObject) -> None:
    tree = json.loads(encode_up(frame)[HEAD:])
    *way, last = data.draw(st.sampled_from(sorted(places(tree))))
    parent = tree
    for number in way:
        parent = parent[number]
    before, parent[last] = parent[last], data.draw(ODD)
    try:
        got = decode_up(json.dumps(tree).encode())
    except FrameError:
        return
    assert kind(parent[last]) == kind(before) or None in (parent[last], before)
    assert decode_up(encode_up(got)[HEAD:]) == got


def kind(value: object) -> str:
    """A whole number is a time, too."""
    return {int: "number", float: "number"}.get(type(value), type(value).__name__)


def test_a_message_that_thousands_of_streams_show_is_told_once() -> None:
    refusal = RefusalRecord("one", "1", 2.0, "no" * 5000, ("a",), ())
    types = (replace(RECORD.types[0], standing=(refusal,), refusal=refusal),)
    seen = frames.Seen(1, {one: replace(RECORD, types=types) for one in range(1000)}, (), Counters(), {}, ())
    data = encode_up(seen)
    assert len(data) < 10_000 + 1000 * 300
    assert decode_up(data[HEAD:]) == seen


@pytest.mark.parametrize("length", [0, 2**20 + 1, 2**63])
def test_a_frame_has_a_length_that_can_be(length: int) -> None:
    with pytest.raises(FrameError, match=str(length)):
        length_of(length.to_bytes(HEAD, "big"), 2**20)


def test_no_key_and_no_resource_is_in_the_text_of_a_frame() -> None:
    secret = Resource(SHORT["s"], "key", b"very secret", "1")
    begin = frames.Begin(1, Limits(), Identities(), (), b"very secret", ())
    known = frames.Known({"default/edge": Verdicts(snapshot([secret]))})
    published = frames.Published((change_between(None, snapshot([secret])),))
    took = frames.Took("default/edge", "one", (secret,))
    refused = frames.Refused("default/edge", "one", (secret,), "1", "no", 1.0)
    others = (frames.Forgotten("default/edge"), frames.Look(1, ()), frames.Stop(1.0))
    every = (begin, known, published, took, refused, *others)
    assert {type(one) for one in every} == set(get_args(frames.Down))
    for frame in every:
        assert "very secret" not in repr(frame)
