"""Buffers of connections to backends, and connections that are made ahead of requests.

In: `connection` of a BackendTrafficPolicy. Out: buffer limit, socket options and preconnect policy of the route's clusters.
Without a policy Envoy holds at most 32 KiB a connection and the system chooses its own buffers. Refused: an empty
buffer, for Envoy takes that as no limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from xds_server.envoy_api.envoy.config.core.v3.socket_option_pb2 import SocketOption
from xds_server.features.contract import ClusterParts, Context, Feature
from xds_server.features.parts.buffers import buffer_sizes
from xds_server.features.parts.values import uint32
from xds_server.spec import Quantity, Spec

_SOL_SOCKET, _SO_SNDBUF, _SO_RCVBUF = 1, 7, 8  # Linux

Ratio = Annotated[int, Field(strict=True, ge=100, le=300)]


class PreconnectSpec(Spec):
    """Connections as a percentage of those that are needed: 100 is none ahead."""

    per_endpoint_percent: Ratio | None = None
    predictive_percent: Ratio | None = None


class ConnectionSpec(Spec):
    """Connections to backends."""

    buffer_limit: Quantity | None = None
    socket_buffer_limit: Quantity | None = None
    preconnect: PreconnectSpec | None = None


@dataclass(frozen=True, slots=True)
class Connection:
    """Bytes and percentages; None leaves the default."""

    buffer: int | None
    socket: int | None
    ahead: int | None
    predicted: int | None


class Connections(Feature[ConnectionSpec, Connection]):
    """`connection` of a BackendTrafficPolicy."""

    name = "connection"
    carriers = (("BackendTrafficPolicy", "connection"),)
    transports = ("http", "tcp")

    def resolve(self, spec: ConnectionSpec, context: Context) -> Connection | None:
        """The settings, or None for sizes that cannot be."""
        sizes = buffer_sizes(spec, context)
        if sizes is None:
            return None
        ahead = spec.preconnect or PreconnectSpec()
        buffer, socket = sizes
        return Connection(buffer, socket, ahead.per_endpoint_percent, ahead.predictive_percent)

    def touches_cluster(self, value: Connection) -> bool:
        """Connections belong to clusters."""
        return True

    def cluster(self, value: Connection, parts: ClusterParts) -> None:
        """Limits and connections ahead."""
        if value.buffer is not None:
            parts.cluster.per_connection_buffer_limit_bytes.CopyFrom(uint32(value.buffer))
        if value.socket is not None:
            parts.cluster.upstream_bind_config.socket_options.extend(
                SocketOption(level=_SOL_SOCKET, name=name, int_value=value.socket, state=SocketOption.STATE_PREBIND)
                for name in (_SO_SNDBUF, _SO_RCVBUF)
            )
        if value.ahead is not None:
            parts.cluster.preconnect_policy.per_upstream_preconnect_ratio.value = value.ahead / 100
        if value.predicted is not None:
            parts.cluster.preconnect_policy.predictive_preconnect_ratio.value = value.predicted / 100


CONNECTION = Connections()
