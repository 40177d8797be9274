"""Ports that answer DNS -> Envoy's DNS filter.

In: a `graph.Port` with `names`. Out: the listener filter. The names lead to the port's own addresses; any other name does
not exist (NXDOMAIN), and nobody is asked about it.
"""

from __future__ import annotations

from xds_server.envoy_api.envoy.config.listener.v3.listener_components_pb2 import ListenerFilter
from xds_server.envoy_api.envoy.extensions.filters.udp.dns_filter.v3.dns_filter_pb2 import DnsFilterConfig
from xds_server.features.contract import pack
from xds_server.features.parts.values import duration
from xds_server.graph import Port

_LIFETIME = 30.0


def names_filter(port: Port) -> ListenerFilter:
    """The filter of a UDP port that answers DNS."""
    config = DnsFilterConfig(stat_prefix=port.name, case_insensitive=True)
    table = config.server_config.inline_dns_table
    for name in port.names or ():
        domain = table.virtual_domains.add(name=name, answer_ttl=duration(_LIFETIME))
        domain.endpoint.address_list.address.extend(port.addresses)
    return ListenerFilter(name="envoy.filters.udp.dns_filter", typed_config=pack(config))
