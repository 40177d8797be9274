"""Chains that are served over QUIC -> a UDP listener for HTTP/3 beside the TCP listener of their port.

In: a `graph.Port` and the features. Out: the listener, or none. Both listeners share route tables and certificates.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from xds_server.envoy_api.envoy.config.core.v3.base_pb2 import TransportSocket
from xds_server.envoy_api.envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from xds_server.envoy_api.envoy.config.listener.v3.listener_pb2 import Listener
from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from xds_server.envoy_api.envoy.extensions.transport_sockets.quic.v3.quic_transport_pb2 import QuicDownstreamTransport
from xds_server.features.contract import AnyFeature, pack
from xds_server.features.parts.values import uint32
from xds_server.graph import HttpChain, Port
from xds_server.translate.believed import by_belief
from xds_server.translate.endpoints import address
from xds_server.translate.listeners import connection_manager, listener_needs, listener_origins
from xds_server.translate.message import Translated
from xds_server.translate.tls import downstream_context

_STREAMS = 100
_STREAM_WINDOW = 64 * 1024
_CONNECTION_WINDOW = 1024 * 1024


def translate_quic(port: Port, features: Sequence[AnyFeature], clusters: AbstractSet[str]) -> Translated | None:
    """The UDP listener of a port, if one of its chains is served over QUIC."""
    chains = [one for one in port.http_chains if one.quic]
    if not chains:
        return None
    listener = Listener(name=f"{port.name}/quic", address=address(port.addresses[0], port.port, "udp"))
    for more in port.addresses[1:]:
        listener.additional_addresses.add(address=address(more, port.port, "udp"))
    options = listener.udp_listener_config.quic_options.quic_protocol_options
    options.max_concurrent_streams.CopyFrom(uint32(_STREAMS))
    options.initial_stream_window_size.CopyFrom(uint32(_STREAM_WINDOW))
    options.initial_connection_window_size.CopyFrom(uint32(_CONNECTION_WINDOW))
    for chain in chains:
        found = by_belief(chain, features)
        listener.filter_chains.extend(one.mark(_filter_chain(one.chain, features)) for one in found)
    needs = listener_needs(chains, features, clusters)
    return Translated(listener.name, listener, listener_origins(chains, features), needs, ttl=port.ttl)


def _filter_chain(chain: HttpChain, features: Sequence[AnyFeature]) -> FilterChain:
    manager = connection_manager(chain, features)
    manager.codec_type = HttpConnectionManager.HTTP3
    manager.stat_prefix = f"{chain.name}/quic"
    manager.http3_protocol_options.SetInParent()
    built = FilterChain(name=chain.name)
    built.filters.append(Filter(name="envoy.filters.network.http_connection_manager", typed_config=pack(manager)))
    built.filter_chain_match.server_names.extend(chain.server_names)
    transport = QuicDownstreamTransport(downstream_tls_context=downstream_context(chain, ("h3",), features))
    built.transport_socket.CopyFrom(TransportSocket(name="envoy.transport_sockets.quic", typed_config=pack(transport)))
    return built
