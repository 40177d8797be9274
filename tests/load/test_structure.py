"""Positions of values and keys, Lists, aliases, and what a second parse of the same file reuses."""

from __future__ import annotations

import pickle

from xds_server.diagnostics import Span
from xds_server.load.document import Document
from xds_server.load.yaml import parse_documents, parse_file

ROUTE = """\
# a comment
kind: HTTPRoute
metadata: {name: web, "labels": {a: b}}
spec:
  rules:
  - matches:
    - path: /v1
  -   backendRefs: []
  text: |
    lines
  empty:
"""


def only(text: str, file: str = "f.yaml") -> Document:
    """The one document of a text without mistakes."""
    documents, problems = parse_documents(file, text.encode())
    assert problems == ()
    (document,) = documents
    return document


def test_every_value_and_key_has_its_place() -> None:
    positions = only(ROUTE).positions
    assert str(positions.start) == "f.yaml:2:1"
    expected = {
        ("kind",): ("2:7+9", "2:1+4"),
        ("metadata",): ("3:11+1", "3:1+8"),
        ("metadata", "name"): ("3:18+3", "3:12+4"),
        ("metadata", "labels"): ("3:33+1", "3:23+8"),
        ("metadata", "labels", "a"): ("3:37+1", "3:34+1"),
        ("spec",): ("5:3+1", "4:1+4"),
        ("spec", "rules"): ("6:3+1", "5:3+5"),
        ("spec", "rules", 0): ("6:5+1", "6:5+1"),
        ("spec", "rules", 0, "matches", 0, "path"): ("7:13+3", "7:7+4"),
        ("spec", "rules", 1): ("8:7+1", "8:7+1"),
        ("spec", "rules", 1, "backendRefs"): ("8:20+1", "8:7+11"),
        ("spec", "text"): ("9:9+1", "9:3+4"),
        ("spec", "empty"): ("11:9+1", "11:3+5"),
    }
    found = {path: (shown(positions.value(path)), shown(positions.key(path))) for path in expected}
    assert found == expected


def shown(span: Span) -> str:
    return f"{span.line}:{span.column}+{span.length}"


def test_missing_path_is_at_its_nearest_ancestor() -> None:
    positions = only(ROUTE).positions
    assert positions.value(("spec", "rules", 5, "x")) == positions.value(("spec", "rules"))
    assert positions.key(("metadata", "nothing")) == positions.value(("metadata",))
    assert positions.value(("spec", "rules", "0")) == positions.value(("spec", "rules"))
    assert positions.value(("spec", "rules", -1)) == positions.value(("spec", "rules"))


def test_places_are_a_mapping_of_all_paths() -> None:
    positions = only("a: [1, {b: 2}]\n").positions
    paths = {(), ("a",), ("a", 0), ("a", 1), ("a", 1, "b")}
    assert set(positions.values) == paths
    assert len(positions.values) == 5
    assert set(positions.keys) == {("a",), ("a", 1, "b")}
    assert positions.values == dict(positions.values)
    assert positions == only("a: [1, {b: 2}]\n").positions
    assert positions != only("a: [1,  {b: 2}]\n").positions


def test_a_document_can_be_pickled() -> None:
    document = only(ROUTE)
    copy = pickle.loads(pickle.dumps(document))
    assert (copy.value, copy.positions) == (document.value, document.positions)


def test_alias_is_at_its_own_place_and_its_parts_where_they_are_written() -> None:
    positions = only("a: &x\n  b: 1\nc: *x\nd:\n  <<: *x\n").positions
    assert shown(positions.value(("c",))) == "3:4+2"
    assert shown(positions.value(("c", "b"))) == "2:6+1"
    assert shown(positions.key(("d", "b"))) == "2:3+1"
    assert shown(positions.value(("d", "b"))) == "2:6+1"


LIST = """\
apiVersion: v1
kind: List
items:
- kind: A
  x: 1
- kind: List
  items:
  - {kind: B}
- kind: C
"""


def test_list_is_its_items() -> None:
    documents, problems = parse_documents("f.yaml", LIST.encode())
    assert problems == ()
    assert [(one.index, one.value["kind"], str(one.positions.start)) for one in documents] == [
        (0, "A", "f.yaml:4:3"),
        (1, "B", "f.yaml:8:5"),
        (2, "C", "f.yaml:9:3"),
    ]
    assert shown(documents[0].positions.value(("x",))) == "5:6+1"


