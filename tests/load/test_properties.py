"""What holds for every input: nothing raises, JSON comes back as it was, places are where the text is."""

from __future__ import annotations

import json
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from xds_server.load.yaml import parse_documents, parse_file

SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)


def values(text: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    """JSON objects whose strings come from `text`."""
    leaf = SCALARS | text
    inner = st.recursive(leaf, lambda one: st.lists(one, max_size=4) | st.dictionaries(text, one, max_size=4))
    return st.dictionaries(text.filter(lambda key: key != "kind"), inner, min_size=1, max_size=5)


# What YAML can hold with \u escapes of one unit; its keys have at most 1,024 characters as written.
BASIC = st.text(st.characters(max_codepoint=0xFFFD, codec="utf-8"), max_size=100)
YAML_CHARS = "abyno01:-?#&*!|>'\"%@`{}[],. \t\n\r~<=\\é\u2028\x00\xff😀"


@given(st.binary(max_size=200))
def test_no_bytes_raise(data: bytes) -> None:
    for file in ("f.yaml", "f.json"):
        documents, problems = parse_documents(file, data)
        assert all(item.span is not None and item.span.file == file for item in problems)
        assert all(isinstance(document.value, dict) for document in documents)


@settings(max_examples=300)
@given(st.text(YAML_CHARS, max_size=60), st.sampled_from(["f.yaml", "f.json"]))
def test_no_text_raises(text: str, file: str) -> None:
    _, problems = parse_documents(file, text.encode())
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for item in problems:
        assert item.span is not None
        assert 1 <= item.span.line <= len(lines) + 1
        assert len(str(item)) < 1000


@given(values(st.text()), st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_json_comes_back(value: dict[str, Any], ascii_only: bool, indent: int | str | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    documents, problems = parse_documents("f.json", text.encode())
    assert problems == ()
    assert [same_types(document.value) for document in documents] == [same_types(value)]


@given(values(BASIC), st.sampled_from([None, 1]))
def test_json_in_a_yaml_file_comes_back(value: dict[str, Any], indent: int | None) -> None:
    text = json.dumps(value, indent=indent)
    documents, problems = parse_documents("f.yaml", text.encode())
    assert problems == ()
    assert [same_types(document.value) for document in documents] == [same_types(value)]


@given(values(st.text("abc:-# yno1'\"\n")))
def test_a_yaml_writer_is_understood_or_told(value: dict[str, Any]) -> None:
    text = yaml.safe_dump(value, allow_unicode=True)
    documents, problems = parse_documents("f.yaml", text.encode())
    if problems:  # `y` and `1e5` without quotes: this writer takes them for text
        assert {item.code for item in problems} <= {"L105", "L106", "L107"}
    else:
        assert len(documents) == 1


@given(values(BASIC), st.integers(0, 3))
def test_places_are_where_the_text_is(value: dict[str, Any], lines_above: int) -> None:
    text = "# c\n" * lines_above + json.dumps(value, indent=1)
    lines = text.split("\n")
    for file, data in (("f.yaml", text), ("f.json", text[4 * lines_above :])):
        (document,) = parse_documents(file, data.encode())[0]
        above = lines_above if file == "f.json" else 0
        for path, span in document.positions.values.items():
            written = lines[span.line - 1 + above][span.column - 1 :]
            found: Any = document.value
            for part in path:
                found = found[part]
            if isinstance(found, dict | list):
                assert written[0] == "{["[isinstance(found, list)]
            else:
                assert written[: span.length] == json.dumps(found)
        for path, span in document.positions.keys.items():
            assert lines[span.line - 1 + above][span.column - 1 :].startswith(json.dumps(path[-1]) + ":")


@given(
    st.lists(st.sampled_from(["a: 1\n", "b: yes\n", "c: [\n", "# d\n", "e: {f: 1}\n", "kind: List\nitems: [{x: 1}]\n"]))
)
def test_an_earlier_parse_changes_nothing_but_time(parts: list[str]) -> None:
    data = "---\n".join(parts).encode()
    earlier = parse_file("f.yaml", "---\n".join(reversed(parts)).encode())
    one, two = parse_file("f.yaml", data), parse_file("f.yaml", data, earlier=earlier)
    assert one.diagnostics == two.diagnostics
    for left, right in ((one.documents, two.documents), (one.broken, two.broken)):
        assert [(d.index, d.value, d.positions) for d in left] == [(d.index, d.value, d.positions) for d in right]


def same_types(value: object) -> str:
    """Text that differs where `1`, `1.0` and `True` differ, though they are equal; -0 is 0 for JSON integers."""
    return repr(value)
