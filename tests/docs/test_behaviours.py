"""The page on xDS names a test for each behaviour that it promises; each of them exists."""

from __future__ import annotations

import re

from tests.docs.pages import ROOT


def test_every_behaviour_has_its_test() -> None:
    page = (ROOT / "docs" / "xds.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| [^|]*\| [^|]+ \| `(test_\w+)` \|$", page, re.MULTILINE)
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"^(?:async )?def (test_\w+)\(", code, re.MULTILINE))
    assert len(named) > 70
    assert not set(named) - there


def test_the_numbers_of_the_list_are_all_there() -> None:
    page = (ROOT / "docs" / "xds.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| ([\d, to]*) \| [^|]+ \| `test_", page, re.MULTILINE)
    found = {11, 81}  # said below the tables to be untested, with the reason
    for text in ", ".join(cells).replace(" ", "").split(","):
        first, _, last = text.partition("to")
        if first:
            found.update(range(int(first), int(last or first) + 1))
    assert found == set(range(1, 89))
