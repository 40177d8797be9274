"""Every trap of YAML, each with the place, the code and what to write instead.

In: small texts. Out: their diagnostics, compared whole in place, length and code. A trap without a row here is not
closed.
"""

from __future__ import annotations

import pytest

from xds_server.diagnostics import Diagnostic
from xds_server.load.scalars import LookAlike, plain
from xds_server.load.yaml import parse_documents, parse_file


def places(text: str | bytes, file: str = "f.yaml") -> list[str]:
    """Line, column, length and code of everything that is wrong with a text."""
    data = text if isinstance(text, bytes) else text.encode()
    return [place(item) for item in parse_documents(file, data)[1]]


def place(item: Diagnostic) -> str:
    assert item.span is not None
    return f"{item.span.line}:{item.span.column}+{item.span.length} {item.code}"


def only(text: str) -> Diagnostic:
    """The one thing that is wrong with a text."""
    (item,) = parse_documents("f.yaml", text.encode())[1]
    return item


TRAPS = {
    "duplicate key": ("a: 1\nb: 2\na: 3\n", ["3:1+1 L104"]),
    "duplicate key in flow": ("x: {ab: 1, ab: 2}\n", ["1:12+2 L104"]),
    "duplicate quoted": ("a: 1\n'a': 2\n", ["2:1+3 L104"]),
    "yes": ("a: yes\n", ["1:4+3 L105"]),
    "no in a list": ("a:\n- x\n- no\n", ["3:3+2 L105"]),
    "Norway in flow": ("a: [SE, NO]\n", ["1:9+2 L105"]),
    "sexagesimal": ("a: 22:22\n", ["1:4+5 L105"]),
    "octal": ("mode: 0755\n", ["1:7+4 L105"]),
    "date": ("a: 2024-01-01\n", ["1:4+10 L105"]),
    "time": ("a: 2024-01-01T10:00:00Z\n", ["1:4+20 L105"]),
    "hexadecimal": ("a: 0x1F\n", ["1:4+4 L105"]),
    "underscore": ("a: 1_000\n", ["1:4+5 L105"]),
    "plus": ("a: +1\n", ["1:4+2 L105"]),
    "infinity": ("a: -.inf\n", ["1:4+5 L105"]),
    "not a number": ("a: .nan\n", ["1:4+4 L105"]),
    "True": ("a: True\n", ["1:4+4 L105"]),
    "number key": ("80: a\n", ["1:1+2 L106"]),
    "boolean key": ("a:\n  true: x\n", ["2:3+4 L106"]),
    "long key": ("a: 1\n" + "x" * 1025 + ": 2\n", ["2:1026+1 L101"]),
    "null key": ("~: x\n", ["1:1+1 L106"]),
    "empty key": ("? \n: x\n", ["1:2+1 L106"]),
    "time key": ("22:22: x\n", ["1:1+5 L106"]),
    "list as key": ("? [a, b]\n: c\nd: e\n", ["1:3+1 L106"]),
    "mapping as key": ("x:\n  {a: b}: c\n", ["2:3+1 L106"]),
    "alias as key": ("a: &x k\n*x : b\n", ["2:1+2 L106"]),
    "integer of 65 bits": ("a: 18446744073709551616\n", ["1:4+20 L107"]),
    "negative integer of 65 bits": ("a: -9223372036854775809\n", ["1:4+20 L107"]),
    "endless integer": ("a: " + "9" * 5000 + "\n", ["1:4+5000 L107"]),
    "float too large": ("a: 1e999\n", ["1:4+5 L107"]),
    "custom tag": ("a: !x b\n", ["1:4+4 L108"]),
    "python tag": ("a: !!python/object/apply:os.system [id]\n", ["1:4+33 L108"]),
    "integer tag": ("a: !!int '1'\n", ["1:4+9 L108"]),
    "unknown alias": ("a: *nobody\n", ["1:4+7 L109"]),
    "cycle": ("a: &x\n  b: *x\n", ["2:6+2 L109"]),
    "merge of text": ("a:\n  <<: b\n", ["2:7+1 L110"]),
    "merge of a mapping in place": ("a:\n  <<: {b: c}\n", ["2:7+1 L110"]),
    "merge of a list alias": ("a: &x [1]\nb:\n  <<: *x\n", ["3:7+2 L110"]),
    "merge of several": ("a: &x {b: 1}\nc:\n  <<: [*x]\n", ["3:7+1 L110"]),
    "merge twice": ("a: &x {b: 1}\nc:\n  <<: *x\n  <<: *x\n", ["4:3+2 L110"]),
    "merge of a merge": ("a: &x {b: 1}\nc: &y {<<: *x}\nd:\n  <<: *y\n", ["4:7+2 L110"]),
    "document that is a list": ("- a\n", ["1:1+1 L112"]),
    "document that is text": ("hello\n", ["1:1+5 L112"]),
    "tab as indentation": ("a:\n\tb: c\n", ["2:1+1 L101"]),
    "tab before a key": ("\ta: b\n", ["1:1+1 L101"]),
    "colon in text": ("a: b: c\n", ["1:5+1 L101"]),
    "open quote": ("a: b\nc: 'x\n", ["2:4+1 L101"]),
    "open bracket": ("a: b\nc: [x\nd: e\n", ["3:2+1 L101"]),
    "backtick": ("a: `x`\n", ["1:4+1 L101"]),
    "surrogate escape": ('a: "\\ud800"\n', ["1:7+1 L101"]),
    "NUL": (b"a: b\nc: d\x00\n", ["2:5+1 L103"]),
    "escape character": ("a: \x1b[31m\n", ["1:4+1 L103"]),
    "BOM inside": ("a: b\ufeff\n", ["1:5+1 L103"]),
    "line separator": ("a: 'b\u2028c'\n", ["1:6+1 L103"]),
    "next line": ("a: 'b\u0085c'\n", ["1:6+1 L103"]),
    "not UTF-8": (b"# \xc3\xa9\n\xc3\xa9: b\xff\n", ["2:5+1 L102"]),
    "lone surrogate": (b"a: \xed\xa0\x80\n", ["1:4+1 L102"]),
    "Latin-1": ("a: Müller\n".encode("latin-1"), ["1:5+1 L102"]),
    "UTF-16": ("a: b\n".encode("utf-16"), ["1:1+1 L102"]),
    "several at once": ("a: yes\nb: 010\na: 1\n", ["1:4+3 L105", "2:4+3 L105", "3:1+1 L104"]),
    "in the second document": ("a: b\n---\nc: d\nc: e\n", ["4:1+1 L104"]),
    "columns count characters": ("é€𝄞: [ä, no]\n", ["1:10+2 L105"]),
    "CRLF": ("a: b\r\nc: yes\r\n", ["2:4+3 L105"]),
    "CR": ("a: b\rc: yes\r", ["2:4+3 L105"]),
    "after a BOM": ("\ufeffa: yes\n", ["1:4+3 L105"]),
}


