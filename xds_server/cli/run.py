"""`cellway run DIR...`: the control plane, and one local Envoy for each gateway."""

from __future__ import annotations

from typing import Annotated

import typer

from xds_server.cli.options import (
    DEFAULT_ADMIN,
    DEFAULT_XDS,
    AddressPool,
    Admin,
    CellAuthorities,
    CertificateLifetime,
    Controllers,
    EnvoyPath,
    Extenders,
    Folders,
    Geoip,
    LogFolders,
    LogFormat,
    LogLevel,
    ModuleFolders,
    SocketFolders,
    StateFolder,
    Workers,
    Xds,
    XdsCa,
    XdsCert,
    XdsCrl,
    XdsIdentities,
    XdsInsecure,
    XdsKey,
    XdsLimits,
)
from xds_server.collector import collector_paused


def run(  # noqa: PLR0913, PLR0917 (options of a command)
    folders: Folders,
    admin: Admin = DEFAULT_ADMIN,
    xds: Xds = DEFAULT_XDS,
    xds_cert: XdsCert = None,
    xds_key: XdsKey = None,
    xds_ca: XdsCa = None,
    xds_crl: XdsCrl = None,
    xds_identities: XdsIdentities = None,
    xds_insecure: XdsInsecure = False,
    xds_limit: XdsLimits = None,
    workers: Workers = 1,
    address_pool: AddressPool = None,
    geoip: Geoip = None,
    log_folder: LogFolders = None,
    module_folder: ModuleFolders = None,
    socket_folder: SocketFolders = None,
    allow_extensions: Extenders = None,
    envoy: EnvoyPath = None,
    no_envoy: Annotated[bool, typer.Option("--no-envoy", help="Start none, as `serve` does.")] = False,
    stage: Annotated[
        list[str] | None,
        typer.Option(
            "--stage",
            metavar="NAME",
            help="Start Envoys for cells in this stage; may be given more than once. Default: the first stage.",
            show_default=False,
        ),
    ] = None,
    state_dir: StateFolder = None,
    controller_name: Controllers = None,
    cell_authorities: CellAuthorities = None,
    certificate_lifetime: CertificateLifetime = "24h",
    demo: Annotated[
        bool, typer.Option("--demo", help="Answer at every loopback endpoint where nobody does; print curl lines.")
    ] = False,
    log_format: LogFormat = None,
    log_level: LogLevel = "info",
) -> None:
    """Serve policy folders, with one local Envoy for each gateway. Files are watched; a change is live at once.

    Example: cellway run policies/quickstart --demo
    """
    with collector_paused():
        from xds_server.cli.serving import CellChoices, Choices, XdsChoices, XdsFiles, serve_until_stopped

    files = XdsFiles(xds_cert, xds_key, xds_ca, xds_crl, xds_identities)
    port = XdsChoices(xds, files, xds_insecure, tuple(xds_limit or ()), workers)
    cells = CellChoices(cell_authorities, certificate_lifetime)
    choices = Choices(
        tuple(folders),
        admin,
        port,
        address_pool,
        tuple(geoip or ()),
        tuple(log_folder or ()),
        tuple(module_folder or ()),
        tuple(socket_folder or ()),
        tuple(allow_extensions or ()),
        tuple(controller_name or ()),
        state_dir,
        log_format,
        log_level,
        cells,
    )
    serve_until_stopped(choices, with_envoys=not no_envoy, envoy=envoy, stages=tuple(stage or ()), demo=demo)
