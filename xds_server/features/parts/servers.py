"""Servers that Envoy asks for something, by their URL: key sets, tokens.

In: a URL as a user writes it. Out: the server, also as a backend, or why it must not be asked. Addresses that only a
machine itself should ask, such as cloud metadata, are refused, and so are IPv6 addresses that lead to private IPv4 ones.
Private addresses as such, and loopback, are where the identity providers of many networks are; what Cellway itself listens on
is refused to Envoys there, too.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from xds_server.features.contract import Context
from xds_server.graph import Backend, BackendTls, Endpoint

_METADATA = tuple(
    ipaddress.ip_address(one)
    for one in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")
)
"""Where clouds tell machines their secrets, beside the link-local addresses."""
_CARRIERS = tuple(ipaddress.IPv6Network(one) for one in ("64:ff9b::/96", "::/96"))
"""IPv6 whose last 32 bits are an IPv4 address: NAT64 (RFC 6052), and compatible addresses (RFC 4291)."""
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
_LOOKS_LIKE_AN_ADDRESS = re.compile(r"(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)\.?$")
"""Resolvers take 2130706433, 0x7f.1 and the like for addresses."""
_NAME = re.compile(r"(?=.{1,254}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class WebServer:
    """Whom to ask. `purpose` is the first part of the backend's name."""

    purpose: str
    uri: str
    tls: bool
    host: str
    port: int

    @property
    def backend(self) -> Backend:
        """The server as a backend: by address, or by DNS name with its certificate checked."""
        scheme = "https" if self.tls else "http"
        return Backend(
            name=f"{self.purpose}/{scheme}/{self.host}/{self.port}",
            endpoints=(Endpoint(self.host, self.port, hostname=self.host),),
            dns=_address(self.host) is None,
            tls=BackendTls(sni=self.host, san=self.host) if self.tls else None,
        )


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _port(parts: SplitResult) -> int | None:
    try:
        return parts.port or _PORTS[parts.scheme]
    except ValueError:
        return None


def parse_server(uri: str, purpose: str) -> WebServer | str:
    """The server of a URL, or why it is none."""
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        return str(error)
    if parts.scheme not in _PORTS or not parts.hostname:
        return "it must be an http or https URL"
    port = _port(parts)
    if port is None:
        return "its port is no port"
    if parts.username is not None or parts.fragment or any(sign.isspace() for sign in uri):
        return "user names, fragments and spaces are not allowed in it"
    if _address(parts.hostname) is None and not _NAME.fullmatch(parts.hostname):
        return "its host is neither a DNS name nor an address"
    if _address(parts.hostname) is None and _LOOKS_LIKE_AN_ADDRESS.search(parts.hostname):
        return "its host is neither a name nor an address as it is usually written"
    return WebServer(purpose, uri, parts.scheme == "https", parts.hostname.rstrip("."), port)


def server_problem(server: WebServer) -> str:
    """Why it must not be asked; empty if it may."""
    if problem := address_problem(server.host):
        return problem
    if server.tls and _address(server.host) is not None:
        return "TLS needs a host name that the server's certificate can be checked against, not an address"
    return ""


def asking_problem(server: WebServer, context: Context) -> str:
    """Why Envoys must not ask it; empty if they may."""
    return server_problem(server) or context.unreachable(server.backend.endpoints)


def address_problem(host: str) -> str:
    """Why this address must not be asked; empty if it may, or if it is a name."""
    address = _address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None) or address
    if mapped is None:
        return ""
    hidden = isinstance(mapped, ipaddress.IPv6Address) and _leads_inside(mapped)
    if mapped.is_link_local or mapped.is_unspecified or mapped.is_multicast or mapped in _METADATA or hidden:
        return f"the address {address} is not allowed"
    return ""


def _leads_inside(address: ipaddress.IPv6Address) -> bool:
    """True if it carries an IPv4 address that is not for everybody: nobody has a reason to write it like this."""
    carried = address.sixtofour or (address.teredo[1] if address.teredo else None)
    if carried is None and not address.is_loopback and any(address in one for one in _CARRIERS):
        carried = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address in _LOCAL_NAT64 or (carried is not None and (not carried.is_global or carried in _METADATA))
