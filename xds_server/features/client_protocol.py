"""Backends that are spoken to as the client speaks: HTTP/2 for requests that came so, else HTTP/1.1.

In: `useClientProtocol` of a BackendTrafficPolicy. Out: the protocol options of the route's clusters, in place of what
`appProtocol` says; over TLS the protocol is offered accordingly.
"""

from __future__ import annotations

from dataclasses import dataclass

from xds_server.envoy_api.envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from xds_server.envoy_api.envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from xds_server.features.contract import ClusterParts, Context, Feature, pack
from xds_server.features.parts.values import uint32

_STREAM_WINDOW = 64 * 1024
_CONNECTION_WINDOW = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ClientProtocol:
    """There is nothing to say but that it is so."""


class ClientProtocols(Feature[bool, ClientProtocol]):
    """`useClientProtocol` of a BackendTrafficPolicy."""

    name = "client_protocol"
    carriers = (("BackendTrafficPolicy", "useClientProtocol"),)

    def resolve(self, spec: bool, context: Context) -> ClientProtocol | None:
        """Nothing can be wrong; False is as if it were not there."""
        return ClientProtocol() if spec else None

    def touches_cluster(self, value: ClientProtocol) -> bool:
        """Protocols belong to clusters."""
        return True

    def cluster(self, value: ClientProtocol, parts: ClusterParts) -> None:
        """Either protocol, whichever the client uses."""
        both = HttpProtocolOptions.UseDownstreamHttpConfig()
        both.http_protocol_options.SetInParent()
        both.http2_protocol_options.initial_stream_window_size.CopyFrom(uint32(_STREAM_WINDOW))
        both.http2_protocol_options.initial_connection_window_size.CopyFrom(uint32(_CONNECTION_WINDOW))
        parts.http.use_downstream_protocol_config.CopyFrom(both)
        context = UpstreamTlsContext()
        if parts.cluster.transport_socket.typed_config.Unpack(context):
            # What stands here would be offered to the backend, whichever protocol is spoken then.
            context.common_tls_context.ClearField("alpn_protocols")
            parts.cluster.transport_socket.typed_config.CopyFrom(pack(context))


CLIENT_PROTOCOL = ClientProtocols()
