"""Gateways that listen in one place: where their Envoys run on one machine, chance decides who gets a connection.

In: the gateways as they are served. Out: a warning for each that listens where an older one does.
"""

from __future__ import annotations

from collections.abc import Iterable

from xds_server.attach.index import Index
from xds_server.diagnostics import Diagnostic
from xds_server.graph import Gateway
from xds_server.types import Key


def shared_sockets(gateways: Iterable[Gateway], index: Index) -> tuple[Diagnostic, ...]:
    """Look at all gateways of one machine, the oldest first."""
    first: dict[tuple[str, int, str], Key] = {}
    found = []
    for gateway in gateways:
        item = index.by_key[gateway.key]
        sockets = [(address, port.port, port.transport) for port in gateway.ports for address in port.addresses]
        shared = [one for one in sockets if first.setdefault(one, gateway.key) != gateway.key]
        if shared:
            places = ", ".join(f"{address}:{port}" for address, port, _ in shared)
            others = ", ".join(sorted({str(first[one]) for one in shared}))
            found.append(item.diagnose("A147", "listeners", other=others, places=places))
    return tuple(found)
