"""Where the server listens: the xDS port, the port for local Envoys beside it, the admin API's.

In: addresses as the command line gives them, and what an earlier server on the same state folder had. Out: open ports, or
one sentence that says which could not be had.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from xds_server.attach.reach import own_place
from xds_server.compile import Options
from xds_server.observe.admin import listen
from xds_server.serve.grpc import XdsServer
from xds_server.serve.identity import Identities
from xds_server.serve.limits import Limits
from xds_server.serve.tls import Credentials, TlsFiles
from xds_server.serve.tokens import Tokens
from xds_server.supervise.bootstrap import Address, is_ip_address
from xds_server.supervise.records import StateFolder

_LOG = structlog.get_logger("cellway")
_NOTHING_KEPT = (
    "xDS in plain text asks Envoys for a token, which is kept in the state folder: give --state-dir, or --xds-cert, --xds-key "
    "and --xds-ca, or --xds-insecure if whoever connects is to be believed"
)


@dataclass(frozen=True, slots=True)
class XdsSettings:
    """The xDS port. `tls` None: plain text. With TLS local Envoys get a plain port of their own on loopback.

    In plain text Envoys have to show a token, unless it is `insecure`: then whoever connects is believed.
    """

    address: Address
    tls: TlsFiles | None = None
    identities: Identities = field(default_factory=Identities)
    limits: Limits = field(default_factory=Limits)
    insecure: bool = False


@dataclass(frozen=True, slots=True)
class XdsPorts:
    """Where Envoys find the server: those that come from anywhere, and those of this machine, which show a word of `tokens`."""

    public: Address
    local: Address
    tokens: Tokens | None = None

    def token(self, gateway: str) -> str:
        """What an Envoy of this machine shows; empty where nothing is kept that it could be known by."""
        return self.tokens.word(gateway) if self.tokens is not None else ""


def open_xds(server: XdsServer, settings: XdsSettings, state: StateFolder | None, *, envoys: bool) -> XdsPorts:
    """Listen for Envoys. `envoys`: there will be some on this machine. OSError if a port cannot be had.

    ValueError with a sentence if Envoys could not be told from others.
    """
    tokens = Tokens(state.xds_key()) if state is not None else None
    if settings.tls is None and settings.insecure:
        _LOG.warning(
            "xDS asks for no token and believes whoever connects: --xds-insecure", address=str(settings.address)
        )
    elif tokens is not None:
        server.ask_for_tokens(tokens)
    elif settings.tls is None:
        raise ValueError(_NOTHING_KEPT)
    if settings.tls is None:
        address = _plain(server, settings.address, state)
        return XdsPorts(address, address, tokens)
    credentials = Credentials(settings.tls, lambda text: _LOG.error("TLS of the xDS port", problem=text))
    public = _bind(server, settings.address, credentials)
    return XdsPorts(public, _plain(server, Address("127.0.0.1", 0), state) if envoys else public, tokens)


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


def reaching(options: Options, admin: Address, ports: XdsPorts, state: Path | None) -> Options:
    """The same with where backends may lead, now that it is known where the server listens."""
    machine = own_addresses()
    places = [("the admin API of this server", admin), ("the xDS port of this server", ports.public)]
    places += [("the xDS port of this server", ports.local)] if ports.local != ports.public else []
    reach = replace(
        options.reach,
        own=tuple(own_place(what, at.host, at.port, machine) for what, at in places),
        names=frozenset((socket.gethostname().lower(),)),
        names_lead_here=options.one_machine,
        closed_folders=(str(state.resolve()), str(state)) if state is not None else (),
    )
    return replace(options, reach=reach)


def own_addresses() -> tuple[str, ...]:
    """The addresses of this machine, as its kernel tells them; none where it does not."""
    try:
        routes = Path("/proc/net/fib_trie").read_text(encoding="ascii")
        sixes = Path("/proc/net/if_inet6").read_text(encoding="ascii")
    except OSError:
        return ()
    found = re.findall(r"(\d+\.\d+\.\d+\.\d+)\n\s+/32 host LOCAL", routes)
    found += [str(ipaddress.ip_address(bytes.fromhex(line[:32]))) for line in sixes.splitlines()]
    return tuple(dict.fromkeys(found))


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
