"""The cache of names that clients choose, as the filter that looks them up and the cluster that connects share it.

In: which private addresses may be connected to after all. Out: Envoy's configuration of the cache. Every answer is cleaned
of the addresses inside before it is used; a name that leads only there leads nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network

from xds_server.envoy_api.envoy.config.cluster.v3.cluster_pb2 import Cluster
from xds_server.envoy_api.envoy.extensions.common.dynamic_forward_proxy.v3.dns_cache_pb2 import DnsCacheConfig
from xds_server.features.parts.inside import INSIDE
from xds_server.features.parts.values import content_name, duration, uint32

CLUSTER_TYPE = "envoy.clusters.dynamic_forward_proxy"
FILTER = "envoy.filters.http.dynamic_forward_proxy"
_LOOKUP = 5.0
_HOSTS = 1024
Network = IPv4Network | IPv6Network


def looks_up(cluster: Cluster) -> bool:
    """Whether the endpoints of a cluster are what its requests name."""
    return cluster.cluster_type.name == CLUSTER_TYPE


def cache_name(allowed: tuple[str, ...]) -> str:
    """A name that follows the configuration: Envoy wants equal ones to be equal."""
    return content_name("cellway.names", allowed)


def cache_config(allowed: tuple[str, ...]) -> DnsCacheConfig:
    """The cache, which holds so many names and drops the addresses inside that are not in `allowed` (ranges)."""
    config = DnsCacheConfig(
        name=cache_name(allowed),
        dns_lookup_family=Cluster.V4_PREFERRED,
        dns_query_timeout=duration(_LOOKUP),
        max_hosts=uint32(_HOSTS),
    )
    for network in _without(INSIDE, allowed):
        prefix = config.resolved_address_filter.ranges.add(address_prefix=str(network.network_address))
        prefix.prefix_len.CopyFrom(uint32(network.prefixlen))
    return config


def _without(ranges: Iterable[str], allowed: Iterable[str]) -> list[Network]:
    """The ranges, with the allowed ones cut out."""
    found: list[Network] = [ip_network(text) for text in ranges]
    for hole in (ip_network(text) for text in allowed):
        found = [part for one in found for part in _cut(one, hole)]
    return found


def _cut(network: Network, hole: Network) -> list[Network]:
    if isinstance(network, IPv4Network) and isinstance(hole, IPv4Network):
        if network.subnet_of(hole):
            return []
        return sorted(network.address_exclude(hole)) if hole.subnet_of(network) else [network]
    if isinstance(network, IPv6Network) and isinstance(hole, IPv6Network):
        if network.subnet_of(hole):
            return []
        return sorted(network.address_exclude(hole)) if hole.subnet_of(network) else [network]
    return [network]
