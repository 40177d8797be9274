"""`cellway explain METHOD URL`: which route a request takes, and why not the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from xds_server.cli.options import DEFAULT_ADMIN, AddressPool, Admin, Controllers, Geoip, LogFolders
from xds_server.cli.output import FOUND, console, trouble

if TYPE_CHECKING:
    from xds_server.compile import Options
    from xds_server.explain.request import Request

Json = Mapping[str, Any]
_MOST_TRIED = 20


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
    output: Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="How to print it.")] = "text",
    admin: Admin = DEFAULT_ADMIN,
    address_pool: AddressPool = None,
    geoip: Geoip = None,
    log_folder: LogFolders = None,
    controller_name: Controllers = None,
) -> None:
    """Show the way of a request: listener, host, the routes that lost and why, the one that wins, and where it leads.

    Exit code 1 if nothing would take the request.
    """
    import json

    from xds_server.cli.reading import options_of
    from xds_server.explain.request import NotARequestError, read_request
    from xds_server.observe.explain_view import is_served

    pairs = [_pair(one) for one in header or ()]
    try:
        request = read_request(method.upper(), url, pairs)
    except NotARequestError as error:
        trouble(str(error))
    if paths:
        answers: list[Json] = _from_files(
            paths, request, gateway, options_of(controller_name, address_pool, geoip, log_folder)
        )
    else:
        answers = _from_server(admin, method.upper(), url, pairs, gateway)
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


def _from_files(paths: list[Path], request: Request, gateway: str | None, options: Options) -> list[Json]:
    from xds_server.cli.reading import read
    from xds_server.observe.explain_view import explain_view

    compiled = read(paths, options).compiled
    if gateway is not None and gateway not in compiled.snapshots:
        trouble(f"there is no gateway {gateway}; there are: {', '.join(sorted(compiled.snapshots)) or 'none'}")
    return list(explain_view(compiled, request, gateway))


def _from_server(
    admin: str, method: str, url: str, headers: Iterable[tuple[str, str]], gateway: str | None
) -> list[Json]:
    from urllib.parse import urlencode

    from xds_server.cli.asking import ask

    query = [("method", method), ("url", url), *(("header", f"{name}:{value}") for name, value in headers)]
    query += [("gateway", gateway)] if gateway else []
    code, answer = ask(admin, f"/api/v1/explain?{urlencode(query)}", 30)
    if code != 200:
        trouble(str(answer.get("message", f"the server at {admin} answers {code}")))
    items: list[Json] = answer["items"]
    return items


def _print(answers: list[Json]) -> None:
    out = console()
    if not answers:
        out.print("no gateway has a listener for this request")
    for one in answers:
        for line in _lines(one):
            out.print(line, markup=False)


def _lines(one: Json) -> Iterable[str]:
    yield f"gateway {one['gateway']}, listener {one['listener']}"
    if one["filterChain"]:
        yield f"  filter chain  {one['filterChain']}"
    if one["virtualHost"]:
        yield f"  virtual host  {one['virtualHost']}"
        yield f"  path          {one['path']}"
    for tried in one["tried"][:_MOST_TRIED]:
        yield f"  not           {tried['route']}{_where(tried)}: {tried['reason']}"
    if len(one["tried"]) > _MOST_TRIED:
        yield f"  not           {len(one['tried']) - _MOST_TRIED} more routes"
    for route in one["routes"]:
        yield from _route(route)
    for cluster in one["clusters"]:
        yield f"  connections go to {_to(cluster)}"
    if one["refusal"]:
        status = f"status {one['status']}" if one["status"] else "no answer"
        yield f"  {status}: {one['refusal']}"


def _route(route: Json) -> Iterable[str]:
    share = "" if route["percent"] == 100 else f" for {route['percent']:g} % of such requests"
    yield f"  route         {route['route']}{_where(route)}{share}"
    for setting in route["settings"]:
        yield f"    {setting['feature']}{_where(setting)}"
    if responds := route.get("responds"):
        yield f"    answers with status {responds['status']}"
    if redirects := route.get("redirects"):
        yield f"    redirects with status {redirects['status']} to {redirects['location']}"
    if forwards := route.get("forwards"):
        yield f"    sends {forwards['path']} with Host {forwards['host'] or 'of the endpoint'}"
        if forwards["timeout"] is not None:
            yield f"    within {forwards['timeout']:g} s" if forwards["timeout"] else "    without a time limit"
        if forwards["retries"]:
            yield f"    again up to {forwards['retries']} times on {forwards['retryOn']}"
        total = sum(cluster["weight"] for cluster in forwards["clusters"])
        for cluster in forwards["clusters"]:
            part = f"{100 * cluster['weight'] / total:.3g} % " if len(forwards["clusters"]) > 1 else ""
            yield f"    to {part}{_to(cluster)}"
        for mirror in forwards["mirrors"]:
            yield f"    and a copy to {mirror}"


def _to(cluster: Json) -> str:
    return f"{cluster['name']}: {', '.join(cluster['endpoints']) or 'no endpoint'}"


def _where(made: Json) -> str:
    places = [f"{one['file']}:{one['line']}" for one in made["madeBy"]]
    return f" ({', '.join(dict.fromkeys(places))})" if places else ""
