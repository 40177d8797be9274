"""Who may connect, by address: rules in order, of which the first that fits decides.

In: rules with address ranges, and what holds for the rest. Out: `Sources`, in which the longest range that holds an
address decides, as Envoy chooses filter chains. Both say the same of every address: of the ranges that are listed, all
that hold an address hold the longest of them as well.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from xds_server.features.contract import Sources

Network = tuple[str, int]
"""An address range: its first address and the length of its prefix."""
_ALL: tuple[Network, ...] = (("0.0.0.0", 0), ("::", 0))  # noqa: S104  (all addresses, to compare with)


def divide(rules: Sequence[tuple[bool, Sequence[Network]]], *, others: bool) -> Sources:
    """Rules are (let in, ranges); `others` says whether the rest is let in."""
    ordered = [(let_in, [_network(one) for one in networks]) for let_in, networks in rules]
    listed = dict.fromkeys((*(one for _, networks in rules for one in networks), *_ALL))
    allowed: list[Network] = []
    refused: list[Network] = []
    for one in listed:
        (allowed if _verdict(_network(one), ordered, others=others) else refused).append(one)
    return Sources(tuple(allowed), tuple(refused))


AnyNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


def _network(written: Network) -> AnyNetwork:
    return ipaddress.ip_network(written)


def _holds(outer: AnyNetwork, inner: AnyNetwork) -> bool:
    return outer.version == inner.version and outer.prefixlen <= inner.prefixlen and inner.network_address in outer


def _verdict(network: AnyNetwork, rules: Sequence[tuple[bool, Sequence[AnyNetwork]]], *, others: bool) -> bool:
    for let_in, networks in rules:
        if any(_holds(outer, network) for outer in networks):
            return let_in
    return others
