"""`backendSettings`: how a service is connected to that filters call, such as an authorisation service.

In: the fields of a BackendTrafficPolicy that are about clusters. What belongs to routes is refused: no route leads there.
"""

from __future__ import annotations

from xds_server.diagnostics import Path
from xds_server.features.backend_proxy_protocol import BackendProxyProtocolSpec
from xds_server.features.circuit_breaker import CircuitBreakerSpec
from xds_server.features.connection import ConnectionSpec
from xds_server.features.dns import DnsSpec
from xds_server.features.health import HealthCheckSpec
from xds_server.features.load_balancer import LoadBalancerSpec
from xds_server.features.parts.http2_settings import Http2SettingsSpec
from xds_server.features.parts.keepalive import TcpKeepaliveSpec
from xds_server.features.retry import RetrySpec
from xds_server.features.timeout import TimeoutSpec
from xds_server.spec import Spec

_OF_REQUESTS = ("requestTimeout", "maxStreamDuration", "streamIdleTimeout")


class BackendSettingsSpec(Spec):
    """Connections to a service."""

    load_balancer: LoadBalancerSpec | None = None
    retry: RetrySpec | None = None
    proxy_protocol: BackendProxyProtocolSpec | None = None
    tcp_keepalive: TcpKeepaliveSpec | None = None
    health_check: HealthCheckSpec | None = None
    circuit_breaker: CircuitBreakerSpec | None = None
    timeout: TimeoutSpec | None = None
    connection: ConnectionSpec | None = None
    dns: DnsSpec | None = None
    http2: Http2SettingsSpec | None = None

    def unfit(self) -> tuple[tuple[Path, str], ...]:
        """What is set and does nothing for the calls of a filter, with the reason."""
        found: list[tuple[Path, str]] = []
        if self.retry is not None:
            found.append((("retry",), "calls of the gateway's own are not repeated"))
        requests = self.timeout.http.model_dump(by_alias=True, exclude_none=True) if self.timeout else {}
        reason = "this is said of requests, and the calls of a filter are none"
        found += [(("timeout", "http", place), reason) for place in _OF_REQUESTS if place in requests]
        if self.load_balancer is not None and self.load_balancer.type == "ConsistentHash":
            found.append((("loadBalancer", "type"), "the gateway's own calls have nothing to hash"))
        if self.load_balancer is not None and self.load_balancer.endpoint_override is not None:
            found.append((("loadBalancer", "endpointOverride"), "the gateway's own calls name no endpoint"))
        return tuple(found)
