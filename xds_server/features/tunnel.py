"""Connections through a proxy: a tunnel (HTTP CONNECT) to where they shall go in the end.

In: `tunnel` of a BackendTrafficPolicy (Cellway's own field) on a TCPRoute or a TLSRoute whose backend is a proxy. Out: the
route's connections go through it, each as a CONNECT of its own. If the proxy refuses, the connection is closed.
"""

from __future__ import annotations

from dataclasses import dataclass

from xds_server.envoy_api.envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from xds_server.features.contract import Context, Feature
from xds_server.spec import Port, PreciseHostname, Spec


class TunnelSpec(Spec):
    """What the proxy is asked for."""

    host: PreciseHostname
    port: Port


@dataclass(frozen=True, slots=True)
class Tunnel:
    """`HOST:PORT`."""

    target: str


class TunnelFeature(Feature[TunnelSpec, Tunnel]):
    """`tunnel` of a BackendTrafficPolicy."""

    name = "tunnel"
    carriers = (("BackendTrafficPolicy", "tunnel"),)
    transports = ("tcp",)

    def resolve(self, spec: TunnelSpec, context: Context) -> Tunnel | None:
        """Nothing can be wrong."""
        return Tunnel(f"{spec.host}:{spec.port}")

    def tcp(self, value: Tunnel, proxy: TcpProxy) -> None:
        """Asks the proxy."""
        proxy.tunneling_config.hostname = value.target


TUNNEL = TunnelFeature()
