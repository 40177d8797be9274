"""How long clients may take: for TLS, for a request, between two of them, for bytes of a connection.

In: `timeout` of a ClientTrafficPolicy. Out: limits of the connection manager, of TCP proxies, and of TLS. Those that
are not set stay as safe as they are without a policy. A time of 0s switches a limit off.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from xds_server.envoy_api.envoy.config.listener.v3.listener_components_pb2 import FilterChain
from xds_server.envoy_api.envoy.config.listener.v3.listener_pb2 import Listener
from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from xds_server.envoy_api.envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from xds_server.features.contract import Context, Feature, Transport
from xds_server.features.parts.values import duration, seconds
from xds_server.spec import Duration, Spec
from xds_server.types import Path


class ClientTcpTimeoutSpec(Spec):
    """Of connections."""

    idle_timeout: Duration | None = None
    tls_handshake_timeout: Duration | None = None
    connection_inspection_timeout: Duration | None = None


class ClientHttpTimeoutSpec(Spec):
    """Of requests, and of connections that carry them."""

    request_received_timeout: Duration | None = None
    request_headers_received_timeout: Duration | None = None
    idle_timeout: Duration | None = None
    stream_idle_timeout: Duration | None = None


class ClientTimeoutSpec(Spec):
    """Times that clients have."""

    tcp: ClientTcpTimeoutSpec | None = None
    http: ClientHttpTimeoutSpec | None = None


@dataclass(frozen=True, slots=True)
class ClientTimeout:
    """Seconds; None leaves the default, 0 is no limit."""

    stream: float | None
    handshake: float | None
    inspection: float | None
    request: float | None
    request_headers: float | None
    connection: float | None
    stream_idle: float | None


class ClientTimeouts(Feature[ClientTimeoutSpec, ClientTimeout]):
    """`timeout` of a ClientTrafficPolicy."""

    name = "client_timeout"
    carriers = (("ClientTrafficPolicy", "timeout"),)
    transports = ("http", "tcp")

    def resolve(self, spec: ClientTimeoutSpec, context: Context) -> ClientTimeout:
        """The times."""
        tcp, http = spec.tcp or ClientTcpTimeoutSpec(), spec.http or ClientHttpTimeoutSpec()
        return ClientTimeout(
            seconds(tcp.idle_timeout),
            seconds(tcp.tls_handshake_timeout),
            seconds(tcp.connection_inspection_timeout),
            seconds(http.request_received_timeout),
            seconds(http.request_headers_received_timeout),
            seconds(http.idle_timeout),
            seconds(http.stream_idle_timeout),
        )

    def unfit(self, spec: ClientTimeoutSpec, transport: Transport) -> Sequence[Path]:
        """Connections that nobody looks into have no requests; the others are idle by the rules of requests."""
        if transport == "tcp":
            return [("http",)] if spec.http is not None else []
        if transport == "http":
            return [("tcp", "idleTimeout")] if spec.tcp is not None and spec.tcp.idle_timeout is not None else []
        return super().unfit(spec, transport)

    def chain(self, value: ClientTimeout, manager: HttpConnectionManager) -> None:
        """Requests and the connections that carry them."""
        if value.request is not None:
            manager.request_timeout.CopyFrom(duration(value.request))
        if value.request_headers is not None:
            manager.request_headers_timeout.CopyFrom(duration(value.request_headers))
        if value.connection is not None:
            manager.common_http_protocol_options.idle_timeout.CopyFrom(duration(value.connection))
        if value.stream_idle is not None:
            manager.stream_idle_timeout.CopyFrom(duration(value.stream_idle))

    def tcp(self, value: ClientTimeout, proxy: TcpProxy) -> None:
        """Connections without bytes."""
        if value.stream is not None:
            proxy.idle_timeout.CopyFrom(duration(value.stream))

    def filter_chain(self, value: ClientTimeout, chain: FilterChain) -> None:
        """TLS, where it ends here."""
        if value.handshake is not None and chain.HasField("transport_socket"):
            chain.transport_socket_connect_timeout.CopyFrom(duration(value.handshake))

    def port_wide(self, value: ClientTimeout) -> Hashable:
        """A chain is chosen after the inspection."""
        return value.inspection

    def listener(self, value: ClientTimeout, listener: Listener) -> None:
        """The first bytes, from which the server name (SNI) or the client's address is read."""
        listener.listener_filters_timeout.CopyFrom(duration(value.inspection or 0.0))


CLIENT_TIMEOUT = ClientTimeouts()
