"""Endpoints that fail are left out for a while (passive health checks).

In: `healthCheck` of a BackendTrafficPolicy. Out: outlier detection and the panic threshold of the route's clusters.
Only the rules that are written count: Envoy's statistical ejection stays off. With Envoy's panic threshold of 50 %
a backend with one endpoint is never cut off; `panicThreshold: 0` makes it so. Active probes are not supported yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, JsonValue

from xds_server.envoy_api.envoy.config.cluster.v3.outlier_detection_pb2 import OutlierDetection
from xds_server.features.contract import ClusterParts, Context, Feature, Transport
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
    """Passive checks, and the share of healthy endpoints below which health is ignored (0: never ignored)."""

    active: JsonValue = None
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


class HealthChecks(Feature[HealthCheckSpec, HealthCheck]):
    """`healthCheck` of a BackendTrafficPolicy."""

    name = "health"
    carriers = (("BackendTrafficPolicy", "healthCheck"),)
    transports = ("http", "tcp", "udp")

    def resolve(self, spec: HealthCheckSpec, context: Context) -> HealthCheck | None:
        """The checks, or None for active ones and times that make no sense."""
        if spec.active is not None:
            context.problem("F102", "active", field="healthCheck.active", hint="healthCheck.passive works")
            return None
        written = spec.passive
        if written is None:
            return HealthCheck(None, spec.panic_threshold)
        interval, ejection = seconds(written.interval), seconds(written.base_ejection_time)
        if not interval or not ejection:
            context.problem("F103", "passive", reason="interval and baseEjectionTime must be longer than 0s")
            return None
        passive = Passive(
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
        return HealthCheck(passive, spec.panic_threshold)

    def unfit(self, spec: HealthCheckSpec, transport: Transport) -> Sequence[Path]:
        """A connection that cannot be made is a failure; of datagrams nobody knows whether they arrive."""
        return [("passive",)] if transport == "udp" and spec.passive is not None else []

    def touches_cluster(self, value: HealthCheck) -> bool:
        """Health belongs to clusters."""
        return True

    def cluster(self, value: HealthCheck, parts: ClusterParts) -> None:
        """Outlier detection and panic threshold."""
        if value.panic is not None:
            parts.cluster.common_lb_config.healthy_panic_threshold.value = value.panic
        if value.passive is not None:
            parts.cluster.outlier_detection.CopyFrom(_outliers(value.passive))


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
