"""Where no backend may lead: to what the server itself listens on, and to sockets that the operator has not permitted.

In: endpoints of a backend. Out: why one of them may not be there, or an empty text. Where Envoys are on the server's machine
they cannot listen there either. Whoever writes a Backend says where the
Envoy connects to, from the Envoy's machine: what trusts whoever connects from there must not be among it. A name may lead
anywhere: where Envoys are on the server's machine it must not have a port of the server.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from xds_server.graph import Endpoint

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_LOOPBACK: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


@dataclass(frozen=True, slots=True)
class OwnPlace:
    """Something that the server listens on. `addresses` lead there; `everywhere`: so does all of loopback."""

    what: str
    addresses: frozenset[str]
    port: int
    everywhere: bool = False

    def is_at(self, address: Ip) -> bool:
        """Whether an address leads there."""
        return str(address) in self.addresses or (self.everywhere and address.is_loopback)

    def meets(self, text: str) -> bool:
        """Whether nothing else of this machine can listen on an address."""
        found = _ip(text)
        return found is not None and (self.everywhere or found.is_unspecified or self.is_at(found))

    def is_within(self, network: Network) -> bool:
        """Whether an address of a range leads there; one of IPv6 may stand for ranges of IPv4."""
        for one in (network, *_mapped(network)):
            if any(ipaddress.ip_address(address) in one for address in self.addresses):
                return True
            if self.everywhere and any(one.overlaps(loopback) for loopback in _LOOPBACK):
                return True
        return False


@dataclass(frozen=True, slots=True)
class Reach:
    """`own`: what the server listens on, on a machine of these `names`; `names_lead_here`: Envoys are there, too.

    `socket_folders`: below them Unix sockets may be; `closed_folders`: but not below these.
    """

    own: tuple[OwnPlace, ...] = ()
    names: frozenset[str] = frozenset()
    names_lead_here: bool = False
    socket_folders: tuple[str, ...] = ()
    closed_folders: tuple[str, ...] = ()

    def refusal(self, endpoints: Iterable[Endpoint]) -> str:
        """Why these endpoints cannot be."""
        return next((reason for one in endpoints if (reason := self._of_endpoint(one))), "")

    def server_at(self, addresses: Iterable[str], port: int) -> str:
        """What of the server is where an Envoy would take connections; empty if nothing is, or no Envoy is there."""
        here = [one for one in self.own if self.names_lead_here and one.port == port]
        return next((place.what for text in addresses for place in here if place.meets(text)), "")

    def refusal_of_lookups(self, ranges: Iterable[str]) -> str:
        """Why names that clients choose must not lead into these ranges."""
        networks = [ipaddress.ip_network(one, strict=False) for one in ranges]
        for place in self.own:
            found = next((one for one in networks if place.is_within(one)), None)
            if found is not None:
                return f"{place.what} is in {found}; allow ranges that it is not in"
        return ""

    def _of_endpoint(self, one: Endpoint) -> str:
        if one.address.startswith("/"):
            return self._of_socket(one.address)
        place = next((place for place in self.own if place.port == one.port and self._leads(one.address, place)), None)
        if place is None:
            return ""
        return f"{one.address}:{one.port} leads to {place.what}, where no backend may lead; use another port"

    def _of_socket(self, path: str) -> str:
        if _below(path, self.closed_folders):
            return f"{path} is among the server's own files, where no backend may lead"
        if _below(path, self.socket_folders):
            return ""
        known = ", ".join(self.socket_folders) or "none"
        return f"{path} is in no folder that the operator permits with --socket-folder (permitted: {known})"

    def _leads(self, address: str, place: OwnPlace) -> bool:
        found = _ip(address)
        if found is not None:
            return place.is_at(found)
        name = address.rstrip(".").lower()
        return self.names_lead_here or name in self.names or name.rpartition(".")[2] == "localhost"


def own_place(what: str, host: str, port: int, machine: Iterable[str]) -> OwnPlace:
    """The place of a server that is bound to the address `host`, on a machine with these addresses.

    What is no address could be any of them.
    """
    bound = _ip(host)
    everywhere = bound is None or bound.is_unspecified
    found = {str(bound)} if bound is not None and not everywhere else {"127.0.0.1", "::1"}
    if everywhere:
        found |= {str(one) for text in machine if (one := _ip(text)) is not None}
    if found & {"127.0.0.1", "::1"}:  # names mean both, and the kernel takes the others for them
        found |= {"127.0.0.1", "::1", "0.0.0.0", "::"}  # noqa: S104
    return OwnPlace(what, frozenset(found), port, everywhere)


def _ip(text: str) -> Ip | None:
    """An address; of one of IPv6 that stands for one of IPv4 that one."""
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, ipaddress.IPv6Address) else found


def _mapped(network: Network) -> tuple[ipaddress.IPv4Network, ...]:
    """What a range of IPv6 has of the addresses that stand for those of IPv4."""
    if not isinstance(network, ipaddress.IPv6Network) or not network.overlaps(_MAPPED):
        return ()
    common = network if network.prefixlen > _MAPPED.prefixlen else _MAPPED
    first = int(common.network_address) & 0xFFFFFFFF
    return (ipaddress.IPv4Network((first, common.prefixlen - _MAPPED.prefixlen)),)


def _below(path: str, folders: Iterable[str]) -> bool:
    return any(path.startswith(f"{folder}/") for folder in folders)
