"""Who the client is, told to backends by the PROXY protocol.

In: `proxyProtocol` of a BackendTrafficPolicy. Out: a transport socket around that of the route's clusters, which begins
every connection with the client's address (inside TLS come the requests, outside of it this). A backend that does not
expect it cannot read the requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from xds_server.envoy_api.envoy.config.core.v3.base_pb2 import TransportSocket
from xds_server.envoy_api.envoy.config.core.v3.proxy_protocol_pb2 import ProxyProtocolConfig
from xds_server.envoy_api.envoy.extensions.transport_sockets.proxy_protocol.v3.upstream_proxy_protocol_pb2 import (
    ProxyProtocolUpstreamTransport,
)
from xds_server.envoy_api.envoy.extensions.transport_sockets.raw_buffer.v3.raw_buffer_pb2 import RawBuffer
from xds_server.features.contract import ClusterParts, Context, Feature, pack
from xds_server.spec import Spec


class BackendProxyProtocolSpec(Spec):
    """V1 is a line of text, V2 is binary."""

    version: Literal["V1", "V2"]


@dataclass(frozen=True, slots=True)
class BackendProxyProtocol:
    """The version of the protocol."""

    version: str


class BackendProxyProtocols(Feature[BackendProxyProtocolSpec, BackendProxyProtocol]):
    """`proxyProtocol` of a BackendTrafficPolicy."""

    name = "backend_proxy_protocol"
    carriers = (("BackendTrafficPolicy", "proxyProtocol"),)
    transports = ("http", "tcp")

    def resolve(self, spec: BackendProxyProtocolSpec, context: Context) -> BackendProxyProtocol:
        """Nothing can be wrong."""
        return BackendProxyProtocol(spec.version)

    def touches_cluster(self, value: BackendProxyProtocol) -> bool:
        """Connections belong to clusters."""
        return True

    def cluster(self, value: BackendProxyProtocol, parts: ClusterParts) -> None:
        """Wraps the socket that is there."""
        inner = TransportSocket(name="envoy.transport_sockets.raw_buffer", typed_config=pack(RawBuffer()))
        if parts.cluster.HasField("transport_socket"):
            inner.CopyFrom(parts.cluster.transport_socket)
        config = ProxyProtocolConfig(version=value.version)
        outer = ProxyProtocolUpstreamTransport(config=config, transport_socket=inner)
        parts.cluster.transport_socket.name = "envoy.transport_sockets.upstream_proxy_protocol"
        parts.cluster.transport_socket.typed_config.CopyFrom(pack(outer))


BACKEND_PROXY_PROTOCOL = BackendProxyProtocols()
