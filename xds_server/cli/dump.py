"""`cellway dump`: what the server sends and what Envoys have, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from xds_server.cli.options import DEFAULT_ADMIN, Admin, Color, OneGateway
from xds_server.cli.output import FOUND, console, print_table

if TYPE_CHECKING:
    from rich.console import Console


def dump(
    gateway: OneGateway = None,
    output: Annotated[
        Literal["text", "json"], typer.Option("--output", "-o", help="As a list of names, or whole as data.")
    ] = "text",
    color: Color = "auto",
    admin: Admin = DEFAULT_ADMIN,
) -> None:
    """Show every resource that is sent, and the version of it that each Envoy has. Secrets are in neither.

    Exit code 1 if an Envoy has something else. Example: cellway dump --gateway default/edge
    """
    import json
    from urllib.parse import urlencode

    from xds_server.cli.asking import answer_of

    answer = answer_of(admin, f"/api/v1/dump?{urlencode({'gateway': gateway} if gateway else {})}")
    if output == "json":
        print(json.dumps(answer, indent=2))
    else:
        for item in answer["items"]:
            _print(item, console(color))
    if not answer["same"]:
        raise typer.Exit(FOUND)


def _print(item: dict[str, Any], out: Console) -> None:
    versions = {(one["type"], one["name"]): one["version"] for one in item["resources"]}
    out.print(f"gateway {item['gateway']}", markup=False)
    if not item["envoys"]:
        sent = [(kind, name, version) for (kind, name), version in versions.items()]
        print_table(out, ("TYPE", "NAME", "SENT"), sent)
        out.print("no Envoy of it is connected")
    for envoy in item["envoys"]:
        where = "" if envoy["local"] else ", which cannot be asked from here"
        out.print(f"Envoy {envoy['node']}{where}", markup=False)
        rows = [
            (one["type"], one["name"], versions.get((one["type"], one["name"]), "-"), one["has"] or "-", one["state"])
            for one in envoy["resources"]
        ]
        print_table(out, ("TYPE", "NAME", "SENT", "HAS", "STATE"), rows)
