"""`cellway promote` and `cellway rollback`: other releases for a stage. The server decides; this asks and prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typer

from xds_server.cli.options import DEFAULT_ADMIN, Admin
from xds_server.cli.output import FOUND, console, trouble

Output = Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="How to print it.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would happen and what speaks against it; do nothing.")
]
_PATIENCE = 60.0


def promote(
    cells: Annotated[list[str], typer.Argument(metavar="CELL...", help="Cells that go together.", show_default=False)],
    to: Annotated[str, typer.Option("--to", metavar="STAGE", help="The stage that gets what the one before it has.")],
    dry_run: DryRun = False,
    admin: Admin = DEFAULT_ADMIN,
    output: Output = "text",
) -> None:
    """Give a stage the release that the stage before it has. Exit code 1 if something blocks it.

    Example: cellway promote orders --to prod --dry-run
    """
    _move("promote", {"cells": cells, "stage": to, "dryRun": dry_run}, admin, output)


def rollback(
    cell: Annotated[str, typer.Argument(metavar="CELL", help="The cell.", show_default=False)],
    stage: Annotated[str, typer.Option("--stage", metavar="STAGE", help="The stage in which it goes back.")],
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="RELEASE", help="Default: what it had before.", show_default=False),
    ] = None,
    dry_run: DryRun = False,
    admin: Admin = DEFAULT_ADMIN,
    output: Output = "text",
) -> None:
    """Give a stage the release that it had before, or a certain one. Exit code 1 if that cannot be.

    Example: cellway rollback orders --stage prod
    """
    body = {"cells": [cell], "stage": stage, "dryRun": dry_run} | ({"release": to} if to else {})
    _move("rollback", body, admin, output)


def _move(kind: str, body: Mapping[str, Any], admin: str, output: str) -> None:
    import json

    from xds_server.cli.asking import send

    code, answer = send(admin, f"/api/v1/{kind}", body, _PATIENCE)
    if code not in (200, 409) or "moves" not in answer:
        trouble(str(answer.get("message") or f"the server at {admin} answers {code}"))
    if output == "json":
        print(json.dumps(answer, indent=2))
    else:
        _print(answer)
    if code == 409:
        raise typer.Exit(FOUND)


def _print(answer: Mapping[str, Any]) -> None:
    out = console()
    blocked = any(move["blockers"] for move in answer["moves"])
    for move in answer["moves"]:
        said = "is live" if answer["done"] else "would be live"
        if move["blockers"]:
            said = "cannot be live"
        elif blocked:
            said = "waits"
        before = f", instead of {move['replaces']}" if move["replaces"] not in ("", move["release"]) else ""
        out.print(f"{move['release'] or move['cell']} {said} in {move['stage']}{before}", markup=False)
        for name in ("blockers", "warnings"):
            for one in move[name]:
                place = f"{one['place']}: " if one["place"] else ""
                hint = f" ({one['hint']})" if one["hint"] else ""
                out.print(f"    {name[:-1]}: {place}{one['message']}{hint}", markup=False)
