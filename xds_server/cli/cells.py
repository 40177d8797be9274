"""`cellway cells`: every cell in every stage. `cellway connections`: what its components call others by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import typer

from xds_server.cli.options import DEFAULT_ADMIN, Admin
from xds_server.cli.output import FOUND, console, trouble

Output = Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="How to print it.")]
_STATES = {"WorkingCopy": " (working copy)", "NotThere": "not there", "Live": ""}


def cells(admin: Admin = DEFAULT_ADMIN, output: Output = "text") -> None:
    """Show every cell in every stage: release, gateways, what tells its callers apart. Exit code 1 if anything is wrong.

    Example: cellway cells -o json
    """
    import json

    items = _items(admin, "/api/v1/cells")
    if output == "json":
        print(json.dumps(items, indent=2))
    else:
        _print_cells(items)
    if any(item["problems"] for item in items):
        raise typer.Exit(FOUND)


def _print_cells(items: Iterable[Mapping[str, Any]]) -> None:
    items = list(items)
    rows = [("CELL", "STAGE", "RELEASE", "GATEWAYS", "ENFORCEMENT", "PROBLEMS"), *map(_row, items)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    out = console()
    for row in rows:
        line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        out.print(line.rstrip(), markup=False)
    for item in items:
        for problem in item["problems"]:
            out.print(f"{item['cell']} in {item['stage']}: {problem['message']}", markup=False)


def _row(item: Mapping[str, Any]) -> tuple[str, ...]:
    directions = [one["direction"] for one in item["gateways"] if "component" not in one]
    sidecars = [one["component"] for one in item["gateways"] if "component" in one]
    gateways = ", ".join([*directions, *([f"sidecars of {', '.join(sidecars)}"] if sidecars else [])]) or "-"
    release = f"{item['release']}{_STATES[item['state']]}"
    return item["cell"], item["stage"], release, gateways, item["enforcement"], str(len(item["problems"]) or "-")


def connections(
    cell: Annotated[str, typer.Option(help="The cell that calls.")],
    component: Annotated[str | None, typer.Option(help="Only what this component calls.", show_default=False)] = None,
    stage: Annotated[str | None, typer.Option(help="The stage. Default: the first that the cell is in.")] = None,
    admin: Admin = DEFAULT_ADMIN,
    output: Output = "text",
) -> None:
    """Print a line `NAME_URL=http://...` for every dependency, for the environment of a cell's components.

    Example: cellway connections --cell orders --stage dev
    """
    import json

    found = _items(admin, f"/api/v1/cells/{cell}/dependencies")
    stages = list(dict.fromkeys(one["stage"] for one in found))
    chosen = stage or (stages[0] if stages else "")
    if stage is not None and stage not in stages and stages:
        trouble(f"cell {cell} calls nobody in stage '{stage}'; it does in {', '.join(stages)}")
    mine = [
        one
        for one in found
        if one["stage"] == chosen and (component is None or not one["from"] or component in one["from"])
    ]
    if output == "json":
        print(json.dumps(mine, indent=2))
        return
    for one in mine:
        if one["url"]:
            print(f"{one['variable']}={one['url']}")
        else:
            reason = one["message"] or "it has no URL: components speak to it in their own protocol"
            print(f"# {one['name']}: {reason}")


def _items(admin: str, path: str) -> list[dict[str, Any]]:
    from xds_server.cli.asking import items_of

    return items_of(admin, path)
