"""Limits of what may be under way to a backend at one time.

In: `circuitBreaker` of a BackendTrafficPolicy. Out: thresholds of the route's clusters. A request above a limit is
answered at once with 503 and `x-envoy-overloaded: true`. Limits count for each Envoy process; they are not the
ejection of failing endpoints (`healthCheck.passive`). Without a policy every limit is 1024.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xds_server.envoy_api.envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from xds_server.envoy_api.envoy.config.core.v3.base_pb2 import RoutingPriority
from xds_server.features.contract import ClusterParts, Context, Feature, Transport
from xds_server.features.parts.values import uint32
from xds_server.spec import Fraction, Spec, UInt32
from xds_server.types import Path

_DEFAULT = 1024
_FOR_DATAGRAMS = ("max_connections",)
_FOR_CONNECTIONS = (*_FOR_DATAGRAMS, "max_pending_requests", "per_endpoint")


class PerEndpointSpec(Spec):
    """Limits that count for each endpoint alone."""

    max_connections: UInt32 = _DEFAULT


class RetryBudgetSpec(Spec):
    """Retries as a share of the requests that are active or waiting; replaces `maxParallelRetries`."""

    percent: Fraction
    min_retry_concurrency: UInt32 | None = None


class CriticalSpec(Spec):
    """What critical requests may have under way at one time, apart from all others."""

    max_connections: UInt32 = _DEFAULT
    max_pending_requests: UInt32 = _DEFAULT
    max_parallel_requests: UInt32 = _DEFAULT
    max_parallel_retries: UInt32 = _DEFAULT


class CircuitBreakerSpec(Spec):
    """What may be under way at one time. `critical` is Cellway's own."""

    max_connections: UInt32 = _DEFAULT
    max_pending_requests: UInt32 = _DEFAULT
    max_parallel_requests: UInt32 = _DEFAULT
    max_parallel_retries: UInt32 = _DEFAULT
    max_requests_per_connection: UInt32 | None = None
    per_endpoint: PerEndpointSpec | None = None
    retry_budget: RetryBudgetSpec | None = None
    critical: CriticalSpec | None = None


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """The limits; None leaves what Envoy does by default. `budget` is a percentage.

    `critical` are connections, waiting requests, requests and retries.
    """

    connections: int
    pending: int
    requests: int
    retries: int
    requests_per_connection: int | None
    connections_per_endpoint: int | None
    budget: float | None
    least_retries: int | None
    critical: tuple[int, int, int, int] | None = None


class CircuitBreakerFeature(Feature[CircuitBreakerSpec, CircuitBreaker]):
    """`circuitBreaker` of a BackendTrafficPolicy."""

    name = "circuit_breaker"
    carriers = (("BackendTrafficPolicy", "circuitBreaker"),)
    transports = ("http", "tcp", "udp")

    def resolve(self, spec: CircuitBreakerSpec, context: Context) -> CircuitBreaker | None:
        """The limits. A budget above 100 % is refused."""
        budget = spec.retry_budget
        percent = 100 * budget.percent.numerator / budget.percent.denominator if budget else None
        if percent is not None and percent > 100:
            context.problem("F103", "retryBudget", "percent", reason=f"a share of {percent:g} % is more than all")
            return None
        return CircuitBreaker(
            spec.max_connections,
            spec.max_pending_requests,
            spec.max_parallel_requests,
            spec.max_parallel_retries,
            spec.max_requests_per_connection or None,
            spec.per_endpoint.max_connections if spec.per_endpoint else None,
            percent,
            budget.min_retry_concurrency if budget else None,
            _critical(spec.critical) if spec.critical else None,
        )

    def unfit(self, spec: CircuitBreakerSpec, transport: Transport) -> Sequence[Path]:
        """Connections can be limited, in all and by endpoint; datagrams have sessions, which count as connections."""
        usable = {"tcp": _FOR_CONNECTIONS, "udp": _FOR_DATAGRAMS}.get(transport)
        written = [field for field in type(spec).model_fields if field in spec.model_fields_set]
        return [(str(type(spec).model_fields[one].alias),) for one in written if usable and one not in usable]

    def touches_cluster(self, value: CircuitBreaker) -> bool:
        """Limits belong to clusters."""
        return True

    def cluster(self, value: CircuitBreaker, parts: ClusterParts) -> None:
        """Replaces the default limits."""
        limits = CircuitBreakers.Thresholds(
            max_connections=uint32(value.connections),
            max_pending_requests=uint32(value.pending),
            max_requests=uint32(value.requests),
            max_retries=uint32(value.retries),
        )
        if value.budget is not None:
            limits.ClearField("max_retries")
            limits.retry_budget.budget_percent.value = value.budget
            if value.least_retries is not None:
                limits.retry_budget.min_retry_concurrency.CopyFrom(uint32(value.least_retries))
        breakers = CircuitBreakers(thresholds=[limits])
        if value.critical is not None:
            connections, pending, requests, retries = (uint32(one) for one in value.critical)
            breakers.thresholds.add(
                priority=RoutingPriority.HIGH,
                max_connections=connections,
                max_pending_requests=pending,
                max_requests=requests,
                max_retries=retries,
            )
        if value.connections_per_endpoint is not None:
            breakers.per_host_thresholds.add(max_connections=uint32(value.connections_per_endpoint))
        parts.cluster.circuit_breakers.CopyFrom(breakers)
        if value.requests_per_connection is not None:
            common = parts.http.common_http_protocol_options
            common.max_requests_per_connection.CopyFrom(uint32(value.requests_per_connection))


def _critical(spec: CriticalSpec) -> tuple[int, int, int, int]:
    return spec.max_connections, spec.max_pending_requests, spec.max_parallel_requests, spec.max_parallel_retries


CIRCUIT_BREAKER = CircuitBreakerFeature()
