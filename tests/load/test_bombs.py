"""Small files that kill or hang other readers: refused at a limit, in this process, in no time to speak of.

The test runner's timeout is the only clock here: each of these would otherwise need hours, gigabytes or a new process.
"""

from __future__ import annotations

import json

import pytest

from xds_server.load.document import Limits
from xds_server.load.yaml import parse_documents, parse_file


def alias_bomb(levels: int, width: int) -> str:
    lines = ["l0: &l0 [" + ", ".join(["x"] * width) + "]"]
    lines += [f"l{i}: &l{i} [" + ", ".join([f"*l{i - 1}"] * width) + "]" for i in range(1, levels)]
    return "\n".join(lines)


def merge_bomb(levels: int) -> str:
    lines = ["a0: &a0 {k0: x}"]
    lines += [f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}], k{i}: x}}" for i in range(1, levels)]
    return "\n".join(lines)


BOMBS = {
    "25,000 lists": "[" * 25_000,
    "25,000 mappings": "{a: " * 25_000,
    "a million lists": "[" * 1_000_000,
    "25,000 blocks": "- " * 25_000,
    "25,000 complex keys": "? " * 25_000,
    "deep by indentation": "".join(" " * i + "a:\n" for i in range(2_000)),
    "nine levels of nine aliases": alias_bomb(9, 9),
    "many levels of two aliases": alias_bomb(40, 2),
    "merges": merge_bomb(30),
    "many aliases": "a: &a 1\nb: [" + ", ".join(["*a"] * 101) + "]",
    "depth through aliases": "\n".join(["a0: &a0 [1]"] + [f"a{i}: &a{i} [[*a{i - 1}]]" for i in range(1, 99)]),
    "many mistakes": "".join(f"a{i}: yes\n" for i in range(100_000)),
    "unclosed quote": "a: '" + "x\n" * 200_000,
    "long plain scalar": "a: " + "x " * 500_000 + ": y",
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS.keys())
def test_bomb_is_refused(text: str) -> None:
    documents, problems = parse_documents("f.yaml", text.encode())
    assert documents == ()
    assert 1 <= len(problems) <= 101


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", ["[" * 1_000_000, '{"a":' * 1_000_000, "[" * 65 + "]" * 65])
def test_json_bomb_is_refused(text: str) -> None:
    documents, problems = parse_documents("f.json", text.encode())
    assert documents == ()
    assert [item.code for item in problems] == ["L111"]


@pytest.mark.parametrize("start", ["a: 1\n", "a: 1", "a:\n-", "a: {", "a: x #", "---", "- ", "a: 2020-01-01"])
@pytest.mark.parametrize("end", ["!", "y", "", ": z"])
def test_a_long_line_takes_no_longer_than_its_length(start: str, end: str) -> None:
    parse_file("long.yaml", f"{start}{' ' * 1_000_000}{end}\n".encode())


def test_limits_are_exact() -> None:
    def codes(text: str, file: str = "f.yaml") -> list[str]:
        limits = Limits(nodes=20, aliases=2, depth=4, faults=3, documents=3)
        return [item.code for item in parse_documents(file, text.encode(), limits)[1]]

    assert codes("a: [[[1]]]") == []
    assert codes("a: [[[[1]]]]") == ["L111"]
    assert codes('{"a": [[[1]]]}', "f.json") == []
    assert codes('{"a": [[[[1]]]]}', "f.json") == ["L111"]
    assert codes("a: [" + "1," * 18 + "]") == []
    assert codes("a: [" + "1," * 19 + "]") == ["L111"]
    assert codes('{"a": [' + "1," * 17 + "1]}", "f.json") == []
    assert codes('{"a": [' + "1," * 18 + "1]}", "f.json") == ["L111"]
    assert codes("a: &x 1\nb: *x\nc: *x") == []
    assert codes("a: &x 1\nb: *x\nc: *x\nd: *x") == ["L111"]
    assert codes("a: no\nb: no\nc: no\nd: no") == ["L105", "L105", "L105", "L111"]
    assert codes("a: 1\n---\nb: 1\n---\nc: 1\n") == []
    assert codes("a: 1\n---\nb: 1\n---\nc: 1\n---\nd: 1\n") == ["L111"]


def test_depth_counts_through_aliases() -> None:
    limits = Limits(depth=4)
    assert parse_file("f.yaml", b"a: &x [1]\nb: [[*x]]\n", limits).diagnostics == ()
    assert [item.code for item in parse_file("f.yaml", b"a: &x [1]\nb: [[[*x]]]\n", limits).diagnostics] == ["L111"]
    merged = b"a: &x {k: [[1]]}\nb: {<<: *x}\n"
    assert parse_file("f.yaml", merged, limits).diagnostics == ()


def test_what_is_accepted_can_be_walked() -> None:
    text = alias_bomb(5, 9)
    documents, problems = parse_documents("f.yaml", text.encode())
    assert problems == ()
    assert len(json.dumps(documents[0].value)) < 1_000_000
