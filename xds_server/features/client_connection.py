"""How many connections clients may have, how long they live, and what Envoy holds for each.

In: `connection` of a ClientTrafficPolicy. Out: a limit in front of the filters of a chain, limits of the connection
manager, buffers of the port. Without a policy Envoy holds at most 32 KiB in each direction.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from xds_server.envoy_api.envoy.config.core.v3.socket_option_pb2 import SocketOption
from xds_server.envoy_api.envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from xds_server.envoy_api.envoy.config.listener.v3.listener_pb2 import Listener
from xds_server.envoy_api.envoy.extensions.filters.network.connection_limit.v3.connection_limit_pb2 import (
    ConnectionLimit as EnvoyLimit,
)
from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from xds_server.features.contract import Context, Feature, Transport, pack
from xds_server.features.parts.buffers import buffer_sizes
from xds_server.features.parts.values import duration, seconds, uint32
from xds_server.spec import Duration, Quantity, Spec, UInt32
from xds_server.types import Path

_MOST = 2**32 - 1
_SOL_SOCKET, _SO_SNDBUF, _SO_RCVBUF = 1, 7, 8  # Linux
_FILTER = "envoy.filters.network.connection_limit"
_OF_REQUESTS = ("maxConnectionDuration", "maxRequestsPerConnection", "maxStreamDuration")


class ConnectionLimitSpec(Spec):
    """Limits of connections and of the requests on them."""

    value: Annotated[int | None, Field(strict=True, ge=1, le=2**63 - 1)] = None
    close_delay: Duration | None = None
    max_connection_duration: Duration | None = None
    max_requests_per_connection: Annotated[int | None, Field(strict=True, ge=1, le=2**32 - 1)] = None
    max_stream_duration: Duration | None = None


class ClientConnectionSpec(Spec):
    """Connections of clients."""

    connection_limit: ConnectionLimitSpec | None = None
    buffer_limit: Quantity | None = None
    socket_buffer_limit: Quantity | None = None
    max_accept_per_socket_event: UInt32 | None = None


@dataclass(frozen=True, slots=True)
class Socket:
    """What a port gives to each of its connections: bytes, and how many are taken at once (0: all)."""

    buffer: int | None
    system: int | None
    at_once: int | None


@dataclass(frozen=True, slots=True)
class ClientConnection:
    """Limits; None leaves the default. Times are seconds."""

    most: int | None
    delay: float | None
    life: float | None
    requests: int | None
    stream: float | None
    socket: Socket | None


class ClientConnections(Feature[ClientConnectionSpec, ClientConnection]):
    """`connection` of a ClientTrafficPolicy."""

    name = "client_connection"
    carriers = (("ClientTrafficPolicy", "connection"),)
    transports = ("http", "tcp")

    def resolve(self, spec: ClientConnectionSpec, context: Context) -> ClientConnection | None:
        """The limits, or None for those that cannot be."""
        sizes = buffer_sizes(spec, context)
        limit = spec.connection_limit or ConnectionLimitSpec()
        if not _times_fit(limit, context) or sizes is None:
            return None
        socket = Socket(*sizes, spec.max_accept_per_socket_event)
        return ClientConnection(
            limit.value,
            seconds(limit.close_delay),
            seconds(limit.max_connection_duration),
            limit.max_requests_per_connection,
            seconds(limit.max_stream_duration),
            None if socket == Socket(None, None, None) else socket,
        )

    def unfit(self, spec: ClientConnectionSpec, transport: Transport) -> Sequence[Path]:
        """Connections that nobody looks into have no requests."""
        if transport != "tcp":
            return super().unfit(spec, transport)
        limit = spec.connection_limit or ConnectionLimitSpec()
        written = {str(type(limit).model_fields[name].alias) for name in limit.model_fields_set}
        return [("connectionLimit", field) for field in _OF_REQUESTS if field in written]

    def chain(self, value: ClientConnection, manager: HttpConnectionManager) -> None:
        """How long connections and requests live."""
        options = manager.common_http_protocol_options
        if value.life is not None:
            options.max_connection_duration.CopyFrom(duration(value.life))
            # An HTTP/1 client is told before its connection is closed, so that no request of it is lost.
            manager.http1_safe_max_connection_duration = True
        if value.requests is not None:
            options.max_requests_per_connection.CopyFrom(uint32(value.requests))
        if value.stream is not None:
            options.max_stream_duration.CopyFrom(duration(value.stream))

    def filter_chain(self, value: ClientConnection, chain: FilterChain) -> None:
        """The limit comes before everything else."""
        if value.most is None:
            return
        limit = EnvoyLimit(stat_prefix=chain.name)
        limit.max_connections.value = value.most
        if value.delay is not None:
            limit.delay.CopyFrom(duration(value.delay))
        chain.filters.insert(0, Filter(name=_FILTER, typed_config=pack(limit)))

    def port_wide(self, value: ClientConnection) -> Hashable:
        """Buffers and accepting."""
        return value.socket

    def listener(self, value: ClientConnection, listener: Listener) -> None:
        """What the port gives to each connection."""
        socket = value.socket or Socket(None, None, None)
        if socket.buffer is not None:
            listener.per_connection_buffer_limit_bytes.CopyFrom(uint32(socket.buffer))
        if socket.system is not None:
            listener.socket_options.extend(
                SocketOption(level=_SOL_SOCKET, name=name, int_value=socket.system, state=SocketOption.STATE_PREBIND)
                for name in (_SO_SNDBUF, _SO_RCVBUF)
            )
        if socket.at_once is not None:
            listener.max_connections_to_accept_per_socket_event.CopyFrom(uint32(socket.at_once or _MOST))

    def no_quic(self, value: ClientConnection) -> str:
        """Connections over QUIC are made without the filter that counts them."""
        return "connections are limited there, and those over QUIC would not count" if value.most is not None else ""


def _times_fit(limit: ConnectionLimitSpec, context: Context) -> bool:
    times = {"maxConnectionDuration": limit.max_connection_duration, "maxStreamDuration": limit.max_stream_duration}
    bad = [field for field, text in times.items() if seconds(text) == 0]
    for field in bad:
        context.problem("F103", "connectionLimit", field, reason=f"{field} of 0s leaves no time for anything")
    if limit.close_delay is not None and limit.value is None:
        reason = "closeDelay is for connections beyond 'value', which is not there"
        context.problem("F103", "connectionLimit", "closeDelay", reason=reason)
        return False
    return not bad


CLIENT_CONNECTION = ClientConnections()
