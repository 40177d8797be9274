"""`cellway render DIR...`: what policies compile to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from xds_server.cli.options import AddressPool, Controllers, Extenders, Geoip, LogFolders, ModuleFolders, SocketFolders
from xds_server.cli.output import FOUND, trouble

if TYPE_CHECKING:
    from xds_server.cli.reading import Reading

Form = Literal["resources", "bootstrap", "objects", "status", "effective", "diagram"]


def render(  # noqa: PLR0913, PLR0917 (options of a command)
    paths: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Files and folders; '-' is stdin.")],
    form: Annotated[
        Form,
        typer.Option(
            "--as",
            help="Envoy resources; bootstraps that need no control plane; the objects that cells mean; statuses; the"
            " effective settings of cells and who set each; a Mermaid diagram of the cells of a stage.",
        ),
    ] = "resources",
    gateway: Annotated[
        str | None, typer.Option(metavar="NAMESPACE/NAME", help="Only this gateway.", show_default=False)
    ] = None,
    cell: Annotated[str | None, typer.Option(help="With --as effective: only this cell.", show_default=False)] = None,
    stage: Annotated[
        str | None, typer.Option(help="With --as effective or diagram: this stage.", show_default=False)
    ] = None,
    output: Annotated[
        Literal["text", "yaml", "json"] | None,
        typer.Option(
            "--output", "-o", help="How to print it. Default: yaml; effective settings as text.", show_default=False
        ),
    ] = None,
    show_secrets: Annotated[bool, typer.Option("--show-secrets", help="Print private keys and the like.")] = False,
    address_pool: AddressPool = None,
    geoip: Geoip = None,
    log_folder: LogFolders = None,
    module_folder: ModuleFolders = None,
    socket_folder: SocketFolders = None,
    allow_extensions: Extenders = None,
    controller_name: Controllers = None,
) -> None:
    """Print what policies compile to. Exit code 1 if there are errors; what is sound is printed all the same.

    Example: cellway render policies/quickstart --gateway default/edge
    """
    from xds_server.cli.reading import options_of, read
    from xds_server.observe.diagnostics_view import has_errors
    from xds_server.observe.resources_view import to_json, to_yaml

    options = options_of(
        controller_name, address_pool, geoip, log_folder, allow_extensions, module_folder, socket_folder
    )
    reading = read(paths, options)
    _check_options(form, cell, stage, output)
    if gateway is not None and gateway not in reading.compiled.snapshots:
        trouble(f"there is no gateway {gateway}; there are: {', '.join(sorted(reading.compiled.snapshots)) or 'none'}")
    if form == "diagram":
        _print_diagram(reading, stage)
    elif form == "effective":
        _print_effective(reading, cell, stage, output or "text")
    else:
        documents = _documents(form, reading, gateway, options.controllers[0], show_secrets=show_secrets)
        print(to_json(documents) if output == "json" else to_yaml(documents), end="")
    if has_errors(reading.diagnostics):
        for diagnostic in reading.diagnostics:
            print(diagnostic, file=sys.stderr)
        raise typer.Exit(FOUND)


def _check_options(form: Form, cell: str | None, stage: str | None, output: str | None) -> None:
    if form == "diagram" and output not in (None, "text"):
        trouble("--as diagram is printed as text")
    if output == "text" and form not in ("effective", "diagram"):
        trouble(f"--as {form} is printed as yaml or json")
    if cell and form != "effective":
        trouble("--cell chooses among effective settings: add --as effective")
    if stage and form not in ("effective", "diagram"):
        trouble("--stage is for --as effective and --as diagram")


def _print_diagram(reading: Reading, stage: str | None) -> None:
    from xds_server.observe.diagram import mermaid

    stages = {one.stage: one for one in reading.compiled.stages}
    if stage is not None and stage not in stages:
        trouble(f"there is no stage {stage}; there are: {', '.join(stages)}")
    print(mermaid(stages[stage] if stage else reading.compiled.stages[0]), end="")


def _print_effective(reading: Reading, cell: str | None, stage: str | None, output: str) -> None:
    from xds_server.observe.resources_view import to_json, to_yaml
    from xds_server.observe.settings_view import settings_text, settings_view

    known = {item.name for item in reading.compiled.objects if item.key.kind == "Cell"}
    if cell is not None and cell not in known:
        trouble(f"there is no cell {cell}; there are: {', '.join(sorted(known)) or 'none'}")
    stages = [one.stage for one in reading.compiled.stages]
    if stage is not None and stage not in stages:
        trouble(f"there is no stage {stage}; there are: {', '.join(stages)}")
    if all(not one.sections for one in reading.compiled.stages if stage in (None, one.stage)):
        where = f"stage {stage}" if stage else "any stage"
        print(f"cellway: no cell is in {where} as far as is known without a server", file=sys.stderr)
    settings = [one for one in reading.compiled.settings if cell in (None, one.cell) and stage in (None, one.stage)]
    if output == "text":
        print(settings_text(settings), end="")
    else:
        print(to_json(settings_view(settings)) if output == "json" else to_yaml(settings_view(settings)), end="")


def _documents(
    form: Form, reading: Reading, gateway: str | None, controller: str, *, show_secrets: bool
) -> list[dict[str, Any]]:
    from xds_server.observe.resources_view import has_secrets, snapshot_view, static_bootstrap
    from xds_server.observe.status_view import lowered_view, objects_view

    compiled = reading.compiled
    if form == "objects":
        return lowered_view(compiled)
    if form == "status":
        return [{key: view[key] for key in _STATUS if key in view} for view in objects_view(compiled, controller)]
    names = (
        [gateway] if gateway is not None else sorted(one.name for one in compiled.gateways)
    )  # groups only if asked for
    snapshots = [compiled.snapshots[name] for name in names]
    if form == "resources":
        return [snapshot_view(snapshot, show_secrets=show_secrets) for snapshot in snapshots]
    secret = [snapshot.gateway for snapshot in snapshots if not show_secrets and has_secrets(snapshot)]
    if secret:
        trouble(
            f"the bootstraps of these gateways hold secrets: {', '.join(secret)}; --show-secrets prints them,"
            " --gateway chooses another"
        )
    return [static_bootstrap(snapshot) for snapshot in snapshots]


_STATUS = ("apiVersion", "kind", "metadata", "status", "source")
