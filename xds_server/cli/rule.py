"""`cellway rule [CODE]`: what the code of a diagnostic means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from xds_server.cli.options import Color
from xds_server.cli.output import console, trouble

if TYPE_CHECKING:
    from rich.console import Console

    from xds_server.observe.rules_view import Rule


def rule(
    code: Annotated[str | None, typer.Argument(metavar="[CODE]", help="Such as M110.", show_default=False)] = None,
    output: Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="How to print it.")] = "text",
    color: Color = "auto",
) -> None:
    """Explain a code that `validate` prints: what it means, an example of it, what to write instead. Without: all codes.

    Example: cellway rule M110
    """
    import json

    from xds_server.observe.rules_view import close_codes, rules

    known = rules()
    if code is not None and code.upper() not in known:
        close = close_codes(code)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        trouble(f"there is no code {code}{hint}")
    chosen = list(known.values()) if code is None else [known[code.upper()]]
    if output == "json":
        print(json.dumps([one.json() for one in chosen] if code is None else chosen[0].json(), indent=2))
    elif code is None:
        for one in sorted(chosen, key=lambda each: each.code):
            console(color).print(f"{one.code}  {one.severity:<7}  {one.template}", markup=False)
    else:
        _print(chosen[0], console(color))


def _print(one: Rule, out: Console) -> None:
    from rich.text import Text

    out.print(Text.assemble((f"{one.severity} {one.code}", "bold"), f" {one.template}"))
    out.print(f"\n{_plain(one.text)}", markup=False)
    if one.example:
        out.print("\nFor example:\n")
        for line in one.example.splitlines():
            out.print(f"    {line}", markup=False)


def _plain(text: str) -> str:
    """Markdown without its links."""
    import re

    return re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", text)
