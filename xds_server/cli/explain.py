"""`cellway explain METHOD URL`: which route a request takes, and why not the others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from xds_server.cli.options import (
    DEFAULT_ADMIN,
    AddressPool,
    Admin,
    Controllers,
    Extenders,
    Geoip,
    LogFolders,
    ModuleFolders,
    SocketFolders,
)
from xds_server.cli.output import FOUND, console, trouble

if TYPE_CHECKING:
    from xds_server.compile import Options
    from xds_server.observe.explain_view import Question

Json = Mapping[str, Any]


def explain(  # noqa: PLR0913, PLR0917 (options of a command)
    method: Annotated[str, typer.Argument(help="Such as GET.", show_default=False)],
    url: Annotated[str, typer.Argument(help="Such as https://shop.example/orders.", show_default=False)],
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[DIR]...", help="Policies to ask; without any the running server is asked."),
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", metavar="NAME:VALUE", help="A header of the request.")
    ] = None,
    gateway: Annotated[
        str | None, typer.Option(metavar="NAMESPACE/NAME", help="Only this gateway.", show_default=False)
    ] = None,
    sender: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="IP|SPIFFE|CELL[/COMPONENT]",
            help="Who asks: an address, a certificate, or a cell, which asks at its own gateway.",
            show_default=False,
        ),
    ] = "",
    stage: Annotated[str | None, typer.Option(help="Only gateways of this stage.", show_default=False)] = None,
    output: Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="How to print it.")] = "text",
    admin: Admin = DEFAULT_ADMIN,
    address_pool: AddressPool = None,
    geoip: Geoip = None,
    log_folder: LogFolders = None,
    module_folder: ModuleFolders = None,
    socket_folder: SocketFolders = None,
    allow_extensions: Extenders = None,
    controller_name: Controllers = None,
) -> None:
    """Show the way of a request: listener, host, the routes that lost and why, the one that wins, and where it leads.

    Exit code 1 if nothing would take the request, or a filter surely refuses it.

    Example: cellway explain GET http://shop.example/ policies/quickstart
    """
    import json

    from xds_server.cli.reading import options_of
    from xds_server.explain.request import NotARequestError, read_request
    from xds_server.observe.explain_view import Question, is_served

    pairs = [_pair(one) for one in header or ()]
    try:
        request = read_request(method.upper(), url, pairs)
    except NotARequestError as error:
        trouble(str(error))
    if paths:
        question = Question(request, gateway, sender, stage)
        answers: list[Json] = _from_files(
            paths,
            question,
            options_of(
                controller_name, address_pool, geoip, log_folder, allow_extensions, module_folder, socket_folder
            ),
        )
    else:
        query = [("method", method.upper()), ("url", url), *(("header", f"{name}:{value}") for name, value in pairs)]
        narrower = {"gateway": gateway, "from": sender, "stage": stage}
        answers = _from_server(admin, [*query, *((name, value) for name, value in narrower.items() if value)])
    if output == "json":
        print(json.dumps({"items": answers}, indent=2))
    else:
        _print(answers)
    if not is_served(dict(one) for one in answers):
        raise typer.Exit(FOUND)


def _pair(written: str) -> tuple[str, str]:
    name, colon, value = written.partition(":")
    if not colon or not name.strip():
        trouble(f"'{written}' is no header such as 'x-user: ann'")
    return name.strip(), value.strip()


def _from_files(paths: list[Path], question: Question, options: Options) -> list[Json]:
    from xds_server.cli.reading import read
    from xds_server.explain.request import NotARequestError
    from xds_server.observe.explain_view import explain_view

    compiled = read(paths, options).compiled
    if question.gateway is not None and question.gateway not in compiled.snapshots:
        known = ", ".join(sorted(compiled.snapshots)) or "none"
        trouble(f"there is no gateway {question.gateway}; there are: {known}")
    try:
        return list(explain_view(compiled, question))
    except NotARequestError as error:
        trouble(str(error))


def _from_server(admin: str, query: list[tuple[str, str]]) -> list[Json]:
    from urllib.parse import urlencode

    from xds_server.cli.asking import ask

    code, answer = ask(admin, f"/api/v1/explain?{urlencode(query)}", 30)
    if code != 200:
        trouble(str(answer.get("message", f"the server at {admin} answers {code}")))
    items: list[Json] = answer["items"]
    return items


def _print(answers: list[Json]) -> None:
    from xds_server.observe.explain_text import lines

    out = console()
    if not answers:
        out.print("no gateway has a listener for this request")
    for one in answers:
        for line in lines(one):
            out.print(line, markup=False)
