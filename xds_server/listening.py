"""Where the server listens: the xDS port, the port for local Envoys beside it, the admin API's.

In: addresses as the command line gives them, and what an earlier server on the same state folder had. Out: open ports, or
one sentence that says which could not be had.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from xds_server.attach.reach import own_place
from xds_server.compile import Options
from xds_server.observe.admin import listen
from xds_server.serve.counters import Listeners
from xds_server.serve.front import Front
from xds_server.serve.grpc import XdsServer
from xds_server.serve.identity import Identities
from xds_server.serve.limits import Limits
from xds_server.serve.revocation import Revocations
from xds_server.serve.tls import Credentials, TlsFiles
from xds_server.serve.tokens import Tokens
from xds_server.supervise.bootstrap import Address, is_ip_address
from xds_server.supervise.records import StateFolder
from xds_server.workers.pool import Pool, Share

_LOG = structlog.get_logger("cellway")
_LETTING_GO, _AGAIN = 1.0, 0.02
"""Seconds for which a port is waited for, and between two tries."""
_NOTHING_KEPT = (
    "xDS in plain text asks Envoys for a token, which is kept in the state folder: give --state-dir, or --xds-cert, --xds-key "
    "and --xds-ca, or --xds-insecure if whoever connects is to be believed"
)


@dataclass(frozen=True, slots=True)
class XdsSettings:
    """The xDS port. `tls` None: plain text. With TLS local Envoys get a plain port of their own on loopback.

    In plain text Envoys have to show a token, unless it is `insecure`: then whoever connects is believed. `processes`: how many
    serve; one is the server itself.
    """

    address: Address
    tls: TlsFiles | None = None
    identities: Identities = field(default_factory=Identities)
    limits: Limits = field(default_factory=Limits)
    insecure: bool = False
    processes: int = 1


@dataclass(frozen=True, slots=True)
class Opened:
    """Where something listens: as it was asked for, and the addresses that its sockets are bound to."""

    said: Address
    at: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class XdsPorts:
    """Where Envoys find the server: those that come from anywhere, and those of this machine, which show a word of `tokens`.

    `at`: the addresses that all of these are bound to.
    """

    public: Address
    local: Address
    tokens: Tokens | None = None
    at: tuple[Address, ...] = ()

    def token(self, gateway: str) -> str:
        """What an Envoy of this machine shows; empty where nothing is kept that it could be known by."""
        return self.tokens.word(gateway) if self.tokens is not None else ""


def front(settings: XdsSettings, clock: Callable[[], float], told: Listeners) -> Front:
    """Who serves Envoys: this process, or several others."""
    limits, identities = settings.limits, settings.identities
    if settings.processes > 1:
        return Pool(Share(settings.processes, limits, identities), clock, told)
    return XdsServer(clock, limits=limits, told=told, identities=identities)


def open_xds(
    server: Front,
    settings: XdsSettings,
    state: StateFolder | None,
    wall: Callable[[], float],
    *,
    envoys: bool,
) -> XdsPorts:
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
    if settings.tls is not None and settings.tls.revoked is not None:
        files = settings.tls.revoked, settings.tls.authorities
        server.refuse_revoked(Revocations(*files, wall, lambda text: _LOG.error("revoked certificates", problem=text)))
    if settings.tls is None:
        plain = _plain(server, settings.address, state)
        return XdsPorts(plain.said, plain.said, tokens, plain.at)
    credentials = Credentials(settings.tls, lambda text: _LOG.error("TLS of the xDS port", problem=text))
    public = _bind(server, settings.address, credentials)
    local = _plain(server, Address("127.0.0.1", 0), state) if envoys else public
    return XdsPorts(public.said, local.said, tokens, tuple(dict.fromkeys((*public.at, *local.at))))


def _plain(server: Front, wanted: Address, state: StateFolder | None) -> Opened:
    """In plain text: with port 0 where an earlier server listened, since its Envoys still look there."""
    if wanted.port == 0 and state is not None:
        last = state.addresses().get("xds_port")
        if isinstance(last, int):
            with contextlib.suppress(OSError):
                return _bind(server, Address(wanted.host, last))
    return _bind(server, wanted)


def _bind(server: Front, wanted: Address, credentials: Credentials | None = None) -> Opened:
    """Listen on all that a name stands for. It is asked about once: what it stands for later is not listened on."""
    at: list[Address] = []
    for one in _resolved(wanted):
        place = Address(one, at[0].port if at else wanted.port)
        _see_free(place, _LETTING_GO if isinstance(server, Pool) else 0.0)
        at.append(Address(one, server.listen(str(place), credentials)))
    return Opened(Address(wanted.host, at[0].port), tuple(at))


def _see_free(place: Address, patience: float) -> None:
    """Nobody else is there: grpc would tell of a taken port in its own words. OSError if somebody is.

    The processes of a server that was killed go with it, but not in the same moment.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            open_socket(place, "xDS").close()
        except OSError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_AGAIN)
        else:
            return


def _resolved(wanted: Address) -> tuple[str, ...]:
    """The addresses of a host that this machine has, those of IPv4 first. OSError with a sentence if there are none at all."""
    if is_ip_address(wanted.host):
        return (wanted.host,)
    try:
        found = socket.getaddrinfo(wanted.host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise OSError(f"cannot listen on {wanted} for xDS: {error.strerror or error}") from None
    found.sort(key=lambda one: one[0] == socket.AF_INET6)
    hosts = tuple(dict.fromkeys(str(one[4][0]) for one in found))
    return tuple(one for one in hosts if _is_here(one)) or hosts[:1]


def _is_here(host: str) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as tried, contextlib.suppress(OSError):
        tried.bind((host, 0))
        return True
    return False


def opened(said: Address, listening: socket.socket) -> Opened:
    """Where a socket is, which somebody asked for in these words."""
    host, port = listening.getsockname()[:2]
    return Opened(Address(said.host, port), (Address(host, port),))


def reaching(options: Options, admin: Opened, ports: XdsPorts, state: Path | None) -> Options:
    """The same with where backends may lead, now that it is known where the server listens.

    Where xDS is on loopback alone, Envoys are on this machine whoever starts them.
    """
    machine = own_addresses()
    places = [("the admin API of this server", one) for one in admin.at]
    places += [("the xDS port of this server", one) for one in ports.at]
    names = socket.gethostname(), admin.said.host, ports.public.host
    reach = replace(
        options.reach,
        own=tuple(own_place(what, at.host, at.port, machine) for what, at in places),
        names=frozenset(one.rstrip(".").lower() for one in names if not is_ip_address(one)),
        names_lead_here=options.one_machine or all(is_loopback(one.host) for one in ports.at),
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
