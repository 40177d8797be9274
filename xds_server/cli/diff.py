"""`cellway diff [A] [B]`: what differs between two folders, or between a folder and the running server."""

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
from xds_server.cli.output import FOUND, trouble

if TYPE_CHECKING:
    from xds_server.changes.comparison import Side
    from xds_server.compile import Options

Json = Mapping[str, Any]
PATIENCE = 120.0
Into = Annotated[
    str | None,
    typer.Option(
        "--into", metavar="DIR", help="Which folder of the server is meant, if it has several.", show_default=False
    ),
]
Xds = Annotated[bool, typer.Option("--xds", help="Also what Envoys would get: resources by gateway and name.")]


def diff(  # noqa: PLR0913, PLR0917 (options of a command)
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[A] [B]", help="Folders or files: the older, the newer. One: the running server is the older."
        ),
    ] = None,
    shadow: Annotated[
        bool,
        typer.Option("--shadow", help="What objects labelled cellway.dev/shadow would change, of the server or of A."),
    ] = False,
    xds: Xds = False,
    into: Into = None,
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
    """Show what differs, object by object and field by field, with both places. Exit code 0: nothing, 1: something.

    Example: cellway diff policies new-policies
    """
    import json

    from xds_server.cli.reading import options_of

    given = paths or []
    if len(given) > (1 if shadow else 2) or not (given or shadow):
        trouble("give two folders or files, or one to compare with the running server; --shadow takes one or none")
    if shadow or len(given) == 2:
        options = options_of(
            controller_name, address_pool, geoip, log_folder, allow_extensions, module_folder, socket_folder
        )
    if len(given) == 2:
        answer: Json = _between(given[0], given[1], options, xds=xds)
    elif shadow and given:
        answer = _shadows(given[0], options, xds=xds)
    else:
        answer = _from_server(given, admin, {"shadow": shadow, "xds": xds} | ({"into": into} if into else {}))
    if output == "json":
        print(json.dumps(answer, indent=2))
    else:
        show(answer)
    if not answer["same"]:
        raise typer.Exit(FOUND)


def show(answer: Json) -> None:
    """Changes, and what would be wrong, as text."""
    from xds_server.changes.view import lines

    for line in lines(answer):
        print(line)
    for one in answer.get("diagnostics", ()):
        place = f"{one['place']}: " if one["place"] else ""
        hint = f" ({one['hint']})" if one["hint"] else ""
        print(f"{place}{one['severity']} {one['code']} {one['message']}{hint}")
    if answer["same"]:
        print("no difference")


def _between(old: Path, new: Path, options: Options, *, xds: bool) -> Json:
    from xds_server.changes.comparison import compared

    return compared(_side(old, options), _side(new, options), _hasher(), xds=xds)


def _shadows(path: Path, options: Options, *, xds: bool) -> Json:
    from xds_server.changes.comparison import shadowed

    return shadowed(_side(path, options), _hasher(), xds=xds)


def _side(path: Path, options: Options) -> Side:
    from xds_server.changes.comparison import Side
    from xds_server.cli.reading import read

    reading = read([path], options)
    return Side(reading.documents, reading.compiled)


def _hasher() -> Any:
    import secrets

    from xds_server.changes.secrets import Hasher

    return Hasher(secrets.token_bytes(32))


def _from_server(given: list[Path], admin: str, more: dict[str, Any]) -> Json:
    from xds_server.cli.asking import send

    code, answer = send(admin, "/api/v1/diff", {**(files_of(given[0]) if given else {}), **more}, PATIENCE)
    if code != 200:
        trouble(str(answer.get("message", f"the server at {admin} answers {code}")))
    return dict(answer)


def files_of(path: Path) -> dict[str, Any]:
    """A folder, or one file, as the server wants it. Ends the command if it cannot be read."""
    from xds_server.load.find import find_files

    shown = path.as_posix()
    (found,) = find_files([shown]).values()
    if found.missing:
        trouble(f"there is no file or folder {shown}")
    if found.problems:
        trouble("; ".join(f"{name}: {reason}" for name, reason in found.problems[:5]))
    root = path if path.is_dir() else path.parent
    try:
        names = [(name, Path(name).relative_to(root).as_posix()) for name in found.names]
        files = {short: Path(name).read_bytes().decode() for name, short in names}
    except OSError as error:
        trouble(f"{error.filename}: {error.strerror}")
    except UnicodeDecodeError:
        trouble(f"a file in {shown} is not UTF-8 text; cellway validate {shown} tells which")
    return {"root": root.as_posix(), "files": files}