def test_one_bad_item_breaks_no_other() -> None:
    parsed = parse_file("f.yaml", LIST.replace("x: 1", "x: no").encode())
    assert [document.value["kind"] for document in parsed.documents] == ["B", "C"]
    assert [document.value["kind"] for document in parsed.broken] == ["A"]


def test_fault_beside_the_items_breaks_all() -> None:
    parsed = parse_file("f.yaml", ("x: no\n" + LIST).encode())
    assert not parsed.documents
    assert len(parsed.broken) == 3


def test_list_that_is_none() -> None:
    def problems(text: str) -> list[str]:
        return [str(item).split(" error ")[0] for item in parse_documents("f.yaml", text.encode())[1]]

    assert problems("kind: List\nitems: []\n") == []
    assert problems("kind: List\n") == []
    assert problems("kind: List\nitems: a\n") == ["f.yaml:2:8:"]
    assert problems("kind: List\nitems:\n- 1\n- kind: A\n") == ["f.yaml:3:3:"]
    assert len(problems("{kind: List, items: [" * 20 + "]}" * 20)) == 1


def test_json_is_read_with_places() -> None:
    document = only('{\n\t"kind": "A",\n\t"n": [1, -2.5e3, true, null, "\\ud83d\\ude00\\/\x7f\u2028"]\n}\n', "f.json")
    assert document.value == {"kind": "A", "n": [1, -2500.0, True, None, "😀/\x7f\u2028"]}
    assert shown(document.positions.value(("n", 1))) == "3:11+6"
    assert shown(document.positions.key(("n",))) == "3:2+3"
    assert shown(document.positions.value(())) == "1:1+1"


def test_json_mistakes() -> None:
    def problems(text: str) -> list[str]:
        found = parse_documents("f.json", text.encode())[1]
        return [f"{item.span.column}+{item.span.length} {item.code}" for item in found if item.span]

    assert problems('{"a": 1, "a": 2}') == ["10+3 L104"]
    assert problems('{"a": 18446744073709551616}') == ["7+20 L107"]
    assert problems('{"a": "\\ud800"}') == ["7+8 L114"]
    assert problems("[1]") == ["1+1 L112"]
    for text, column in (
        ("{'a': 1}", 2),
        ('{"a": NaN}', 7),
        ('{"a": 01}', 7),
        ('{"a": 1,}', 9),
        ('{"a" 1}', 6),
        ('{"a": 1 "b": 2}', 9),
        ('{"a": [1', 9),
        ('{"a": "x', 7),
        ("{", 2),
        ("{} x", 4),
        ("// c", 1),
    ):
        assert problems(text) == [f"{column}+1 L114"], text
    assert problems("") == []


def test_json_values_may_follow_each_other() -> None:
    documents, problems = parse_documents("f.json", b'{"a": 1}\n{"b": 2} {"kind": "List", "items": [{"c": 3}]}')
    assert problems == ()
    assert [document.value for document in documents] == [{"a": 1}, {"b": 2}, {"c": 3}]


def test_unchanged_documents_are_the_same_objects_again() -> None:
    before = parse_file("f.yaml", b"a: 1\n---\nb: 1\n---\nc: 1\n")
    after = parse_file("f.yaml", b"a: 1\n---\nb: 2\n---\nc: 1\n", earlier=before)
    assert [new is old for new, old in zip(after.documents, before.documents, strict=True)] == [True, False, True]


def test_moved_documents_keep_their_values_at_new_places() -> None:
    before = parse_file("f.yaml", b"a: 1\n---\nb: {c: 1, c: 2}\n---\nd: 1\n")
    data = b"a: 1\nx: 1\n---\nb: {c: 1, c: 2}\n---\nd: 1\n"
    after = parse_file("f.yaml", data, earlier=before)
    fresh = parse_file("f.yaml", data)
    assert after.documents[1].value is before.documents[1].value
    assert [(one.value, one.positions) for one in after.documents] == [
        (one.value, one.positions) for one in fresh.documents
    ]
    assert after.diagnostics == fresh.diagnostics
