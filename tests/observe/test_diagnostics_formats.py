"""Diagnostics as other tools read them."""

from __future__ import annotations

from xds_server.diagnostics import Diagnostic, Span, diagnose
from xds_server.observe.diagnostics_formats import github_lines, sarif

FOUND = (
    diagnose("M110", Span("a,b/web.yaml", 12, 9, 6), hint="did you mean 'weight'?", field="wieght"),
    diagnose("M112", Span("web.yaml", 3, 1), reason="100% wrong\nin two lines"),
    Diagnostic("L121", "nothing is there"),
)


def test_github_shows_each_at_its_line() -> None:
    assert github_lines(FOUND) == [
        "::error file=a%2Cb/web.yaml,line=12,col=9,title=M110::unknown field 'wieght' (did you mean 'weight'?)",
        "::error file=web.yaml,line=3,col=1,title=M112::100%25 wrong%0Ain two lines",
        "::warning title=L121::nothing is there",
    ]


def test_sarif_has_rules_levels_and_regions() -> None:
    (run,) = sarif(FOUND)["runs"]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["L121", "M110", "M112"]
    levels = [rule["defaultConfiguration"]["level"] for rule in run["tool"]["driver"]["rules"]]
    assert levels == ["warning", "error", "error"]
    assert all(len(rule["help"]["text"]) > 40 for rule in run["tool"]["driver"]["rules"])
    first, _, last = run["results"]
    assert (first["ruleIndex"], first["level"]) == (1, "error")
    place = first["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "a,b/web.yaml"
    assert place["region"] == {"startLine": 12, "startColumn": 9, "endColumn": 15}
    assert (last["level"], "locations" in last) == ("warning", False)
