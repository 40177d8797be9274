"""The pages under docs/diagnostics and the catalogue say the same, and every example makes the code that it stands under.

In: the pages, the catalogue. Out: failures that name the code.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks_of
from xds_server.compile import Options, compile_objects
from xds_server.diagnostics import CATALOGUE, Diagnostic
from xds_server.load.document import Document
from xds_server.load.objects import key_of, parse_documents_of
from xds_server.load.suppress import suppressed
from xds_server.load.yaml import parse_file
from xds_server.observe.rules_view import close_codes, pages, rules

FOLDER = ROOT / "docs" / "diagnostics"
NO_EXAMPLE = {
    "L100", "L102", "L103", "L111", "L114", "L120", "L121", "L130", "L131", "L132",  # of files, not of a document
    "A145", "A147", "A148", "A151", "C111",  # of a server, or with certificates
    "F143", "F150", "F160",
    *(code for code in CATALOGUE if code.startswith("T")),  # of what no document should be able to say
}  # fmt: skip
"""Codes that no small document makes."""
FOLLOWS = {"C104": {"C124"}, "C105": {"A112"}, "C124": {"C121"}}
"""What an example says besides, because the one follows from the other."""
EXAMPLES = {code: rule for code, rule in rules().items() if rule.example}


def headings(page: Path) -> list[tuple[str, str]]:
    """Every code of a page with the line below it."""
    return re.findall(r"^## (\w+)\n\n`([^\n]*)`$", page.read_text(encoding="utf-8"), re.MULTILINE)


def found_in(example: str, page: str) -> list[Diagnostic]:
    """What is wrong with an example, read beside the objects that open its page."""
    whole = parse_file("example.yaml", example.encode())
    written = {key_of(one.value) for one in (*whole.documents, *whole.broken)}
    around = [one for one in around_of(page) if key_of(one.value) not in written]
    objects = parse_documents_of((*around, *whole.documents), whole.broken)
    compiled = compile_objects(objects.objects, Options())
    found = (*whole.diagnostics, *objects.diagnostics, *compiled.diagnostics)
    return list(suppressed(dict.fromkeys(found), (*around, *whole.documents, *whole.broken)))


def around_of(page: str) -> tuple[Document, ...]:
    opening = (FOLDER / page).read_text(encoding="utf-8").partition("\n## ")[0]
    text = "---\n".join(blocks_of(opening, "yaml"))
    return tuple(parse_file("around.yaml", text.encode()).documents)


def test_every_code_has_its_section_under_its_letter_in_order() -> None:
    listed = [code for page in sorted(FOLDER.glob("*.md")) for code, _ in headings(page)]
    assert sorted(listed) == sorted(CATALOGUE)
    for page in FOLDER.glob("*.md"):
        codes = [code for code, _ in headings(page)]
        assert len({code[0] for code in codes}) == 1, page.name
        assert codes == sorted(codes), page.name


@pytest.mark.parametrize("page", sorted(FOLDER.glob("*.md")), ids=lambda page: page.stem)
def test_severities_and_words_are_those_of_the_catalogue(page: Path) -> None:
    said = dict(headings(page))
    assert said == {code: f"{CATALOGUE[code].severity}: {CATALOGUE[code].template}" for code in said}


def test_every_code_has_an_explanation_and_an_example_where_there_can_be_one() -> None:
    assert [path.name for path in pages()] == [path.name for path in sorted(FOLDER.glob("*.md"))]
    assert [code for code, rule in rules().items() if len(rule.text) < 40] == []
    assert {code for code in CATALOGUE if code not in EXAMPLES} == NO_EXAMPLE


@pytest.mark.parametrize("code", EXAMPLES)
def test_an_example_makes_its_code_and_no_other(code: str) -> None:
    rule = EXAMPLES[code]
    found = found_in(rule.example, rule.page)
    assert {one.code for one in found} == {code, *FOLLOWS.get(code, ())}, [str(one) for one in found]


def test_every_code_of_the_catalogue_is_used() -> None:
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for path in (ROOT / "xds_server").rglob("*.py")
        if path.name != "diagnostics.py" and "envoy_api" not in path.parts
    )
    assert [one for one in CATALOGUE if f'"{one}"' not in code] == []


def test_a_misspelt_code_is_told_its_neighbours() -> None:
    assert "M110" in close_codes("m11O")
    assert close_codes("nonsense") == []
