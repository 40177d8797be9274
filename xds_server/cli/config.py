"""`cellway config show`: every option of the server with its value, and who says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from xds_server.cli.options import Color
from xds_server.cli.output import console, print_table

if TYPE_CHECKING:
    from collections.abc import Iterator

config = typer.Typer(help="Look at the options of the server.", no_args_is_help=True)


@config.callback()
def _group() -> None:
    """Look at the options of the server."""


@config.command("show", context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def show(
    context: typer.Context,
    command: Annotated[Literal["run", "serve"], typer.Option("--for", help="Of which command.")] = "run",
    output: Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="How to print it.")] = "text",
    color: Color = "auto",
) -> None:
    """Show what `run` (or `serve`) would go by: each option, its value, and whether a flag, the environment or nobody says it.

    Flags of that command may be given, too. A flag is stronger than the environment, that than the default.
    Example: cellway config show -o json
    """
    import json

    root = context.find_root().command
    items = list(_values(root.commands[command], list(context.args)))  # type: ignore[attr-defined]
    if output == "json":
        print(json.dumps({"items": items}, indent=2))
        return
    rows = [(one["option"], _text(one["value"]), one["from"]) for one in items]
    print_table(console(color), ("OPTION", "VALUE", "FROM"), rows)


def _values(command: Any, words: list[str]) -> Iterator[dict[str, Any]]:
    """The options of a command given these words. Folders need not be among them; what is wrong is told as by itself."""
    for one in command.params:
        one.required = False
    parsed = command.make_context(command.name, words)
    for one in command.params:
        if one.param_type_name == "option" and one.name != "help":
            value = parsed.params.get(one.name)
            yield {"option": max(one.opts, key=len), "value": _plain(value), "from": _origin(one, parsed)}


def _origin(option: Any, parsed: Any) -> str:
    source = parsed.get_parameter_source(option.name).name
    return {"ENVIRONMENT": f"environment, {option.envvar}", "COMMANDLINE": "flag"}.get(source, "default")


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _text(value: Any) -> str:
    if value is None or value == []:
        return "-"
    return (
        ", ".join(map(str, value))
        if isinstance(value, list)
        else str(value).lower()
        if value in (True, False)
        else str(value)
    )
