"""`cellway export network-policy DIR...`: what a cluster shall enforce below the gateways."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from xds_server.cli.output import FOUND, trouble

export = typer.Typer(help="Write what other systems enforce, from the same policies.", no_args_is_help=True)


@export.callback()
def _group() -> None:
    """Write what other systems enforce, from the same policies."""


@export.command("network-policy")
def network_policy(  # noqa: PLR0913, PLR0917 (options of a command)
    paths: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Files and folders; '-' is stdin.")],
    stage: Annotated[str | None, typer.Option(help="Only this stage.", show_default=False)] = None,
    cilium: Annotated[
        bool, typer.Option("--cilium", help="Enforce hosts by name, and keep stages apart, with Cilium's own kinds.")
    ] = False,
    output: Annotated[Literal["yaml", "json"], typer.Option("--output", "-o", help="How to print it.")] = "yaml",
    system_namespace: Annotated[str, typer.Option(help="Where the control plane runs.")] = "cellway-system",
    xds_port: Annotated[int, typer.Option(help="Its xDS port.", min=1, max=65535)] = 18000,
    metrics_namespace: Annotated[str, typer.Option(help="Where Prometheus runs.")] = "monitoring",
    metrics_port: Annotated[int, typer.Option(help="Where gateways tell metrics.", min=1, max=65535)] = 19001,
) -> None:
    """Print the NetworkPolicies that keep pods from getting past their gateways. Exit code 1 if there are errors."""
    from xds_server.cli.reading import options_of, read
    from xds_server.network.export import network_policies
    from xds_server.network.flows import Surroundings
    from xds_server.observe.diagnostics_view import has_errors
    from xds_server.observe.resources_view import to_json, to_yaml

    reading = read(paths, options_of(None, None))
    stages = [one.stage for one in reading.compiled.stages]
    if stage is not None and stage not in stages:
        trouble(f"there is no stage {stage}; there are: {', '.join(stages) or 'none'}")
    around = Surroundings(
        system_namespace=system_namespace,
        xds_port=xds_port,
        metrics_namespace=metrics_namespace,
        metrics_port=metrics_port,
    )
    found = network_policies(reading.compiled, stage, around, cilium=cilium)
    print(to_json(list(found.documents)) if output == "json" else to_yaml(list(found.documents)), end="")
    for note in found.notes:
        print(f"cellway: FQDNNotEnforceable: {note}", file=sys.stderr)
    if has_errors(reading.diagnostics):
        for diagnostic in reading.diagnostics:
            print(diagnostic, file=sys.stderr)
        raise typer.Exit(FOUND)