@pytest.mark.parametrize(("text", "expected"), TRAPS.values(), ids=TRAPS.keys())
def test_trap_is_named_at_its_place(text: str | bytes, expected: list[str]) -> None:
    assert places(text) == expected


FINE = {
    "on as a key": ("on: 1\ny: 2\nNo: 3\n", {"on": 1, "y": 2, "No": 3}),
    "quoted": ("a: 'yes'\nb: \"22:22\"\n'80': 010x\n", {"a": "yes", "b": "22:22", "80": "010x"}),
    "tagged text": ("a: !!str 010\n", {"a": "010"}),
    "block text": ("a: |\n  yes\nb: >-\n  no\n", {"a": "yes\n", "b": "no"}),
    "null": ("a:\nb: ~\nc: null\nd: ''\n", {"a": None, "b": None, "c": None, "d": ""}),
    "booleans": ("a: [true, false]\n", {"a": [True, False]}),
    "integers": ("a: [0, -1, 18446744073709551615]\n", {"a": [0, -1, 2**64 - 1]}),
    "floats": ("a: [1.5, -0.25, 1e3, 1.5E-2]\n", {"a": [1.5, -0.25, 1000.0, 0.015]}),
    "versions": ("a: 1.2.3\nb: v1\nc: 10.0.0.1\nd: 10s\n", {"a": "1.2.3", "b": "v1", "c": "10.0.0.1", "d": "10s"}),
    "ports": ("a: 8080:80\nb: ::1\n", {"a": "8080:80", "b": "::1"}),
    "alias": ("a: &x [1]\nb: *x\n", {"a": [1], "b": [1]}),
    "scalar alias": ("a: &x 7\nb: *x\n", {"a": 7, "b": 7}),
    "anchor written twice": ("a: &x 1\nb: &x 2\nc: *x\n", {"a": 1, "b": 2, "c": 2}),
    "merge": ("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}\n", {"a": {"b": 1, "c": 2}, "d": {"c": 3, "b": 1}}),
    "own entry before a merge": ("a: &x {b: 1}\nd:\n  b: 2\n  <<: *x\n", {"a": {"b": 1}, "d": {"b": 2}}),
    "quoted merge sign": ("'<<': 1\n", {"<<": 1}),
    "tab between": ("a:\t1\n", {"a": 1}),
    "tabs in flow": ('{\n\t"a":\t1\n}\n', {"a": 1}),
    "BOM": ("\ufeffa: 1\n", {"a": 1}),
    "CRLF": ("a: |\r\n  b\r\n  c\r\n", {"a": "b\nc\n"}),
    "no line break at the end": ("a: 1", {"a": 1}),
    "directive": ("%YAML 1.2\n---\na: 1\n", {"a": 1}),
    "markers with text": ("--- # first\na: 1\n... # end\n", {"a": 1}),
    "on the line of the marker": ("--- {a: 1}\n", {"a": 1}),
    "dashes in text": ("a: |\n  ---\n  b\n", {"a": "---\nb\n"}),
    "emoji": ("a: 😀\n", {"a": "😀"}),
}


