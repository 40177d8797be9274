"""Where the server listens: the xDS port, the port for local Envoys beside it, the admin API's.

In: addresses as the command line gives them, and what an earlier server on the same state folder had. Out: open ports, or
one sentence that says which could not be had.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from dataclasses import dataclass, field

import structlog

from xds_server.observe.admin import listen
from xds_server.serve.grpc import XdsServer
from xds_server.serve.identity import Identities
from xds_server.serve.limits import Limits
from xds_server.serve.tls import Credentials, TlsFiles
from xds_server.supervise.bootstrap import Address, is_ip_address
from xds_server.supervise.records import StateFolder

_LOG = structlog.get_logger("cellway")


@dataclass(frozen=True, slots=True)
class XdsSettings:
    """The xDS port. `tls` None: plain text. With TLS local Envoys get a plain port of their own on loopback."""

    address: Address
    tls: TlsFiles | None = None
    identities: Identities = field(default_factory=Identities)
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class XdsPorts:
    """Where Envoys find the server: those that come from anywhere, and those of this machine."""

    public: Address
    local: Address


def open_xds(server: XdsServer, settings: XdsSettings, state: StateFolder | None, *, envoys: bool) -> XdsPorts:
    """Listen for Envoys. `envoys`: there will be some on this machine. OSError if a port cannot be had."""
    if settings.tls is None:
        address = _plain(server, settings.address, state)
        return XdsPorts(address, address)
    credentials = Credentials(settings.tls, lambda text: _LOG.error("TLS of the xDS port", problem=text))
    public = _bind(server, settings.address, credentials)
    return XdsPorts(public, _plain(server, Address("127.0.0.1", 0), state) if envoys else public)


def _plain(server: XdsServer, wanted: Address, state: StateFolder | None) -> Address:
    """In plain text: with port 0 where an earlier server listened, since its Envoys still look there."""
    if wanted.port == 0 and state is not None:
        last = state.addresses().get("xds_port")
        if isinstance(last, int):
            with contextlib.suppress(OSError):
                return _bind(server, Address(wanted.host, last))
    return _bind(server, wanted)


def _bind(server: XdsServer, wanted: Address, credentials: Credentials | None = None) -> Address:
    open_socket(wanted, "xDS").close()  # grpc would tell of a taken port in its own words, too
    return Address(wanted.host, server.listen(str(wanted), credentials))


def warn_of_open_ports(ports: dict[str, Address]) -> None:
    """Say which of these ports strangers can reach."""
    for what, address in ports.items():
        if not is_loopback(address.host):
            _LOG.warning("listens beyond this machine, without authentication", what=what, address=str(address))


def open_socket(address: Address, what: str) -> socket.socket:
    """A listening socket. OSError with a sentence if it cannot be had."""
    try:
        return listen(address.host, address.port)
    except OSError as error:
        raise OSError(f"cannot listen on {address} for {what}: {error.strerror or error}") from None


def from_here(address: Address) -> Address:
    """Where a process of this machine finds a server that listens on all addresses."""
    return Address({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host), address.port)  # noqa: S104


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to it."""
    return host == "localhost" or (is_ip_address(host) and ipaddress.ip_address(host).is_loopback)
