"""What `run` and `serve` have in common: settings from options, a server in an event loop, what is printed."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import resource
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from xds_server.app import Server
from xds_server.attach.reach import Reach
from xds_server.automation.authority import LONGEST, SHORTEST
from xds_server.automation.certificates import Keeping
from xds_server.cli.demo import demo_endpoints, things_to_try
from xds_server.cli.echo import Echo
from xds_server.cli.envoy_folders import parse_log_folders, parse_module_folders, parse_socket_folders
from xds_server.cli.extenders import parse_extenders
from xds_server.cli.geoip import parse_databases
from xds_server.cli.identities import read_identities
from xds_server.cli.logs import configure_logs
from xds_server.cli.output import trouble
from xds_server.compile import DEFAULT_CONTROLLERS, Compiled, Options
from xds_server.graph import Gateway, Port
from xds_server.listening import XdsSettings, is_loopback
from xds_server.serve.identity import Identities
from xds_server.serve.limits import parse_limits
from xds_server.serve.tls import TlsFiles
from xds_server.settings import Clocks, Settings, Told
from xds_server.supervise.binary import NoEnvoyError, find_envoy
from xds_server.supervise.bootstrap import parse_address
from xds_server.supervise.records import StateInUseError, default_state_folder
from xds_server.types import parse_duration

_PATIENCE = 30.0
_SWITCH = 0.001
"""Seconds after which a thread that compiles lets the event loop go on; Python's own 5 ms add up."""


@dataclass(frozen=True, slots=True)
class XdsFiles:
    """The files of TLS on the xDS port, as they were given."""

    certificate: Path | None
    key: Path | None
    authorities: Path | None
    revoked: Path | None
    identities: Path | None

    def tls(self) -> TlsFiles | None:
        """What they mean. ValueError with a sentence if they mean nothing."""
        if self.certificate is not None and self.key is not None and self.authorities is not None:
            return TlsFiles(self.certificate, self.key, self.authorities, self.revoked)
        if self.certificate or self.key or self.authorities:
            raise ValueError("TLS on the xDS port needs all of --xds-cert, --xds-key and --xds-ca")
        if self.identities is not None:
            raise ValueError(
                "--xds-identities says what certificates are for: it needs --xds-cert, --xds-key, --xds-ca"
            )
        if self.revoked is not None:
            raise ValueError("--xds-crl says which certificates are revoked: it needs --xds-cert, --xds-key, --xds-ca")
        return None


@dataclass(frozen=True, slots=True)
class XdsChoices:
    """The options of the xDS port, as they were given."""

    address: str
    files: XdsFiles
    insecure: bool
    limits: tuple[str, ...]
    processes: int = 1

    def settings(self) -> XdsSettings:
        """What they mean. ValueError with a sentence if they mean nothing."""
        tls = self.files.tls()
        address = parse_address(self.address)
        if tls is None and not self.insecure and not is_loopback(address.host):
            raise ValueError(
                f"--xds {address} is not on loopback, and whoever reaches it would get every secret: "
                "give --xds-cert, --xds-key and --xds-ca, or --xds-insecure if the network is trusted"
            )
        told = self.files.identities
        identities = read_identities(told) if told is not None else Identities()
        return XdsSettings(address, tls, identities, parse_limits(self.limits), self.insecure, self.processes)


@dataclass(frozen=True, slots=True)
class CellChoices:
    """The options of cells' certificates, as they were given."""

    authorities: Path | None
    lifetime: str

    def keeping(self, state: Path | None) -> Keeping:
        """What they mean. ValueError with a sentence if they mean nothing."""
        lifetime = parse_duration(self.lifetime)
        if lifetime is None or not SHORTEST <= lifetime <= LONGEST:
            raise ValueError(
                f"--certificate-lifetime must be {SHORTEST:g}s to 24h, such as 12h; it is '{self.lifetime}'"
            )
        if self.authorities is not None:
            if not self.authorities.is_dir():
                raise ValueError(f"--cell-authorities: there is no folder {self.authorities}")
            return Keeping(self.authorities.absolute(), own=False, lifetime=lifetime)
        return Keeping(state / "authorities" if state else None, lifetime=lifetime)


@dataclass(frozen=True, slots=True)
class Choices:
    """The options that `run` and `serve` share, as they were given."""

    folders: tuple[Path, ...]
    admin: str
    xds: XdsChoices
    address_pool: str | None
    geoip: tuple[str, ...]
    log_folders: tuple[str, ...]
    module_folders: tuple[str, ...]
    socket_folders: tuple[str, ...]
    extenders: tuple[str, ...]
    controllers: tuple[str, ...]
    state: Path | None
    log_format: str | None
    log_level: str
    cells: CellChoices


