"""Who the client is, told by a load balancer in front at the begin of each connection (PROXY protocol).

In: `proxyProtocol` of a ClientTrafficPolicy, or `enableProxyProtocol`, its older form. Out: a listener filter that reads
the header, of either version, before TLS and before a chain is chosen. Without `optional` a connection that does not
begin with it is closed.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from xds_server.envoy_api.envoy.config.listener.v3.listener_components_pb2 import ListenerFilter
from xds_server.envoy_api.envoy.config.listener.v3.listener_pb2 import Listener
from xds_server.envoy_api.envoy.extensions.filters.listener.proxy_protocol.v3.proxy_protocol_pb2 import ProxyProtocol
from xds_server.features.contract import Context, Feature, pack
from xds_server.spec import Bool, Spec


class ClientProxyProtocolSpec(Spec):
    """An empty object demands the header."""

    optional: Bool = False


@dataclass(frozen=True, slots=True)
class ClientProxyProtocol:
    """Whether connections without the header are served, too."""

    optional: bool


class ClientProxyProtocols(Feature[ClientProxyProtocolSpec | bool, ClientProxyProtocol]):
    """`proxyProtocol` and `enableProxyProtocol` of a ClientTrafficPolicy."""

    name = "client_proxy_protocol"
    carriers = (("ClientTrafficPolicy", "proxyProtocol"), ("ClientTrafficPolicy", "enableProxyProtocol"))
    transports = ("http", "tcp")

    def resolve(self, spec: ClientProxyProtocolSpec | bool, context: Context) -> ClientProxyProtocol | None:
        """Nothing can be wrong; `enableProxyProtocol: false` is as if it were not there."""
        if isinstance(spec, bool):
            return ClientProxyProtocol(optional=False) if spec else None
        return ClientProxyProtocol(spec.optional)

    def port_wide(self, value: ClientProxyProtocol) -> Hashable:
        """It is read before anything tells listeners apart."""
        return value

    def listener(self, value: ClientProxyProtocol, listener: Listener) -> None:
        """The first of all listener filters."""
        config = ProxyProtocol(allow_requests_without_proxy_protocol=value.optional)
        name = "envoy.filters.listener.proxy_protocol"
        listener.listener_filters.insert(0, ListenerFilter(name=name, typed_config=pack(config)))

    def no_quic(self, value: ClientProxyProtocol) -> str:
        """QUIC has no such header."""
        return "connections begin with a PROXY header there, and QUIC has none"


CLIENT_PROXY_PROTOCOL = ClientProxyProtocols()
