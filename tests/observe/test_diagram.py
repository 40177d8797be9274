"""The picture of cells: what is declared is in it, what is refused is dotted, and the one in the docs is that of the shop."""

from __future__ import annotations

import re
from pathlib import Path

from tests.cells.shop import BACK, FRONT, lower
from tests.docs.pages import ROOT, blocks
from xds_server.cli.reading import read
from xds_server.compile import Options
from xds_server.observe.diagram import mermaid

_LINE = re.compile(
    r"  (  )?(subgraph \w+\[\".*\"\]|end|\w+(\[\".*\"\]|\[\[\".*\"\]\]|\[/\".*\"/\]|\{\{\"\w+\"\}\}|\(\(\"internet\"\)\))"
    r"|\w+ (-->|-->\|\".*\"\||-\. \".*\" \.->) \w+)"
)


def test_what_is_declared_is_in_the_picture() -> None:
    lines = [line.strip() for line in mermaid(lower()).splitlines()]
    assert lines[0] == "flowchart LR"
    for line in (
        'subgraph c0["cell back"]',
        'subgraph c1["cell front"]',
        'internet -->|"front.example"| c1_north',
        'c1_north -->|"/"| c1_0',
        "c1_0 --> c1_east",
        'c1_east -->|"back"| c0_west',
        'c0_west -->|"http"| c0_0',
        'e0[/"mail"/]',
        'c1_south -->|"mail"| e0',
    ):
        assert line in lines, line
    assert len(lines) == len({line for line in lines if line != "end"}) + lines.count("end"), "no edge is there twice"


def test_a_refused_dependency_is_dotted_and_says_why() -> None:
    text = mermaid(lower(back=BACK.replace("cells: [front]", "cells: [other]")))
    assert 'c1_east -. "back: not-allowed" .-> c0\n' in text
    text = mermaid(lower(front=FRONT.replace("external: mail", "external: mial")))
    assert 'c1_south -. "mail: external-not-allowed" .-> e0' in text
    assert 'e0[/"mial"/]' in text


def test_every_line_is_one_that_mermaid_reads() -> None:
    _, *lines = mermaid(read([ROOT / "policies" / "shop"], Options()).compiled.stages[0]).splitlines()
    assert [line for line in lines if not _LINE.fullmatch(line)] == []


def test_the_picture_in_the_docs_is_that_of_the_shop() -> None:
    (shown,) = blocks(Path(ROOT / "docs" / "cells.md"), "mermaid")
    assert shown == mermaid(read([ROOT / "policies" / "shop"], Options()).compiled.stages[0])
