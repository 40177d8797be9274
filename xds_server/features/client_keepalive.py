"""Probes on connections of clients that are silent, so that those of clients that vanished are closed.

In: `tcpKeepalive` of a ClientTrafficPolicy. Out: the socket options of the connections of a port.
"""

from __future__ import annotations

from collections.abc import Hashable

from xds_server.envoy_api.envoy.config.listener.v3.listener_pb2 import Listener
from xds_server.features.contract import Context, Feature
from xds_server.features.parts.keepalive import TcpKeepalive, TcpKeepaliveSpec, fill_keepalive, resolve_keepalive


class ClientKeepalives(Feature[TcpKeepaliveSpec, TcpKeepalive]):
    """`tcpKeepalive` of a ClientTrafficPolicy."""

    name = "client_keepalive"
    carriers = (("ClientTrafficPolicy", "tcpKeepalive"),)
    transports = ("http", "tcp")

    def resolve(self, spec: TcpKeepaliveSpec, context: Context) -> TcpKeepalive | None:
        """The probes."""
        return resolve_keepalive(spec, context)

    def port_wide(self, value: TcpKeepalive) -> Hashable:
        """All of it: the socket of the port hands it down to its connections."""
        return value

    def listener(self, value: TcpKeepalive, listener: Listener) -> None:
        """Socket options of every connection."""
        fill_keepalive(listener.tcp_keepalive, value)


CLIENT_KEEPALIVE = ClientKeepalives()
