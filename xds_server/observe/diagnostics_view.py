"""Diagnostics as people and programs read them.

In: diagnostics, and a way to get the text of a file. Out: blocks of `file:line:col`, the line, a caret under the word
and what to write instead; or JSON values. A line that may hold a secret is never shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rich.text import Text

from xds_server.diagnostics import Diagnostic, Severity, Span

ReadText = Callable[[str], str | None]
"""The text of a file by the name that spans give it; None if it cannot be read (any more)."""

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.INFO: "bold blue"}
_WORD = re.compile(r"[\w./*-]+")
_SECRET = re.compile(r"""kind["']?\s*:\s*["']?Secret\b""")
_WIDTH = 160


def diagnostic_json(diagnostic: Diagnostic) -> dict[str, Any]:
    """One diagnostic as JSON values."""
    span = diagnostic.span
    place = {"file": span.file, "line": span.line, "column": span.column, "length": span.length} if span else {}
    return {
        "severity": str(diagnostic.severity),
        "code": diagnostic.code,
        "message": diagnostic.message,
        "hint": diagnostic.hint,
        "subject": diagnostic.subject,
        "place": str(span) if span else "",
        **place,
    }


def diagnostic_text(diagnostic: Diagnostic, read_text: ReadText) -> Text:
    """One diagnostic as a block of lines."""
    text = Text()
    if diagnostic.span:
        text.append(f"{_plain(str(diagnostic.span))}: ", "bold")
    text.append(str(diagnostic.severity), _STYLES[diagnostic.severity])
    text.append(f" {diagnostic.code} {_plain(diagnostic.message)}")
    if diagnostic.hint:
        text.append(f" ({_plain(diagnostic.hint)})")
    if diagnostic.subject:
        text.append(f" [{_plain(diagnostic.subject)}]", "dim")
    if diagnostic.span:
        for line in _excerpt(diagnostic, diagnostic.span, read_text):
            text.append("\n")
            text.append_text(line)
    return text


def summary(diagnostics: Iterable[Diagnostic]) -> str:
    """`2 errors, 1 warning`."""
    counts = dict.fromkeys(Severity, 0)
    for diagnostic in diagnostics:
        counts[diagnostic.severity] += 1
    said = [f"{count} {name}{'s' if count != 1 else ''}" for name, count in counts.items() if count or name == "error"]
    return ", ".join(said)


def has_errors(diagnostics: Iterable[Diagnostic]) -> bool:
    """Whether any of them is an error."""
    return any(diagnostic.severity == Severity.ERROR for diagnostic in diagnostics)


def _excerpt(diagnostic: Diagnostic, span: Span, read_text: ReadText) -> Iterator[Text]:
    written = read_text(span.file)
    if written is None:
        return
    if diagnostic.subject.startswith("Secret ") or (not diagnostic.subject and _SECRET.search(written)):
        return
    lines = written.splitlines()
    if not 0 < span.line <= len(lines):
        return
    line = lines[span.line - 1].replace("\t", " ")
    start = span.column - 1
    word = _WORD.match(line, start)
    length = span.length if span.length > 1 else len(word.group()) if word else 1
    cut = max(0, start - _WIDTH // 2) if len(line) > _WIDTH else 0  # long lines: the part around the word
    number = str(span.line)
    yield Text(f"   {number} | {_plain(line[cut : cut + _WIDTH])}")
    caret = "^" * max(1, min(length, len(line) - start, _WIDTH))
    yield Text.assemble(f"   {' ' * len(number)} | {' ' * (start - cut)}", (caret, _STYLES[diagnostic.severity]))


def _plain(text: str) -> str:
    """Without control characters: what users write must not steer a terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
