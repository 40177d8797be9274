"""`cellway routes`: every route of every gateway."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from xds_server.cli.options import (
    DEFAULT_ADMIN,
    AddressPool,
    Admin,
    Color,
    Controllers,
    Geoip,
    LogFolders,
    ModuleFolders,
    OneGateway,
    SocketFolders,
)
from xds_server.cli.output import console, print_table, trouble

if TYPE_CHECKING:
    from rich.console import Console


def routes(  # noqa: PLR0913, PLR0917 (options of a command)
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[DIR]...", help="Policies to look at; without any the running server is asked."),
    ] = None,
    gateway: OneGateway = None,
    output: Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="How to print it.")] = "text",
    color: Color = "auto",
    admin: Admin = DEFAULT_ADMIN,
    address_pool: AddressPool = None,
    geoip: Geoip = None,
    log_folder: LogFolders = None,
    module_folder: ModuleFolders = None,
    socket_folder: SocketFolders = None,
    controller_name: Controllers = None,
) -> None:
    """List the routes of all gateways in the order in which they are tried: host, match, where to, file and line.

    Example: cellway routes policies/quickstart
    """
    import json
    from urllib.parse import urlencode

    from xds_server.cli.asking import items_of
    from xds_server.cli.reading import options_of, read

    if paths:
        from xds_server.observe.inspect_api import no_gateway
        from xds_server.observe.routes_view import routes_view

        compiled = read(
            paths,
            options_of(
                controller_name,
                address_pool,
                geoip,
                log_folder,
                module_folders=module_folder,
                socket_folders=socket_folder,
            ),
        ).compiled
        if gateway is not None and gateway not in {one.name for one in compiled.gateways}:
            trouble(no_gateway(compiled, gateway))
        items = routes_view(compiled, gateway)
    else:
        items = items_of(admin, f"/api/v1/routes?{urlencode({'gateway': gateway} if gateway else {})}")
    if output == "json":
        print(json.dumps({"items": items}, indent=2))
    else:
        _print(items, console(color))


def _print(items: list[dict[str, Any]], out: Console) -> None:
    if not items:
        out.print("there is no route")
        return
    head = ("GATEWAY", "LISTENER", "HOST", "MATCH", "TO", "WRITTEN AT")
    print_table(out, head, [_row(one) for one in items])


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    listener = one["listener"].removeprefix(f"{one['gateway']}/")
    more = f" +{len(one['hosts']) - 1}" if len(one["hosts"]) > 1 else ""
    place = f"{one['file']}:{one['line']}"
    return one["gateway"], listener, one["hosts"][0] + more, one["match"], one["to"], place
