"""Diagnostics as text: the place, the line, a caret under the word, and never a secret."""

from __future__ import annotations

from xds_server.diagnostics import Diagnostic, Span, diagnose
from xds_server.observe.diagnostics_view import diagnostic_json, diagnostic_text, has_errors, summary

FILE = """kind: HTTPRoute
metadata: {name: web}
spec:
  rules:
  - backendRefs:
    - {name: a, wieght: 3}
"""


def shown(diagnostic: Diagnostic, text: str | None = FILE) -> list[str]:
    return diagnostic_text(diagnostic, lambda _: text).plain.splitlines()


def finding(line: int = 6, column: int = 17, **more: str) -> Diagnostic:
    return diagnose("M110", Span("a.yaml", line, column), field="wieght", **more)


def test_the_caret_stands_under_the_word() -> None:
    assert shown(finding(hint="did you mean 'weight'?", subject="HTTPRoute default/web")) == [
        "a.yaml:6:17: error M110 unknown field 'wieght' (did you mean 'weight'?) [HTTPRoute default/web]",
        "   6 |     - {name: a, wieght: 3}",
        "     |                 ^^^^^^",
    ]


def test_a_file_that_is_gone_and_a_line_that_is_gone_cost_only_the_excerpt() -> None:
    assert len(shown(finding(), None)) == 1
    assert len(shown(finding(line=99))) == 1
    assert len(shown(diagnose("M110", field="x"))) == 1


def test_the_end_of_a_line_and_an_empty_line_still_have_a_caret() -> None:
    assert shown(finding(line=1, column=16))[-1].endswith("^")
    assert shown(finding(line=1, column=1), "\n")[-1].endswith("^")


def test_a_long_line_is_cut_around_the_word() -> None:
    lines = shown(finding(line=1, column=501), "x" * 499 + " here " + "y" * 500)
    assert all(len(line) < 200 for line in lines)
    caret = lines[2].index("^")
    assert lines[1][caret : caret + 4] == "here"


def test_lines_of_secrets_are_not_shown() -> None:
    secret = "kind: Secret\nstringData: {password: hunter2}\n"
    assert "hunter2" not in "\n".join(shown(finding(line=2, column=1, subject="Secret default/x"), secret))
    assert "hunter2" not in "\n".join(shown(finding(line=2, column=1), secret))
    assert "hunter2" not in "\n".join(shown(finding(line=2, column=1), secret.replace("Secret", '"Secret"')))


def test_control_characters_do_not_reach_the_terminal() -> None:
    diagnostic = diagnose("M110", Span("a\x1b[2J.yaml", 1, 1), field="\x1b]0;x\x07")
    assert "\x1b" not in "\n".join(shown(diagnostic, "a: \x1b[31m\n"))


def test_json_has_everything() -> None:
    view = diagnostic_json(finding(hint="h", subject="s"))
    assert view["place"] == "a.yaml:6:17"
    assert (view["severity"], view["code"], view["hint"], view["subject"]) == ("error", "M110", "h", "s")
    assert (view["file"], view["line"], view["column"]) == ("a.yaml", 6, 17)


def test_the_summary_counts() -> None:
    warning = diagnose("A111")
    assert summary([finding(), finding(), warning]) == "2 errors, 1 warning"
    assert summary([]) == "0 errors"
    assert has_errors([warning, finding()])
    assert not has_errors([warning])
