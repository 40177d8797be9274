"""Endpoints that fail are left out: those that probes find (active), and those that answer with errors (passive).

In: `healthCheck` of a BackendTrafficPolicy. Out: health checks, outlier detection and the panic threshold of the
route's clusters. Only the rules that are written count: Envoy's statistical ejection stays off. With Envoy's panic
threshold of 50 % a backend with one endpoint is never cut off; `panicThreshold: 0` makes it so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from xds_server.envoy_api.envoy.config.cluster.v3.outlier_detection_pb2 import OutlierDetection
from xds_server.envoy_api.envoy.config.endpoint.v3.endpoint_components_pb2 import Endpoint
from xds_server.envoy_api.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from xds_server.features.contract import ClusterParts, Context, Feature, Transport
from xds_server.features.parts.name_cache import looks_up
from xds_server.features.parts.probes import (
    ActiveHealthCheckSpec,
    GrpcProbe,
    HttpProbe,
    Probe,
    health_check,
    resolve_probe,
)
from xds_server.features.parts.values import duration, seconds, uint32
from xds_server.spec import Bool, Duration, Spec, UInt32
from xds_server.types import Path

Percent = Annotated[int, Field(strict=True, ge=0, le=100)]


class PassiveHealthCheckSpec(Spec):
    """When an endpoint is left out, and for how long: `baseEjectionTime` times how often it was left out before."""

    split_external_local_origin_errors: Bool = False
    interval: Duration = "3s"
    consecutive_local_origin_failures: UInt32 = 5
    consecutive_gateway_errors: UInt32 | None = None
    consecutive5xx_errors: Annotated[UInt32, Field(alias="consecutive5XxErrors")] = 5
    base_ejection_time: Duration = "30s"
    max_ejection_percent: Percent = 10
    failure_percentage_threshold: Percent | None = None
    always_eject_one_endpoint: Bool = False


class HealthCheckSpec(Spec):
    """Checks, and the share of healthy endpoints below which health is ignored (0: never ignored)."""

    active: ActiveHealthCheckSpec | None = None
    passive: PassiveHealthCheckSpec | None = None
    panic_threshold: Percent | None = None


@dataclass(frozen=True, slots=True)
class Passive:
    """Thresholds (0: off) and times in seconds."""

    split: bool
    interval: float
    local: int
    gateway: int
    errors: int
    ejection: float
    share: int
    percentage: int | None
    always_one: bool


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """What makes an endpoint unhealthy; None leaves Envoy's default."""

    passive: Passive | None
    panic: int | None
    active: Probe | None = None


class HealthChecks(Feature[HealthCheckSpec, HealthCheck]):
    """`healthCheck` of a BackendTrafficPolicy."""

    name = "health"
    carriers = (("BackendTrafficPolicy", "healthCheck"),)
    transports = ("http", "tcp", "udp")

    def resolve(self, spec: HealthCheckSpec, context: Context) -> HealthCheck | None:
        """The checks, or None if a part of them cannot be."""
        active = resolve_probe(spec.active, context, "active") if spec.active is not None else None
        passive = _passive(spec.passive, context) if spec.passive is not None else None
        if (spec.active is not None and active is None) or (spec.passive is not None and passive is None):
            return None
        return HealthCheck(passive, spec.panic_threshold, active)

    def unfit(self, spec: HealthCheckSpec, transport: Transport) -> Sequence[Path]:
        """A connection that cannot be made is a failure; of datagrams nobody knows whether they arrive."""
        if transport == "udp":
            return [(field,) for field in ("active", "passive") if getattr(spec, field) is not None]
        grpc = transport == "tcp" and spec.active is not None and spec.active.type == "GRPC"
        return [("active", "type")] if grpc else []

    def touches_cluster(self, value: HealthCheck) -> bool:
        """Health belongs to clusters."""
        return True

    def cluster(self, value: HealthCheck, parts: ClusterParts) -> None:
        """Probes, outlier detection and panic threshold."""
        if value.active is not None:
            parts.cluster.health_checks.append(health_check(value.active, http2=_speaks_http2(parts)))
        if value.panic is not None:
            parts.cluster.common_lb_config.healthy_panic_threshold.value = value.panic
        if value.passive is not None:
            parts.cluster.outlier_detection.CopyFrom(_outliers(value.passive))

    def cluster_problem(self, value: HealthCheck, parts: ClusterParts) -> str:
        """The health protocol of gRPC needs HTTP/2, and probes need endpoints that are known before a request comes."""
        if value.active is not None and looks_up(parts.cluster):
            return "healthCheck.active does nothing for a DynamicResolver"
        if value.active is None or not isinstance(value.active.way, GrpcProbe) or _speaks_http2(parts):
            return ""
        return "a health check of type GRPC needs a backend that speaks HTTP/2 (appProtocol kubernetes.io/h2c)"

    def endpoints(self, value: HealthCheck, assignment: ClusterLoadAssignment) -> None:
        """Where probes of each endpoint go, and by which name they ask."""
        if value.active is None:
            return
        named = isinstance(value.active.way, HttpProbe) and not value.active.way.hostname
        for locality in assignment.endpoints:
            for one in locality.lb_endpoints:
                if value.active.port:
                    one.endpoint.health_check_config.port_value = value.active.port
                if named:
                    one.endpoint.health_check_config.hostname = one.endpoint.hostname or _host(one.endpoint)


def _speaks_http2(parts: ClusterParts) -> bool:
    return parts.http.explicit_http_config.HasField("http2_protocol_options")


def _host(endpoint: Endpoint) -> str:
    """How a client would name an endpoint of which only the address is known."""
    address = endpoint.address.socket_address.address
    return f"[{address}]" if ":" in address else address or "localhost"


def _passive(written: PassiveHealthCheckSpec, context: Context) -> Passive | None:
    interval, ejection = seconds(written.interval), seconds(written.base_ejection_time)
    if not interval or not ejection:
        context.problem("F103", "passive", reason="interval and baseEjectionTime must be longer than 0s")
        return None
    return Passive(
        written.split_external_local_origin_errors,
        interval,
        written.consecutive_local_origin_failures,
        written.consecutive_gateway_errors or 0,
        written.consecutive5xx_errors,
        ejection,
        written.max_ejection_percent,
        written.failure_percentage_threshold,
        written.always_eject_one_endpoint,
    )


def _outliers(value: Passive) -> OutlierDetection:
    on, off = uint32(100), uint32(0)
    outliers = OutlierDetection(
        interval=duration(value.interval),
        base_ejection_time=duration(value.ejection),
        max_ejection_percent=uint32(value.share),
        consecutive_5xx=uint32(value.errors),
        enforcing_consecutive_5xx=on if value.errors else off,
        enforcing_success_rate=off,
        enforcing_local_origin_success_rate=off,
        split_external_local_origin_errors=value.split,
    )
    outliers.always_eject_one_host.value = value.always_one
    if value.gateway:
        outliers.consecutive_gateway_failure.CopyFrom(uint32(value.gateway))
        outliers.enforcing_consecutive_gateway_failure.CopyFrom(on)
    if value.split:
        outliers.consecutive_local_origin_failure.CopyFrom(uint32(value.local))
        outliers.enforcing_consecutive_local_origin_failure.CopyFrom(on if value.local else off)
    if value.percentage is not None:
        outliers.failure_percentage_threshold.CopyFrom(uint32(value.percentage))
        outliers.enforcing_failure_percentage.CopyFrom(on)
        if value.split:
            outliers.enforcing_failure_percentage_local_origin.CopyFrom(on)
    return outliers


HEALTH = HealthChecks()
