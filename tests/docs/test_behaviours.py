"""Pages that promise behaviours name a test for each; each of them exists, and no number of the list is missing."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import ROOT

PAGES = {
    "xds.md": (88, {11, 81}),
    "cells-behaviours.md": (48, set[int]()),
    "reliability.md": (52, {*range(39, 45), 47, 51, 52}),
    "threat-model.md": (36, {29}),
}
"""How many behaviours there are, and those that are said, with the reason, to have no test."""


def rows(page: str) -> list[tuple[str, str]]:
    """The numbers and the test of every row."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(r"^\| ([\d, to]*) \|(?: [^|]+ \|){1,2} `(test_\w+)` \|$", text, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_every_behaviour_has_its_test(page: str) -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"^(?:async )?def (test_\w+)\(", code, re.MULTILINE))
    named = {name for _, name in rows(page)}
    assert len(named) > 20
    assert not named - there


@pytest.mark.parametrize("page", PAGES)
def test_the_numbers_of_the_list_are_all_there(page: str) -> None:
    count, untested = PAGES[page]
    found = set(untested)
    for text in ", ".join(numbers for numbers, _ in rows(page)).replace(" ", "").split(","):
        first, _, last = text.partition("to")
        if first:
            found.update(range(int(first), int(last or first) + 1))
    assert found == set(range(1, count + 1))
