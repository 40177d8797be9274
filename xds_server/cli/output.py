"""What commands print: answers to stdout, trouble to stderr, and which exit code says what."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, NoReturn

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from xds_server.diagnostics import Diagnostic
    from xds_server.observe.diagnostics_view import ReadText

FOUND = 1
TROUBLE = 2


def trouble(sentence: str) -> NoReturn:
    """Say what stands in the way, on stderr, and end with exit code 2."""
    print(f"cellway: {sentence}", file=sys.stderr)
    raise typer.Exit(TROUBLE)


def console(color: Literal["auto", "always", "never"] = "auto") -> Console:
    """Stdout with colours where it is a terminal that has them, or as is said; lines are never wrapped."""
    from rich.console import Console

    plain = not sys.stdout.isatty() or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    if color == "always":
        return Console(force_terminal=True, color_system="standard", no_color=False, highlight=False, soft_wrap=True)
    if color == "never" or plain:
        return Console(no_color=True, color_system=None, highlight=False, soft_wrap=True)
    return Console(highlight=False, soft_wrap=True)


def print_table(out: Console, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns as wide as what stands in them: nothing is cut or wrapped, so that lines can be searched."""
    from rich.text import Text

    whole = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*whole, strict=True)]
    for number, row in enumerate(whole):
        line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        out.print(Text(line, "bold" if number == 0 else ""))


def print_diagnostics(diagnostics: Iterable[Diagnostic], read_text: ReadText, out: Console) -> None:
    """All diagnostics as text blocks."""
    from xds_server.observe.diagnostics_view import diagnostic_text

    for diagnostic in diagnostics:
        out.print(diagnostic_text(diagnostic, read_text))
