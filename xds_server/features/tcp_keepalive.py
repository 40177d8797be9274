"""Probes on connections to backends that are silent, so that dead ones are noticed and middleboxes keep them.

In: `tcpKeepalive` of a BackendTrafficPolicy. Out: the socket options of the cluster's connections.
"""

from __future__ import annotations

from xds_server.features.contract import ClusterParts, Context, Feature
from xds_server.features.parts.keepalive import TcpKeepalive, TcpKeepaliveSpec, fill_keepalive, resolve_keepalive


class TcpKeepalives(Feature[TcpKeepaliveSpec, TcpKeepalive]):
    """`tcpKeepalive` of a BackendTrafficPolicy."""

    name = "tcp_keepalive"
    carriers = (("BackendTrafficPolicy", "tcpKeepalive"),)
    transports = ("http", "tcp")

    def resolve(self, spec: TcpKeepaliveSpec, context: Context) -> TcpKeepalive | None:
        """The probes."""
        return resolve_keepalive(spec, context)

    def touches_cluster(self, value: TcpKeepalive) -> bool:
        """Connections belong to clusters."""
        return True

    def cluster(self, value: TcpKeepalive, parts: ClusterParts) -> None:
        """Socket options of every connection."""
        fill_keepalive(parts.cluster.upstream_connection_options.tcp_keepalive, value)


TCP_KEEPALIVE = TcpKeepalives()
