"""`cellway bootstrap GATEWAY`: the bootstrap for an Envoy on another machine."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xds_server.cli.options import DEFAULT_XDS, EnvoyAdmin, Extenders, LogFolders, ModuleFolders, Xds
from xds_server.cli.output import trouble

if TYPE_CHECKING:
    from xds_server.compile import Options
    from xds_server.supervise.bootstrap import Bootstrap


def is_gateway(name: str) -> bool:
    """Whether a gateway, all gateways of a cell, or a sidecar can have this name."""
    parts = name.split("/")
    return all(parts) and (2 <= len(parts) <= 4 or (len(parts) == 5 and parts[3] == "component"))


def bootstrap(  # noqa: PLR0913, PLR0917 (options of a command)
    gateway: Annotated[
        str,
        typer.Argument(
            metavar="GATEWAY",
            help="NAMESPACE/GATEWAY, or of a cell ORGANIZATION/STAGE/CELL/DIRECTION, or all of one: ORGANIZATION/STAGE/CELL, "
            "or a sidecar: ORGANIZATION/STAGE/CELL/component/COMPONENT.",
        ),
    ],
    policies: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[DIR...]", help="Policy folders: what an EnvoyProxy says of the Envoy.", show_default=False
        ),
    ] = None,
    log_folder: LogFolders = None,
    module_folder: ModuleFolders = None,
    allow_extensions: Extenders = None,
    xds: Xds = DEFAULT_XDS,
    node_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Unique for every Envoy. Default: HOSTNAME/GATEWAY.")
    ] = None,
    admin: EnvoyAdmin = None,
    cert: Annotated[Path | None, typer.Option(metavar="FILE", help="The Envoy's certificate, on its machine.")] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its key.")] = None,
    ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The authority of the xDS port's certificate.")
    ] = None,
    zone: Annotated[
        str, typer.Option(metavar="ZONE", help="Where the Envoy is, for policies that prefer its own zone.")
    ] = "",
    report_load: Annotated[
        bool,
        typer.Option("--report-load", help="Have it report how many requests it sent to each dependency of a cell."),
    ] = False,
    state_dir: Annotated[
        Path | None,
        typer.Option(
            "--state-dir",
            envvar="CELLWAY_STATE_DIR",
            metavar="DIR",
            help="The server's state folder, for an Envoy that shows a token in place of a certificate. "
            "Default: that of a server which runs the policy folders.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Print the bootstrap for an Envoy elsewhere: start it with `envoy -c FILE`.

    With policy folders the words of its command line stand above it.

    Example: cellway bootstrap default/edge --xds control.example:18000
    """
    import socket

    from xds_server.cli.reading import options_of
    from xds_server.supervise.bootstrap import Bootstrap, ClientTls, parse_address, parse_place

    if not is_gateway(gateway):
        trouble(
            f"'{gateway}' is no NAMESPACE/GATEWAY, no ORGANIZATION/STAGE/CELL/DIRECTION, no ORGANIZATION/STAGE/CELL "
            "and no ORGANIZATION/STAGE/CELL/component/COMPONENT"
        )
    try:
        addresses = parse_address(xds), parse_place(admin) if admin is not None else _own_socket(gateway)
    except ValueError as error:
        trouble(str(error))
    tls = ClientTls(cert, key, ca) if cert is not None and key is not None and ca is not None else None
    if tls is None and (cert or key or ca):
        trouble("TLS to the xDS port needs all of --cert, --key and --ca")
    who = node_id or f"{socket.gethostname()}/{gateway}"
    token = _token(gateway, state_dir, policies) if tls is None else ""
    plain = Bootstrap(gateway, who, *addresses, tls, zone, report_load, token=token)
    options = options_of(None, None, log_folders=log_folder, extenders=allow_extensions, module_folders=module_folder)
    print(_as_policies_say(plain, policies, options) if policies else plain.text(), end="")


def _own_socket(gateway: str) -> Path:
    """Where the admin interface is if nobody says: no port, since Backends may lead to any. Longer names Envoy cannot bind."""
    return Path(f"envoy-{gateway.replace('/', '-')[:80]}.sock")


def _token(gateway: str, state: Path | None, policies: list[Path] | None) -> str:
    """What the Envoy shows to a server that speaks plain text; empty, and told so, where it cannot be known."""
    import os

    from xds_server.serve.tokens import Tokens
    from xds_server.supervise.records import default_state_folder, read_xds_key

    folder = state or (default_state_folder(tuple(policies), os.environ, Path.home()) if policies else None)
    try:
        key = read_xds_key(folder) if folder is not None else None
    except OSError as error:
        trouble(f"the tokens of Envoys are made with {error.filename}, which cannot be read: {error.strerror}")
    if key is not None:
        return Tokens(key).word(gateway)
    if state is not None:
        trouble(f"{state} is no state folder of a server that was started: it has no key that tokens are made with")
    print(
        "This bootstrap has neither --cert nor a token (--state-dir): only a server with --xds-insecure takes such an Envoy.",
        file=sys.stderr,
    )
    return ""


def _as_policies_say(plain: Bootstrap, policies: list[Path], options: Options) -> str:
    """The bootstrap with what the EnvoyProxy of the gateway changes, and the words of its command line above it."""
    from xds_server.cli.reading import read
    from xds_server.supervise.bootstrap import changed_text
    from xds_server.supervise.command import Launch, options_of_process

    gateway = plain.gateway
    compiled = read(policies, options).compiled
    process = next((one.process for one in compiled.gateways if gateway in (one.name, *one.groups)), None)
    if process is None:
        names = ", ".join(sorted(one.name for one in compiled.gateways if one.process is not None))
        trouble(f"there is no gateway {gateway} without errors there, but {names or 'none'}")
    try:
        text = changed_text(replace(plain, more=process.start).text(), process.bootstrap)
    except ValueError as error:
        trouble(f"the bootstrap cannot be changed so: {error}")
    words = options_of_process(Launch(gateway, "", text, process))
    return f"# envoy -c FILE {shlex.join(words)}\n{text}"
