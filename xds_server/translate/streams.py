"""Stream chains -> Envoy's TCP and UDP proxies.

In: a `graph.StreamChain`, the features, and the clusters that exist. Out: the filter that forwards. A destination
without a cluster is left out. A chain without any sends to a cluster that does not exist: Envoy then closes the
connection, or drops the datagram.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from xds_server.envoy_api.envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain, ListenerFilter
from xds_server.envoy_api.envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from xds_server.envoy_api.envoy.extensions.filters.udp.udp_proxy.v3.route_pb2 import Route
from xds_server.envoy_api.envoy.extensions.filters.udp.udp_proxy.v3.udp_proxy_pb2 import UdpProxyConfig
from xds_server.features.contract import AnyFeature, pack
from xds_server.features.parts.values import duration, uint32
from xds_server.graph import Destination, StreamChain
from xds_server.translate.actions import MISSING

_IDLE_CONNECTION = 3600.0
_IDLE_SESSION = 60.0


def by_source(built: FilterChain, chain: StreamChain, features: Sequence[AnyFeature]) -> list[FilterChain]:
    """The chain, and where some addresses are refused, a second one that closes their connections."""
    settings = (*chain.settings, *chain.route.settings)
    found = [feature.sources(one.value) for feature in features for one in settings if one.feature == feature.name]
    chains = [built]
    for sources in [one for one in found if one is not None and one.refused]:
        closed = FilterChain(name=f"{chain.name}/refused", filter_chain_match=built.filter_chain_match)
        proxy = TcpProxy(stat_prefix=closed.name, cluster=MISSING)
        closed.filters.append(Filter(name="envoy.filters.network.tcp_proxy", typed_config=pack(proxy)))
        for one, ranges in ((built, sources.allowed), (closed, sources.refused)):
            for first, length in ranges:
                one.filter_chain_match.source_prefix_ranges.add(address_prefix=first, prefix_len=uint32(length))
        chains = [closed, *([built] if sources.allowed else [])]
    return chains


def tcp_chain(chain: StreamChain, features: Sequence[AnyFeature], clusters: AbstractSet[str]) -> FilterChain:
    """A filter chain without its match and its TLS."""
    proxy = TcpProxy(stat_prefix=chain.name)
    proxy.idle_timeout.CopyFrom(duration(_IDLE_CONNECTION))
    shares = live_shares(chain, clusters)
    if len(shares) > 1:
        for share in shares:
            proxy.weighted_clusters.clusters.add(name=share.cluster, weight=share.weight)
    else:
        proxy.cluster = shares[0].cluster if shares else MISSING
    for feature in features:
        for setting in (*chain.settings, *chain.route.settings):
            if setting.feature == feature.name:
                feature.tcp(setting.value, proxy)
    built = FilterChain(name=chain.name)
    built.filters.append(Filter(name="envoy.filters.network.tcp_proxy", typed_config=pack(proxy)))
    return built


def udp_filter(chain: StreamChain, features: Sequence[AnyFeature], clusters: AbstractSet[str]) -> ListenerFilter:
    """The listener filter of a UDP port. A session is a client's address and port; it stays with one endpoint."""
    proxy = UdpProxyConfig(stat_prefix=chain.name)
    proxy.idle_timeout.CopyFrom(duration(_IDLE_SESSION))
    shares = live_shares(chain, clusters)
    action = proxy.matcher.on_no_match.action
    action.name = "route"
    action.typed_config.CopyFrom(pack(Route(cluster=shares[0].cluster if shares else MISSING)))
    for feature in features:
        for setting in (*chain.settings, *chain.route.settings):
            if setting.feature == feature.name:
                feature.udp(setting.value, proxy)
    return ListenerFilter(name="envoy.filters.udp_listener.udp_proxy", typed_config=pack(proxy))


def live_shares(chain: StreamChain, clusters: AbstractSet[str]) -> list[Destination]:
    """The destinations that get anything."""
    return [share for share in chain.route.destinations if share.weight > 0 and share.cluster in clusters]
