"""`cellway export network-policy DIR...`: what a cluster shall enforce below the gateways."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from xds_server.cli.options import DEFAULT_ADMIN, Admin
from xds_server.cli.output import FOUND, trouble

if TYPE_CHECKING:
    from xds_server.network.flows import Surroundings

export = typer.Typer(help="Write what other systems enforce, from the same policies.", no_args_is_help=True)


@export.callback()
def _group() -> None:
    """Write what other systems enforce, from the same policies."""


@export.command("network-policy")
def network_policy(  # noqa: PLR0913, PLR0917 (options of a command)
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[DIR...]",
            help="Files and folders; '-' is stdin. Without: what is live on the server, with releases.",
            show_default=False,
        ),
    ] = None,
    stage: Annotated[str | None, typer.Option(help="Only this stage.", show_default=False)] = None,
    cilium: Annotated[
        bool, typer.Option("--cilium", help="Enforce hosts by name, and keep stages apart, with Cilium's own kinds.")
    ] = False,
    output: Annotated[Literal["yaml", "json"], typer.Option("--output", "-o", help="How to print it.")] = "yaml",
    system_namespace: Annotated[str, typer.Option(help="Where the control plane runs.")] = "cellway-system",
    xds_port: Annotated[int, typer.Option(help="Its xDS port.", min=1, max=65535)] = 18000,
    metrics_namespace: Annotated[str, typer.Option(help="Where Prometheus runs.")] = "monitoring",
    metrics_port: Annotated[int, typer.Option(help="Where gateways tell metrics.", min=1, max=65535)] = 19100,
    admin: Admin = DEFAULT_ADMIN,
) -> None:
    """Print the NetworkPolicies that keep pods from getting past their gateways. Exit code 1 if there are errors.

    Example: cellway export network-policy policies/shop --stage dev
    """
    from xds_server.network.flows import Surroundings
    from xds_server.observe.resources_view import to_json, to_yaml

    around = Surroundings(
        system_namespace=system_namespace,
        xds_port=xds_port,
        metrics_namespace=metrics_namespace,
        metrics_port=metrics_port,
    )
    documents, notes, errors = _of_files(paths, stage, around, cilium) if paths else _live(admin, stage, around, cilium)
    print(to_json(documents) if output == "json" else to_yaml(documents), end="")
    for line in (*(f"cellway: {note}" for note in notes), *errors):
        print(line, file=sys.stderr)
    if errors:
        raise typer.Exit(FOUND)


Found = tuple[list[dict[str, Any]], list[str], list[str]]
"""Documents, notes, and all diagnostics if there are errors among them."""


def _of_files(paths: list[Path], stage: str | None, around: Surroundings, cilium: bool) -> Found:
    from xds_server.cli.reading import options_of, read
    from xds_server.network.export import network_policies
    from xds_server.observe.diagnostics_view import has_errors

    reading = read(paths, options_of(None, None))
    stages = [one.stage for one in reading.compiled.stages]
    if stage is not None and stage not in stages:
        trouble(f"there is no stage {stage}; there are: {', '.join(stages) or 'none'}")
    found = network_policies(reading.compiled, stage, around, cilium=cilium)
    errors = [str(one) for one in reading.diagnostics] if has_errors(reading.diagnostics) else []
    return list(found.documents), list(found.notes), errors


def _live(admin: str, stage: str | None, around: Surroundings, cilium: bool) -> Found:
    from urllib.parse import urlencode

    from xds_server.cli.asking import ask

    asked = {
        "systemNamespace": around.system_namespace,
        "xdsPort": around.xds_port,
        "metricsNamespace": around.metrics_namespace,
        "metricsPort": around.metrics_port,
        **({"stage": stage} if stage else {}),
        **({"cilium": ""} if cilium else {}),
    }
    code, answer = ask(admin, f"/api/v1/network-policies?{urlencode(asked)}", 30)
    if code != 200:
        trouble(answer.get("message", f"the server at {admin} answers {code}"))
    return answer["items"], answer["notes"], []
