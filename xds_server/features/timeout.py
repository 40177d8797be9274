"""Timeouts towards backends.

In: `timeout` of a BackendTrafficPolicy. Out: `requestTimeout`, `maxStreamDuration` and `streamIdleTimeout` on the
route; `connectTimeout`, `connectionIdleTimeout` and `maxConnectionDuration` on the route's clusters. `0s` means none.
Without any, a request has 15s (Envoy's default). `timeouts` of the HTTPRoute rule beat `requestTimeout`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route
from xds_server.features.contract import ClusterParts, Context, Feature, Transport
from xds_server.features.parts.values import duration, seconds
from xds_server.spec import Duration, Spec
from xds_server.types import Path


class TcpTimeoutSpec(Spec):
    """Connecting, including the TLS handshake."""

    connect_timeout: Duration | None = None


class HttpTimeoutSpec(Spec):
    """Connections to backends, and requests on them."""

    connection_idle_timeout: Duration | None = None
    max_connection_duration: Duration | None = None
    request_timeout: Duration | None = None
    max_stream_duration: Duration | None = None
    stream_idle_timeout: Duration | None = None


class TimeoutSpec(Spec):
    """How long to wait for backends."""

    tcp: TcpTimeoutSpec = TcpTimeoutSpec()
    http: HttpTimeoutSpec = HttpTimeoutSpec()


@dataclass(frozen=True, slots=True)
class Timeout:
    """All in seconds; None leaves the default, 0 means no limit."""

    connect: float | None = None
    idle_connection: float | None = None
    connection: float | None = None
    request: float | None = None
    stream: float | None = None
    idle_stream: float | None = None


class Timeouts(Feature[TimeoutSpec, Timeout]):
    """`timeout` of a BackendTrafficPolicy."""

    name = "timeout"
    carriers = (("BackendTrafficPolicy", "timeout"),)
    transports = ("http", "tcp")

    def resolve(self, spec: TimeoutSpec, context: Context) -> Timeout | None:
        """The timeouts. A connection cannot be made in no time, so `connectTimeout: 0s` is refused."""
        connect = seconds(spec.tcp.connect_timeout)
        if connect == 0:
            context.problem("F103", "tcp", "connectTimeout", reason="a connection needs some time, 0s is not enough")
            return None
        return Timeout(
            connect,
            seconds(spec.http.connection_idle_timeout),
            seconds(spec.http.max_connection_duration),
            seconds(spec.http.request_timeout),
            seconds(spec.http.max_stream_duration),
            seconds(spec.http.stream_idle_timeout),
        )

    def route(self, value: Timeout, route: Route) -> None:
        """What a route that forwards waits for."""
        if not route.HasField("route"):
            return
        if value.request is not None:
            route.route.timeout.CopyFrom(duration(value.request))
        if value.stream is not None:
            route.route.max_stream_duration.max_stream_duration.CopyFrom(duration(value.stream))
        if value.idle_stream is not None:
            route.route.idle_timeout.CopyFrom(duration(value.idle_stream))

    def unfit(self, spec: TimeoutSpec, transport: Transport) -> Sequence[Path]:
        """Connections know no requests; datagrams no connections either."""
        if transport == "tcp":
            return [("http",)] if "http" in spec.model_fields_set else []
        return super().unfit(spec, transport)

    def touches_cluster(self, value: Timeout) -> bool:
        """Connections belong to clusters."""
        return any(part is not None for part in (value.connect, value.idle_connection, value.connection))

    def cluster(self, value: Timeout, parts: ClusterParts) -> None:
        """Connections to the backend."""
        if value.connect is not None:
            parts.cluster.connect_timeout.CopyFrom(duration(value.connect))
        if value.idle_connection is not None:
            parts.http.common_http_protocol_options.idle_timeout.CopyFrom(duration(value.idle_connection))
        if value.connection:
            parts.http.common_http_protocol_options.max_connection_duration.CopyFrom(duration(value.connection))


TIMEOUT = Timeouts()
