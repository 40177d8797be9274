"""What commands print: answers to stdout, trouble to stderr, and which exit code says what."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, NoReturn

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


def console() -> Console:
    """Stdout with colours where it is a terminal that has them; lines are never wrapped."""
    from rich.console import Console

    plain = not sys.stdout.isatty() or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return Console(no_color=plain, color_system=None if plain else "auto", highlight=False, soft_wrap=True)


def print_diagnostics(diagnostics: Iterable[Diagnostic], read_text: ReadText) -> None:
    """All diagnostics as text blocks."""
    from xds_server.observe.diagnostics_view import diagnostic_text

    out = console()
    for diagnostic in diagnostics:
        out.print(diagnostic_text(diagnostic, read_text))
