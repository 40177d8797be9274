"""Patches of JSON: what they would look at and how large they may make it is bounded before it is done."""

from __future__ import annotations

from typing import Any

import pytest

from xds_server.translate.documents import PatchError, patched

ITEMS = {"items": [{"name": f"n{number}", "ports": [number]} for number in range(600)]}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("$..[?count($..*)>0]", "calls count"),
        ("$.items[?length(@.name)>1]", "calls length"),
        ("$.items[?value(@.name)=='n1']", "calls value"),
        ("$.items[?!(@.a && count(@.ports[*])>0)]", "calls count"),
        ("$.items[?@.name==$.items[0].name]", "has '$' in a filter"),
        ("$.items[?@[?$..*]]", "has '$' in a filter"),
        ("$..items..name", "more than one '..'"),
        ("$..[?@..name]", "more than one '..'"),
        ("$.items[?@..name && @..ports]", "more than one '..'"),
        ("$" + "[*,*]" * 24 + ".nope", "would look at more than"),
        ("$.items[?@" + "['a','a']" * 24 + "]", "would look at more than"),
        ("$.items[?" + "||".join(["@[*].x"] * 120) + "]", "would look at more than"),
    ],
)
def test_an_expression_that_could_take_long_is_not_begun(query: str, words: str) -> None:
    document = {**ITEMS, "more": list(range(10_000))}
    with pytest.raises(PatchError, match="jsonPath") as caught:
        patched(document, {"op": "remove", "jsonPath": query})
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("$..[?@.name=='n1']", 599),
        ("$.items[?@.name=='n1' || @.ports[0]==2]", 598),
        ("$.items[?@.ports[?@>=500]]", 500),
        ("$['items','none'][0,1]", 598),
        ("$.items[?@.name=='$..(' ]", 600),
    ],
)
def test_what_a_filter_says_of_its_own_values_is_found(query: str, left: int) -> None:
    document = {**ITEMS, "last": {"name": "$..("}}
    if left == len(ITEMS["items"]):
        with pytest.raises(PatchError, match="nowhere"):
            patched(document, {"op": "remove", "jsonPath": query})
    else:
        assert len(patched(document, {"op": "remove", "jsonPath": query})["items"]) == left


def test_no_more_hits_are_made_than_count() -> None:
    document = {"items": list(range(10_001))}
    with pytest.raises(PatchError, match="more than 10000 times"):
        patched(document, {"op": "remove", "jsonPath": "$.items[*]"})
    document["items"].pop()
    assert patched(document, {"op": "remove", "jsonPath": "$.items[*]"}) == {"items": []}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "copy", "from": "/items", "path": "/items/-"},
        {"op": "copy", "from": "/items", "jsonPath": "$.items[*]", "path": "/name"},
        {"op": "add", "jsonPath": "$.items[*]", "path": "/text", "value": "x" * 20_000},
        {"op": "replace", "jsonPath": "$.items[*]", "path": "/name", "value": ["x" * 20_000]},
    ],
)
def test_a_document_cannot_grow_without_end(operation: dict[str, Any]) -> None:
    document: Any = ITEMS

    def forty_times() -> None:
        nonlocal document
        for _ in range(40):
            document = patched(document, operation)

    with pytest.raises(PatchError, match="larger than 8388608 characters"):
        forty_times()


def test_a_large_document_can_still_get_smaller() -> None:
    document = {"text": "x" * 9_000_000, "more": 1}
    with pytest.raises(PatchError, match="larger than"):
        patched(document, {"op": "add", "path": "/a", "value": 1})
    assert patched(document, {"op": "remove", "path": "/text"}) == {"more": 1}
