"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

DEFAULT_ADMIN = "127.0.0.1:19001"
DEFAULT_XDS = "127.0.0.1:18000"


def _folders(flag: str, envvar: str, what: str) -> Any:
    """An option for folders on Envoys' machines."""
    several = f"{what}; may be given more than once."
    return typer.Option(flag, envvar=envvar, metavar="/PATH", help=several, show_default=False)


Folders = Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders with policy files.", show_default=False)]
Admin = Annotated[
    str, typer.Option(envvar="CELLWAY_ADMIN", metavar="HOST:PORT", help="The admin API: status, objects, metrics.")
]
Xds = Annotated[str, typer.Option(envvar="CELLWAY_XDS", metavar="HOST:PORT", help="The xDS server.")]
XdsCert = Annotated[
    Path | None,
    typer.Option(
        envvar="CELLWAY_XDS_CERT", metavar="FILE", help="TLS on the xDS port: certificate.", show_default=False
    ),
]
XdsKey = Annotated[
    Path | None, typer.Option(envvar="CELLWAY_XDS_KEY", metavar="FILE", help="Its key.", show_default=False)
]
XdsCa = Annotated[
    Path | None,
    typer.Option(
        envvar="CELLWAY_XDS_CA", metavar="FILE", help="Authorities of Envoys' certificates.", show_default=False
    ),
]
XdsCrl = Annotated[
    Path | None,
    typer.Option(
        envvar="CELLWAY_XDS_CRL",
        metavar="FILE",
        help="Revocation lists of those authorities: Envoys' certificates that are refused.",
        show_default=False,
    ),
]
XdsIdentities = Annotated[
    Path | None,
    typer.Option(
        envvar="CELLWAY_XDS_IDENTITIES",
        metavar="FILE",
        help="YAML: which certificate is for which gateways.",
        show_default=False,
    ),
]
XdsInsecure = Annotated[
    bool,
    typer.Option(
        "--xds-insecure",
        help="Serve xDS in plain text to whoever connects: no token is asked for, and the address need not be loopback.",
    ),
]
XdsLimits = Annotated[
    list[str] | None,
    typer.Option(
        "--xds-limit", metavar="NAME=VALUE", help="A limit of the xDS server, such as streams=500.", show_default=False
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        envvar="CELLWAY_WORKERS",
        metavar="N",
        min=1,
        max=64,
        help="Processes that serve Envoys on the xDS port; with 1 the server does it itself.",
    ),
]
AddressPool = Annotated[
    str | None,
    typer.Option(
        envvar="CELLWAY_ADDRESS_POOL", metavar="CIDR", help="Addresses for Gateways that name none.", show_default=False
    ),
]
Geoip = Annotated[
    list[str] | None,
    typer.Option(
        envvar="CELLWAY_GEOIP",
        metavar="WHAT=/PATH",
        help="A MaxMind database on Envoys' machines: city, country, asn, isp or anonymous; may be given more than once.",
        show_default=False,
    ),
]
Color = Annotated[
    Literal["auto", "always", "never"],
    typer.Option("--color", envvar="CELLWAY_COLOR", help="Colours in text; auto: on a terminal that has them."),
]
LogFolders = Annotated[
    list[str] | None,
    _folders(
        "--log-folder",
        "CELLWAY_LOG_FOLDER",
        "A folder on Envoys' machines in which policies may have access logs written",
    ),
]
ModuleFolders = Annotated[
    list[str] | None,
    _folders(
        "--module-folder",
        "CELLWAY_MODULE_FOLDER",
        "A folder on Envoys' machines with native modules that policies may run",
    ),
]
SocketFolders = Annotated[
    list[str] | None,
    _folders(
        "--socket-folder",
        "CELLWAY_SOCKET_FOLDER",
        "A folder on Envoys' machines below which Backends may name Unix sockets",
    ),
]
Extenders = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-extensions",
        envvar="CELLWAY_ALLOW_EXTENSIONS",
        metavar="NAMESPACE",
        help="Policies of this namespace may run code in Envoys (Lua, Wasm, native modules) and patch their configuration; "
        "'*': of all; may be given more than once.",
        show_default=False,
    ),
]
Controllers = Annotated[
    list[str] | None,
    typer.Option(
        "--controller-name",
        metavar="NAME",
        help="Answer for GatewayClasses of this controller; may be given more than once.",
        show_default=False,
    ),
]
StateFolder = Annotated[
    Path | None,
    typer.Option(
        "--state-dir",
        envvar="CELLWAY_STATE_DIR",
        metavar="DIR",
        help="What a restarted server needs to find its Envoys again. Default: $XDG_STATE_HOME/cellway/NAME-HASH; "
        "none if it starts no Envoys and asks for no tokens.",
        show_default=False,
    ),
]
EnvoyPath = Annotated[
    Path | None,
    typer.Option(
        "--envoy",
        metavar="PATH",
        help="The Envoy to run. Default: $CELLWAY_ENVOY, .envoy/bin/envoy, or the one on PATH.",
        show_default=False,
    ),
]
EnvoyAdmin = Annotated[
    str | None,
    typer.Option(
        "--admin",
        metavar="PATH|HOST:PORT",
        help="Envoy's own admin interface: a Unix socket for its owner, or a port, which whoever reaches it uses to "
        "control the Envoy. Default: envoy-GATEWAY.sock in the folder where Envoy starts.",
        show_default=False,
    ),
]
OneGateway = Annotated[
    str | None, typer.Option("--gateway", metavar="NAMESPACE/NAME", help="Only this gateway.", show_default=False)
]
LogFormat = Annotated[
    Literal["console", "json"] | None,
    typer.Option(envvar="CELLWAY_LOG_FORMAT", help="Default: console on a terminal, else json.", show_default=False),
]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"], typer.Option(envvar="CELLWAY_LOG_LEVEL", help="How much to log.")
]
CellAuthorities = Annotated[
    Path | None,
    typer.Option(
        envvar="CELLWAY_CELL_AUTHORITIES",
        metavar="DIR",
        help="Your own authorities of cells: TRUSTDOMAIN.crt and TRUSTDOMAIN.key. Default: made in the state folder.",
        show_default=False,
    ),
]
CertificateLifetime = Annotated[
    str,
    typer.Option(
        envvar="CELLWAY_CERTIFICATE_LIFETIME", metavar="DURATION", help="How long a gateway's certificate lives."
    ),
]
