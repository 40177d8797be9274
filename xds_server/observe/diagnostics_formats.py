"""Diagnostics for other tools: annotations of GitHub workflows, and SARIF for code scanners.

In: diagnostics. Out: lines, or one JSON value. Sources: GitHub's workflow commands; SARIF 2.1.0 (OASIS).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from xds_server import __version__
from xds_server.diagnostics import CATALOGUE, Diagnostic, Severity
from xds_server.observe.rules_view import rules

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def github_lines(diagnostics: Iterable[Diagnostic]) -> list[str]:
    """A workflow command for each, which GitHub shows at the line of the change."""
    lines = []
    for one in diagnostics:
        place = {"title": one.code}
        if one.span:
            place = {"file": one.span.file, "line": str(one.span.line), "col": str(one.span.column), **place}
        shown = ",".join(f"{name}={_escaped(value, ':,')}" for name, value in place.items())
        lines.append(f"::{_COMMANDS[one.severity]} {shown}::{_escaped(_said(one))}")
    return lines


def sarif(diagnostics: Sequence[Diagnostic]) -> dict[str, Any]:
    """One run with all results, and the rules that they go by."""
    codes = sorted({one.code for one in diagnostics})
    driver = {"name": "cellway", "version": __version__, "rules": [_rule(code) for code in codes]}
    results = [
        {
            "ruleId": one.code,
            "ruleIndex": codes.index(one.code),
            "level": _LEVELS[one.severity],
            "message": {"text": _said(one)},
            **({"locations": [_location(one)]} if one.span else {}),
        }
        for one in diagnostics
    ]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(code: str) -> dict[str, Any]:
    text = rules()[code].text
    level = {"level": _LEVELS[CATALOGUE[code].severity]}
    help_text = {"text": text, "markdown": text}
    return {
        "id": code,
        "shortDescription": {"text": CATALOGUE[code].template},
        "help": help_text,
        "defaultConfiguration": level,
    }


def _location(one: Diagnostic) -> dict[str, Any]:
    assert one.span is not None
    region = {
        "startLine": one.span.line,
        "startColumn": one.span.column,
        "endColumn": one.span.column + one.span.length,
    }
    return {"physicalLocation": {"artifactLocation": {"uri": one.span.file}, "region": region}}


def _said(one: Diagnostic) -> str:
    hint = f" ({one.hint})" if one.hint else ""
    return f"{one.message}{hint}"


def _escaped(text: str, more: str = "") -> str:
    """Percent signs, ends of lines and `more` as GitHub reads them."""
    for char in ("%", "\r", "\n", *more):
        text = text.replace(char, f"%{ord(char):02X}")
    return text
