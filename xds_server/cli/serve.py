"""`cellway serve DIR...`: the control plane alone, for Envoys that somebody else starts."""

from __future__ import annotations

from xds_server.cli.options import (
    DEFAULT_ADMIN,
    DEFAULT_XDS,
    AddressPool,
    Admin,
    CellAuthorities,
    CertificateLifetime,
    Controllers,
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


def serve(  # noqa: PLR0913, PLR0917 (options of a command)
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
    state_dir: StateFolder = None,
    controller_name: Controllers = None,
    cell_authorities: CellAuthorities = None,
    certificate_lifetime: CertificateLifetime = "24h",
    log_format: LogFormat = None,
    log_level: LogLevel = "info",
) -> None:
    """Serve policy folders to Envoys elsewhere; `cellway bootstrap` prints what those need.

    Example: cellway serve policies
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
    serve_until_stopped(choices, with_envoys=False)
