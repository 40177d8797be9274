"""`cellway plan`, `apply`, `history` and `undo`: changes of a server's files. The server decides; these ask and print."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from xds_server.cli.diff import PATIENCE, Into, Xds, files_of, show
from xds_server.cli.options import DEFAULT_ADMIN, Admin
from xds_server.cli.output import FOUND, trouble

Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="What the folder of the server shall hold.", show_default=False)
]
Output = Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="How to print it.")]
Wait = Annotated[
    bool,
    typer.Option(
        "--wait/--no-wait",
        help="Until all Envoys have taken it; if one refuses, or not in time, all is as it was before.",
    ),
]
Timeout = Annotated[str, typer.Option(metavar="DURATION", help="How long to wait, such as 30s or 2m.")]


def plan(
    folder: Folder, into: Into = None, xds: Xds = False, admin: Admin = DEFAULT_ADMIN, output: Output = "text"
) -> None:
    """Show what `cellway apply` would change, and what speaks against it. Exit code 0: nothing, 1: something.

    Example: cellway plan next/policies
    """
    code, answer = _ask(admin, "apply", {**_body(folder, into), "xds": xds, "dryRun": True}, 0)
    _print(answer, output)
    if output == "text" and code == 409:
        print("it cannot be applied: it brings errors")
    if code == 409 or not answer["same"] or answer["files"]:
        raise typer.Exit(FOUND)


def apply(  # noqa: PLR0913, PLR0917 (options of a command)
    folder: Folder,
    into: Into = None,
    expect: Annotated[
        str | None,
        typer.Option(metavar="STATE", help="Only if this state is live, as `history` names it.", show_default=False),
    ] = None,
    wait: Wait = True,
    timeout: Timeout = "30s",
    admin: Admin = DEFAULT_ADMIN,
    output: Output = "text",
) -> None:
    """Make a folder what the server has, as one change. Exit code 1 if that cannot be, or was taken back.

    Example: cellway apply next/policies --timeout 1m
    """
    body = {**_body(folder, into), "wait": wait, "timeout": timeout} | ({"expect": expect} if expect else {})
    _carry_out(admin, "apply", body, output)


def undo(
    back: Annotated[
        str, typer.Argument(metavar="[N|STATE]", help="So many changes, or to this state, as `history` names it.")
    ] = "1",
    wait: Wait = True,
    timeout: Timeout = "30s",
    admin: Admin = DEFAULT_ADMIN,
    output: Output = "text",
) -> None:
    """Bring back the files that were live before. Exit code 1 if that cannot be, or was taken back.

    Example: cellway undo 2
    """
    steps = back.isdecimal() and len(back) < 4
    body: dict[str, Any] = {"steps": int(back)} if steps else {"state": back}
    _carry_out(admin, "undo", {**body, "wait": wait, "timeout": timeout}, output)


def history(admin: Admin = DEFAULT_ADMIN, output: Output = "text") -> None:
    """Show what was live when, the newest first.

    Example: cellway history -o json
    """
    import json

    from xds_server.cli.asking import ask

    code, answer = ask(admin, "/api/v1/history", 30)
    if code != 200:
        trouble(str(answer.get("message", f"the server at {admin} answers {code}")))
    if output == "json":
        print(json.dumps(answer, indent=2))
        return
    for one in answer["items"]:
        number = "-" if one["number"] is None else str(one["number"])
        files = f"{one['files']} file{'' if one['files'] == 1 else 's'}"
        said = f", taken back: {one['refused']}" if one["refused"] else ""
        print(
            f"{number:>3}  {one['state']}  {one['since']}  {one['by']:6}  {files}{', live' if one['live'] else ''}{said}"
        )
    if not answer["items"]:
        print("nothing is noted yet")


def _body(folder: Path, into: str | None) -> dict[str, Any]:
    if not folder.is_dir():
        trouble(f"there is no folder {folder}")
    return files_of(folder) | ({"into": into} if into else {})


def _carry_out(admin: str, what: str, body: Mapping[str, Any], output: str) -> None:
    from xds_server.types import parse_duration

    seconds = parse_duration(body["timeout"])
    if seconds is None:
        trouble(f"'{body['timeout']}' is not a duration such as 500ms, 10s or 1m")
    code, answer = _ask(admin, what, body, 3 * seconds)
    _print(answer, output)
    if output == "text":
        print(_outcome(answer))
    if code != 200:
        raise typer.Exit(FOUND)


def _outcome(answer: Mapping[str, Any]) -> str:
    if answer.get("done"):
        return f"state {answer['state']} is live" if answer["files"] else f"state {answer['state']} is live already"
    if answer.get("rolledBack"):
        after = f"; but: {answer['notInForce']}" if answer.get("notInForce") else ""
        return f"taken back, state {answer['state']} is live{after}: {answer['message']}"
    return f"nothing is changed: {answer.get('message') or 'it brings errors'}"


def _ask(admin: str, what: str, body: Mapping[str, Any], seconds: float) -> tuple[int, dict[str, Any]]:
    from xds_server.cli.asking import send

    code, answer = send(admin, f"/api/v1/{what}", body, PATIENCE + seconds)
    if code not in (200, 409):
        trouble(str(answer.get("message") or f"the server at {admin} answers {code}"))
    return code, answer


def _print(answer: Mapping[str, Any], output: str) -> None:
    import json

    if output == "json":
        print(json.dumps(answer, indent=2))
    elif "objects" in answer:
        show(answer)
