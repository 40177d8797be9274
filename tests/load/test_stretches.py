"""What is known of an earlier content of a file changes nothing but the time that reading takes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xds_server.load import stretches
from xds_server.load.document import DEFAULT_LIMITS, Limits
from xds_server.load.stretches import Parsed
from xds_server.load.yaml import parse_file

FEW = replace(DEFAULT_LIMITS, nodes=12, documents=5)
BITS = (
    "a: 1\n",
    "b: yes\n",
    "c: [\n",
    "# d\n",
    "e: ä\n",
    "\x07",
    "kind: List\nitems: [{x: 1}, {y: yes}]\n",
    "---\n",
    "--- # f\n",
    "---",
    "...\n",
    "\n",
    "\r\n",
    "\ufeff",
    "x",
    "  ",
)
TEXTS = st.lists(st.sampled_from(BITS), max_size=12)


@pytest.fixture(params=[1, 2, 128])
def few_pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stretches of so many pieces at most."""
    monkeypatch.setattr(stretches, "PIECES", request.param)


def said(parsed: Parsed) -> Any:
    """Everything that follows from a file."""
    documents = [[(one.index, one.value, one.positions) for one in of] for of in (parsed.documents, parsed.broken)]
    return documents, parsed.diagnostics, parsed.failed


@pytest.mark.usefixtures("few_pieces")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS, st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3), TEXTS), min_size=1, max_size=4), st.booleans())
def test_whatever_is_edited(bits: list[str], edits: list[tuple[int, int, list[str]]], is_short: bool) -> None:
    limits = FEW if is_short else DEFAULT_LIMITS
    known = parse_file("f.yaml", "".join(bits).encode(), limits)
    for at, gone, came in edits:
        bits[at : at + gone] = came
        data = "".join(bits).encode()
        known = parse_file("f.yaml", data, limits, known)
        assert said(known) == said(parse_file("f.yaml", data, limits))
        assert all(len(one.pieces) <= stretches.PIECES for one in known.stretches)
        assert all(known.documents.parts), "none is empty"


@pytest.mark.parametrize("bad", [b"\xe4", b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f"])
def test_bytes_that_belong_to_no_character_stay_where_they_are(bad: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stretches, "PIECES", 1)
    pieces = [b"a: 1\n", b"b: " + bad + b"\n", b"c: 1\n"]
    known = parse_file("f.yaml", b"---\n".join(pieces))
    pieces[2] = b"c: 2\n"
    again = parse_file("f.yaml", b"---\n".join(pieces), earlier=known)
    assert said(again) == said(parse_file("f.yaml", b"---\n".join(pieces)))
    assert [one.code for one in again.diagnostics] == ["L102"]


def test_only_what_is_different_is_read_and_placed() -> None:
    texts = [f"a: {number}\n" for number in range(1000)]
    known = parse_file("f.yaml", "---\n".join(texts).encode())
    assert len(known.stretches) == 8
    texts[500] = "a: x\n"
    after = parse_file("f.yaml", "---\n".join(texts).encode(), earlier=known)
    same = [one is other for one, other in zip(after.documents, known.documents, strict=True)]
    assert [number for number, is_same in enumerate(same) if not is_same] == [500]
    assert sum(one is not other for one, other in zip(after.stretches, known.stretches, strict=True)) == 1
    parts = zip(after.documents.parts, known.documents.parts, strict=True)
    assert sum(one is not other for one, other in parts) == 1, "what follows from the others needs no look"


LIST = "kind: List\nitems: [{a: 1}]\n"
LIMITS = [
    DEFAULT_LIMITS,
    *(replace(DEFAULT_LIMITS, nodes=nodes) for nodes in range(2, 12)),
    *(replace(DEFAULT_LIMITS, documents=documents) for documents in range(1, 6)),
]


@pytest.mark.parametrize("limits", LIMITS, ids=lambda limits: f"{limits.nodes} {limits.documents}")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["a: 1\n"] * 2, ["a: 1\n"]),
        (["a: 1\n", "a: 2\n", "a: 3\n"], ["a: 1\n", "a: 9\n", "a: 2\n", "a: 3\n"]),
        (["a: 1\n", "a: 2\n"], ["a: 1\n", "a: 2\n", "a: 3\n"]),
        (["a: 1\n", "a: 2\n"], ["a: 7\n", "a: 1\n", "a: 2\n"]),
        (["a: 1\n", LIST, "a: 3\n"], ["a: 1\n", LIST.replace("}]", "}, {b: 2}]"), "a: 3\n"]),
    ],
    ids=["one of two equal ones", "between", "at the end", "at the start", "a list that grows on its line"],
)
def test_no_limit_and_no_place_is_mistaken(
    old: list[str], new: list[str], limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stretches, "PIECES", 1)
    data = ["".join("---\n" + text for text in texts).encode() for texts in (old, new, old)]
    known = parse_file("f.yaml", data[0], limits)
    for one in data[1:]:
        known = parse_file("f.yaml", one, limits, known)
        assert said(known) == said(parse_file("f.yaml", one, limits))


def test_what_is_beyond_a_limit_costs_nothing_that_was_known() -> None:
    limits = replace(DEFAULT_LIMITS, documents=300)
    texts = [f"a: {number}\n" for number in range(301)]
    before = parse_file("f.yaml", "---\n".join(texts[:300]).encode(), limits)
    beyond = parse_file("f.yaml", "---\n".join(texts).encode(), limits, before)
    again = parse_file("f.yaml", "---\n".join(texts[:300]).encode(), limits, beyond)
    assert (before.diagnostics, [one.code for one in beyond.diagnostics]) == ((), ["L111"])
    for after in (beyond, again):
        assert all(one is other for one, other in zip(after.documents, before.documents, strict=True))


def test_what_is_left_of_stretches_is_put_together() -> None:
    texts = [f"a: {number}\n" for number in range(1000)]
    known = parse_file("f.yaml", "---\n".join(texts).encode())
    while len(texts) > 10:
        del texts[len(texts) // 3 : len(texts) // 3 + 3]
        texts[len(texts) // 3] = f"a: {len(texts)}\n"
        known = parse_file("f.yaml", "---\n".join(texts).encode(), earlier=known)
        assert all(known.documents.parts)
    assert len(known.stretches) <= 2
    assert [one.value["a"] for one in known.documents] == [int(text[3:]) for text in texts]


@pytest.mark.parametrize("place", [0, 0.5, 1], ids=["at the start", "in the middle", "at the end"])
def test_stretches_become_as_large_as_they_may_be(place: float) -> None:
    texts = ["a: 1\n"]
    known = parse_file("f.yaml", b"---\n" + texts[0].encode())
    for number in range(2, 400):
        texts.insert(int(len(texts) * place), f"a: {number}\n")
        known = parse_file("f.yaml", "".join("---\n" + text for text in texts).encode(), earlier=known)
    assert 4 <= len(known.stretches) <= 7
    assert [one.value["a"] for one in known.documents] == [int(text[3:]) for text in texts]


def test_comments_that_follow_each_other_are_one_piece() -> None:
    text = "---\n# nothing\n" * 1000
    known = parse_file("f.yaml", (text + "a: 1\n" + text).encode())
    assert [len(one.pieces) for one in known.stretches] == [3]
    assert [one.positions.start.line for one in known.documents] == [2001]
    after = parse_file("f.yaml", (text + "a: 1\n" + text + text + "b: 2\n").encode(), earlier=known)
    assert [(one.index, one.positions.start.line) for one in after.documents] == [(0, 2001), (1, 6002)]
