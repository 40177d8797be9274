"""`cellway wait`: returns when everything that is on disk now is in force."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import quote

import typer

from xds_server.cli.options import DEFAULT_ADMIN, Admin
from xds_server.cli.output import FOUND, TROUBLE, trouble


def wait(
    admin: Admin = DEFAULT_ADMIN,
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="How long to wait, such as 10s or 1m.")] = "10s",
    output: Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="How to print it.")] = "text",
) -> None:
    """Wait until all that is on disk now is loaded and acknowledged by every Envoy.

    Example: cellway wait --timeout 30s
    """
    import json

    from xds_server.cli.asking import ask
    from xds_server.types import parse_duration

    seconds = parse_duration(timeout)
    if seconds is None:
        trouble(f"'{timeout}' is not a duration such as 500ms, 10s or 1m")
    code, answer = ask(admin, f"/api/v1/wait?timeout={quote(timeout)}", seconds + 5)
    print(json.dumps(answer) if output == "json" else answer["message"])
    if code != 200:
        raise typer.Exit(FOUND if code == 504 else TROUBLE)