def serve_until_stopped(
    choices: Choices,
    *,
    with_envoys: bool,
    envoy: Path | None = None,
    stages: tuple[str, ...] = (),
    demo: bool = False,
) -> None:
    """Serve until a signal; ends the command with exit code 2 if that cannot begin."""
    configure_logs(choices.log_format, choices.log_level)
    _raise_file_limit()
    sys.setswitchinterval(_SWITCH)
    try:
        settings = _settings(choices, find_envoy(envoy, os.environ, Path.cwd()) if with_envoys else None, stages)
        asyncio.run(_serve(settings, demo=demo))
    except (NoEnvoyError, StateInUseError, OSError, ValueError) as error:
        trouble(str(error))


def _raise_file_limit() -> None:
    """Every Envoy and every client of an Envoy is an open file; the usual limit of 1,024 is soon reached."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _settings(choices: Choices, envoy: Path | None, stages: tuple[str, ...]) -> Settings:
    if choices.address_pool is not None:
        ipaddress.ip_network(choices.address_pool)
    state, xds = choices.state, choices.xds.settings()
    if state is None and (envoy is not None or (xds.tls is None and not xds.insecure)):  # it has the key of tokens
        state = default_state_folder(choices.folders, os.environ, Path.home())
    state = state.absolute() if state else None
    options = Options(
        choices.controllers or DEFAULT_CONTROLLERS,
        choices.address_pool,
        databases=parse_databases(choices.geoip),
        one_machine=envoy is not None,
        log_folders=parse_log_folders(choices.log_folders),
        extenders=parse_extenders(choices.extenders),
        module_folders=parse_module_folders(choices.module_folders),
        reach=Reach(socket_folders=parse_socket_folders(choices.socket_folders)),
    )
    return Settings(
        choices.folders,
        parse_address(choices.admin),
        xds,
        options,
        state,
        envoy,
        socket.gethostname(),
        stages,
        certificates=choices.cells.keeping(state),
    )


async def _serve(settings: Settings, *, demo: bool) -> None:
    echo, first = Echo(), asyncio.Event()
    latest = Compiled()

    def published(compiled: Compiled) -> None:
        nonlocal latest
        latest = compiled
        if demo:
            echo.serve(demo_endpoints(compiled.gateways_of(settings.stages)))
        first.set()

    server = Server(settings, Clocks(time.time, time.monotonic), Told(_print_addresses, published))

    async def announce() -> None:
        await first.wait()
        reason = await server.in_force(_PATIENCE)
        shown = latest.gateways if settings.envoy is None else latest.gateways_of(settings.stages)
        _print_loaded(latest, shown)
        if reason:
            print(f"Not everything is in force: {reason}")
        if demo:
            _print_demo(shown, echo)
        sys.stdout.flush()

    announcing = asyncio.create_task(announce(), name="announcement")
    try:
        await server.run()
    finally:
        announcing.cancel()
        await echo.close()


def _print_addresses(addresses: Mapping[str, str]) -> None:
    print(f"xDS on {addresses['xds']}, admin API on http://{addresses['admin']}", flush=True)


def _print_loaded(compiled: Compiled, gateways: Iterable[Gateway]) -> None:
    counts = Counter(item.key.kind for item in compiled.objects)
    print(f"Loaded {', '.join(f'{count} {kind}' for kind, count in sorted(counts.items()))}")
    for gateway in gateways:
        places = [
            f"{_scheme(port)}://{f'[{address}]' if ':' in address else address}:{port.port}"
            for port in gateway.ports
            for address in port.addresses
        ]
        print(f"Gateway {gateway.name} on {', '.join(places) or 'no port'}")


def _scheme(port: Port) -> str:
    """What is spoken on a port, as the scheme of a URL; requests before streams where it has both."""
    if port.http_chains:
        return "https" if port.tls else "http"
    return "tls" if port.tls else port.transport


def _print_demo(gateways: Iterable[Gateway], echo: Echo) -> None:
    served = ", ".join(f"{address}:{port}" for address, port in echo.endpoints)
    print(f"Demo services on {served or 'no address: somebody listens everywhere already'}")
    print("Try:")
    for name, lines in groupby(things_to_try(gateways), key=lambda one: one.gateway):
        print(f"  # Gateway {name}")
        for one in lines:
            print(f"  {one.command}\n      # {one.expected}")
