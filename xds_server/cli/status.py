"""`cellway status`: which Envoy has what, what it waits for, and what it refused."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from xds_server.cli.options import DEFAULT_ADMIN, Admin, Color
from xds_server.cli.output import FOUND, console

if TYPE_CHECKING:
    from rich.console import Console


def status(
    admin: Admin = DEFAULT_ADMIN,
    output: Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="How to print it.")] = "text",
    color: Color = "auto",
) -> None:
    """Show for every Envoy and resource type: synced, waiting or rejected. Exit code 1 if anything is not in sync.

    Example: cellway status -o json
    """
    import json

    from xds_server.cli.asking import ask
    from xds_server.cli.output import trouble

    code, answer = ask(admin, "/api/v1/proxies", 10)
    if code != 200:
        trouble(f"the server at {admin} answers {code}")
    if output == "json":
        print(json.dumps(answer, indent=2))
    else:
        _print(answer, console(color))
    if not answer["synced"]:
        raise typer.Exit(FOUND)


def _print(answer: Mapping[str, Any], out: Console) -> None:
    from rich.table import Table

    for line in (*answer["missing"], *answer["changing"]):
        out.print(line, markup=False)
    if not answer["items"]:
        out.print("no Envoy is connected")
        return
    table = Table("ENVOY", "GATEWAY", "TYPE", "STATE", "VERSION", box=None, pad_edge=False)
    for proxy in answer["items"]:
        for name, state in proxy["types"].items():
            since = f" since {_ago(state['since'])}" if state["state"] != "synced" else ""
            table.add_row(proxy["node"], proxy["gateway"], name, state["state"] + since, state["acknowledged"] or "-")
    out.print(table)
    for proxy in answer["items"]:
        for name, state in proxy["types"].items():
            if state["state"] == "rejected" and state["nack"]:
                out.print(f"{proxy['node']} refused {name}: {state['nack']['message']}", markup=False)
                for origin in state["nack"]["objects"]:
                    out.print(f"    made by {origin}", markup=False)


def _ago(moment: str | None) -> str:
    if moment is None:
        return "?"
    passed = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(moment)
    return f"{max(0.0, passed.total_seconds()):.1f} s"
