"""`cellway validate PATH...`: what is wrong with policies, and where."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from xds_server.cli.options import (
    AddressPool,
    Color,
    Controllers,
    EnvoyPath,
    Extenders,
    Geoip,
    LogFolders,
    ModuleFolders,
    SocketFolders,
)
from xds_server.cli.output import FOUND, console, print_diagnostics, trouble

if TYPE_CHECKING:
    from xds_server.cli.reading import Reading
    from xds_server.diagnostics import Diagnostic


def validate(  # noqa: PLR0913, PLR0917 (options of a command)
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PATH]...", help="Files and folders; '-' is stdin.", show_default="."),
    ] = None,
    output: Annotated[
        Literal["text", "json", "github", "sarif"],
        typer.Option("--output", "-o", help="For people, programs, GitHub's workflows or code scanners."),
    ] = "text",
    ignore: Annotated[
        list[str] | None,
        typer.Option(
            "--ignore",
            metavar="CODE",
            help="Leave out this warning or info; may be given more than once.",
            show_default=False,
        ),
    ] = None,
    with_envoy: Annotated[
        bool, typer.Option("--with-envoy", help="Ask a real Envoy, too, whether it takes what each gateway gets.")
    ] = False,
    envoy: EnvoyPath = None,
    color: Color = "auto",
    address_pool: AddressPool = None,
    geoip: Geoip = None,
    log_folder: LogFolders = None,
    module_folder: ModuleFolders = None,
    socket_folder: SocketFolders = None,
    allow_extensions: Extenders = None,
    controller_name: Controllers = None,
) -> None:
    """Check policies, without network and without side effects. Exit code 1 if there are errors.

    With --with-envoy every gateway's configuration is also shown to a real Envoy, which serves nothing.

    Example: cellway validate policies --ignore A111 -o github
    """
    from xds_server.cli.reading import options_of, read
    from xds_server.load.suppress import why_not_ignored
    from xds_server.observe.diagnostics_view import has_errors

    ignored = [code.strip() for written in ignore or () for code in written.split(",")]
    if reason := why_not_ignored(ignored):
        trouble(f"--ignore: {reason}")
    reading = read(
        paths or [Path()],
        options_of(controller_name, address_pool, geoip, log_folder, allow_extensions, module_folder, socket_folder),
    )
    if with_envoy:
        reading = replace(reading, diagnostics=(*reading.diagnostics, *_tried(reading, envoy)))
    reading = replace(reading, diagnostics=tuple(one for one in reading.diagnostics if one.code not in ignored))
    if output == "json":
        _print_json(reading)
    elif output == "sarif":
        _print_sarif(reading)
    elif output == "github":
        _print_github(reading)
    else:
        _print_text(reading, color)
    if has_errors(reading.diagnostics):
        raise typer.Exit(FOUND)


def _tried(reading: Reading, option: Path | None) -> list[Diagnostic]:
    """What a real Envoy refuses."""
    import os

    from xds_server.observe.trial_view import trial_view
    from xds_server.supervise.binary import NoEnvoyError, find_envoy
    from xds_server.supervise.trial import try_bootstrap

    try:
        binary = find_envoy(option, os.environ, Path.cwd())
        return list(trial_view(reading.compiled, lambda bootstrap: try_bootstrap(binary, bootstrap)))
    except (NoEnvoyError, OSError) as error:
        trouble(str(error))


def _print_text(reading: Reading, color: Literal["auto", "always", "never"]) -> None:
    from xds_server.observe.diagnostics_view import summary

    print_diagnostics(reading.diagnostics, reading.text_of, console(color))
    print(f"{_count(reading.files, 'file')}, {_count(reading.objects, 'object')}: {summary(reading.diagnostics)}")


def _print_json(reading: Reading) -> None:
    import json

    from xds_server.observe.diagnostics_view import diagnostic_json

    answer = {
        "files": reading.files,
        "objects": reading.objects,
        "diagnostics": [diagnostic_json(one) for one in reading.diagnostics],
    }
    print(json.dumps(answer, indent=2))


def _print_sarif(reading: Reading) -> None:
    import json

    from xds_server.observe.diagnostics_formats import sarif

    print(json.dumps(sarif(reading.diagnostics), indent=2))


def _print_github(reading: Reading) -> None:
    from xds_server.observe.diagnostics_formats import github_lines

    for line in github_lines(reading.diagnostics):
        print(line)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
