"""DNS listeners: which names they answer, and with what.

In: a Gateway, its DNS listener, and the hostnames with routes of all its listeners. Out: a `graph.Port`. The names are the
hosts of its HTTP and HTTPS listeners. Wildcards are left out: a name that fits one is nobody's in particular. A Gateway that
listens on all addresses has none to answer with, which is reported; then no name exists.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

from xds_server.attach.gateways import GatewayState
from xds_server.attach.listeners import ListenerState
from xds_server.diagnostics import Diagnostic, Path
from xds_server.graph import Port
from xds_server.types import Key


def dns_port(
    state: GatewayState, listener: ListenerState, hosts: Mapping[tuple[Key, int], Iterable[str]]
) -> tuple[Port, Diagnostic | None]:
    """The port of a DNS listener, and what is wrong with it."""
    names: set[str] = set()
    for one in state.listeners:
        names.update(hosts.get((state.key, one.number), ()) if one.problem is None else ())
    problem = None
    addresses = state.addresses_of(listener.spec.port)
    if any(ipaddress.ip_address(one).is_unspecified for one in addresses):
        own = listener.owner.key == state.key
        path: Path = ("listeners", listener.number, "protocol") if own else ("listeners",)
        reason = "a DNS listener answers with its Gateway's addresses: give the Gateway spec.addresses"
        problem, names = listener.owner.diagnose("A103", *path, reason=reason), set()
    port = Port(
        name=f"{state.key.namespace}/{state.key.name}/dns-{listener.spec.port}",
        addresses=addresses,
        port=listener.spec.port,
        chains=(),
        transport="udp",
        ttl=state.delivery.listener_ttl,
        names=tuple(sorted(name for name in names if "*" not in name)),
        origins=tuple(dict.fromkeys((*state.item.origins, *listener.owner.origins))),
    )
    return port, problem