@pytest.mark.parametrize(("text", "value"), FINE.values(), ids=FINE.keys())
def test_what_is_fine_is_read(text: str, value: object) -> None:
    documents, problems = parse_documents("f.yaml", text.encode())
    assert problems == ()
    assert [document.value for document in documents] == [value]


@pytest.mark.parametrize(
    ("text", "meaning", "instead"),
    [
        ("YES", "true", "true"),
        ("off", "false", "false"),
        ("n", "false", "false"),
        ("NULL", "null", "null"),
        ("190:20:30", "a number to the base 60", ""),
        ("0o17", "an octal number", ""),
        ("-0b1", "a binary number", ""),
        ("2001-12-14 21:59:43.10 -5", "a date", ""),
        (".5", "a number", "0.5"),
        ("-.5", "a number", "-0.5"),
        ("+1_000", "a number", "1000"),
        ("5.", "a number", ""),
        ("08", "a number", ""),
    ],
)
def test_look_alike_says_what_it_might_mean(text: str, meaning: str, instead: str) -> None:
    assert plain(text) == LookAlike(meaning, instead)


def test_hint_shows_what_to_write() -> None:
    assert only("a: 22:22\n").hint == 'quote it: "22:22"'
    assert only("a: off\n").hint == 'write false, or quote it: "off"'
    assert only("80: x\n").hint == 'quote it: "80"'


def test_duplicate_key_names_both_places() -> None:
    item = only("a: 1\n---\nb: 1\nb: 2\n")
    assert str(item) == "f.yaml:4:1: error L104 the key 'b' is already written at f.yaml:3:1 (remove one of the two)"


def test_long_text_is_shortened_in_messages() -> None:
    assert len(str(only("a: &x 1\nb: *" + "y" * 10_000 + "\n"))) < 200


def test_one_bad_document_loses_no_other() -> None:
    text = "a: 1\n---\nb: [\n---\nc: 3\n---\nd: yes\n---\n\x00\n---\n- x\n---\ne: 5\n"
    documents, problems = parse_documents("f.yaml", text.encode())
    assert [(document.value, document.positions.start.line) for document in documents] == [
        ({"a": 1}, 1),
        ({"c": 3}, 5),
        ({"e": 5}, 13),
    ]
    assert [place(item) for item in problems] == ["4:1+1 L101", "7:4+3 L105", "9:1+1 L103", "11:1+1 L112"]


def test_broken_documents_are_given_apart() -> None:
    parsed = parse_file("f.yaml", b"kind: A\nx: yes\nkind: B\n---\nkind: C\n---\nkind: [\n")
    assert parsed.failed
    assert [document.value for document in parsed.documents] == [{"kind": "C"}]
    assert [document.value for document in parsed.broken] == [{"kind": "A", "x": "yes"}]


@pytest.mark.parametrize("text", ["", "\n", "# only words\n", "---\n", "---\n---\n...\n", "--- # c\n\n# d\n", "~\n"])
def test_empty_documents_are_skipped(text: str) -> None:
    assert parse_documents("f.yaml", text.encode()) == ((), ())


def test_documents_are_counted() -> None:
    documents, _ = parse_documents("f.yaml", b"---\n# nothing\n---\na: 1\n---\nb: 1\n")
    assert [(document.file, document.index) for document in documents] == [("f.yaml", 0), ("f.yaml", 1)]
