"""Bytes under a class that denies addresses inside: they go through the gateway's own tunnel.

In: a derived TCPRoute or TLSRoute of south, and its settings. Out: the same route, leading to the gateway's listener for
requests, where CONNECT to the same host and port is a request whose address can be looked at before anything is connected.
"""

from __future__ import annotations

from xds_server.cells.derive import Output
from xds_server.cells.ingress import backend_ref
from xds_server.cells.merge import Merged
from xds_server.cells.plan import Bound
from xds_server.types import Key

_SELF = "south||tunnels"
"""No service has an empty name."""


def lead_through_tunnel(route: Key, settings: Merged, cell: Bound, output: Output) -> None:
    """Make a route go through the gateway's own tunnel, which keeps `denyPrivateAddresses` in its place."""
    host, port = output.streams[route]
    settings.remove(("denyPrivateAddresses",))
    settings.value["tunnel"] = {"host": host, "port": port}
    own = {"ip": {"address": cell.address("south"), "port": cell.bound.ports.south}}
    output.add("Backend", cell.name, _SELF, {"endpoints": [own]}, (cell.item, cell.binding))
    item = output.objects[route]
    document = {**item.document, "spec": {**item.document["spec"], "rules": [{"backendRefs": [backend_ref(_SELF)]}]}}
    output.parse(document, item.source.positions, item.origins)
