"""`cellway policies KIND/NAME`: which policies count for an object, or where a policy counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from xds_server.cli.options import (
    DEFAULT_ADMIN,
    AddressPool,
    Admin,
    Controllers,
    Geoip,
    LogFolders,
    ModuleFolders,
    SocketFolders,
)
from xds_server.cli.output import console, trouble

Json = Mapping[str, Any]


def policies(  # noqa: PLR0913, PLR0917 (options of a command)
    subject: Annotated[
        str,
        typer.Argument(
            metavar="KIND/NAME",
            help="A route, a Gateway, a Cell, a policy or a backend; KIND/NAMESPACE/NAME outside of namespace default.",
            show_default=False,
        ),
    ],
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[DIR]...", help="Policies to look at; without any the running server is asked."),
    ] = None,
    output: Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="How to print it.")] = "text",
    admin: Admin = DEFAULT_ADMIN,
    address_pool: AddressPool = None,
    geoip: Geoip = None,
    log_folder: LogFolders = None,
    module_folder: ModuleFolders = None,
    socket_folder: SocketFolders = None,
    controller_name: Controllers = None,
) -> None:
    """Show every field that policies set at an object, the policy that counts and those that are passed over.

    Of a policy: where it counts, and where another one does. Example: cellway policies HTTPRoute/shop policies/quickstart
    """
    import json
    from urllib.parse import urlencode

    from xds_server.cli.asking import answer_of
    from xds_server.cli.reading import options_of, read

    if paths:
        from xds_server.observe.policies_view import known_names, policies_view, read_asked

        try:
            asked = read_asked(subject)
        except ValueError as error:
            trouble(str(error))
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
        answer = policies_view(compiled, asked)
        if answer is None:
            known = ", ".join(known_names(compiled, asked.kind))
            trouble(f"there is no {subject}" + (f"; there are: {known}" if known else ""))
    else:
        answer = answer_of(admin, f"/api/v1/policies?{urlencode({'object': subject})}")
    if output == "json":
        print(json.dumps(answer, indent=2))
        return
    out = console()
    for line in _lines(answer):
        out.print(line, markup=False)


def _lines(answer: Json) -> Iterator[str]:
    yield f"{answer['object']} ({answer['source']})"
    for one in answer["status"]:
        said = f": {one['message']}" if one["message"] else ""
        at = f" at {one['at']}" if one["at"] else ""
        yield f"  {one['type']}={one['status']} {one['reason']}{at}{said}"
    if not answer["items"]:
        yield "  nothing that it is about is served"
    for one in answer["items"]:
        yield from _entry(one)


def _entry(one: Json) -> Iterator[str]:
    listener = one["listener"].removeprefix(f"{one['gateway']}/")
    yield f"gateway {one['gateway']}, listener {listener}" + (f", {', '.join(one['hosts'])}" if one["hosts"] else "")
    yield f"  {one['route'] or 'all connections'} ({one['file']}:{one['line']})"
    for policy in one["policies"]:
        if policy["broken"] and policy["counts"]:
            yield f"    answers 500, because of {_who(policy)}: {policy['broken']}"
    if not one["fields"]:
        yield "    no policy"
    for field in one["fields"]:
        passed = ", ".join(_who(lost) for lost in field["overridden"])
        if not field["setBy"]:
            yield f"    {field['field']}  nobody's: not that of {passed}, because a nearer {field['kind']} counts alone"
        else:
            yield f"    {field['field']}  {_all(field['setBy'])}" + (f", not {passed}" if passed else "")


def _all(who: Iterable[Json]) -> str:
    return " over ".join(_who(one) for one in who)


def _who(one: Json) -> str:
    return f"{one['object']} ({one['file']}:{one['line']})"
