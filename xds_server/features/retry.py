"""Retries of requests that failed.

In: `retry` of a BackendTrafficPolicy. Out: the route's retry policy. Defaults: 2 retries after failures that left no
trace at the backend (connect-failure, refused-stream) or that it asked to repeat (503, gRPC unavailable, cancelled).
A retry goes to another endpoint if there is one. Codes need the trigger `retriable-status-codes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import RetryPolicy, Route
from xds_server.envoy_api.envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2 import PreviousHostsPredicate
from xds_server.envoy_api.envoy.extensions.retry.priority.previous_priorities.v3.previous_priorities_config_pb2 import (
    PreviousPrioritiesConfig,
)
from xds_server.features.contract import Context, Feature, pack
from xds_server.features.parts.values import duration, seconds, uint32
from xds_server.spec import Duration, Spec

_CODES = "retriable-status-codes"
_DEFAULT_TRIGGERS = ("connect-failure", "refused-stream", "unavailable", "cancelled", _CODES)
_OTHER_HOST_ATTEMPTS = 5

Trigger = Literal[
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
]


class RetryOnSpec(Spec):
    """Which failures are retried; the names are Envoy's."""

    triggers: tuple[Trigger, ...] = ()
    http_status_codes: tuple[Annotated[int, Field(strict=True, ge=100, le=599)], ...] = ()


class BackOffSpec(Spec):
    """The pause before a retry: random, growing from `baseInterval` up to `maxInterval` (10 times the base)."""

    base_interval: Duration | None = None
    max_interval: Duration | None = None


class PerRetrySpec(Spec):
    """One attempt."""

    timeout: Duration | None = None
    back_off: BackOffSpec = BackOffSpec()


class RetrySpec(Spec):
    """How often and after what a request is repeated."""

    num_retries: Annotated[int, Field(strict=True, ge=0, le=100)] = 2
    num_attempts_per_priority: Annotated[int, Field(strict=True, ge=1, le=100)] | None = None
    retry_on: RetryOnSpec = RetryOnSpec()
    per_retry: PerRetrySpec = PerRetrySpec()


@dataclass(frozen=True, slots=True)
class Retry:
    """Times in seconds. No triggers: nothing is retried."""

    retries: int
    triggers: tuple[str, ...]
    codes: tuple[int, ...]
    attempts_per_priority: int | None = None
    attempt: float | None = None
    base: float | None = None
    maximum: float | None = None


class Retries(Feature[RetrySpec, Retry]):
    """`retry` of a BackendTrafficPolicy."""

    name = "retry"
    carriers = (("BackendTrafficPolicy", "retry"),)

    def resolve(self, spec: RetrySpec, context: Context) -> Retry | None:
        """The policy, or None if its parts contradict each other."""
        on = spec.retry_on
        if on.triggers and bool(on.http_status_codes) != (_CODES in on.triggers):
            reason = f"httpStatusCodes and the trigger {_CODES} go together"
            context.problem("F103", "retryOn", reason=reason)
            return None
        base, maximum = seconds(spec.per_retry.back_off.base_interval), seconds(spec.per_retry.back_off.max_interval)
        if base == 0 or maximum == 0 or (maximum is not None and (base is None or maximum < base)):
            reason = "a back-off needs a baseInterval above 0s and a maxInterval that is not shorter"
            context.problem("F103", "perRetry", "backOff", reason=reason)
            return None
        triggers = on.triggers or ((_CODES,) if on.http_status_codes else _DEFAULT_TRIGGERS)
        codes = on.http_status_codes or (() if on.triggers else (503,))
        attempt = seconds(spec.per_retry.timeout)
        return Retry(spec.num_retries, triggers, codes, spec.num_attempts_per_priority, attempt or None, base, maximum)

    def route(self, value: Retry, route: Route) -> None:
        """The retry policy of a route that forwards."""
        if not route.HasField("route"):
            return
        policy = route.route.retry_policy
        policy.retry_on = ",".join(value.triggers)
        policy.num_retries.CopyFrom(uint32(value.retries))
        policy.retriable_status_codes.extend(value.codes)
        policy.retry_host_predicate.append(
            RetryPolicy.RetryHostPredicate(
                name="envoy.retry_host_predicates.previous_hosts", typed_config=pack(PreviousHostsPredicate())
            )
        )
        policy.host_selection_retry_max_attempts = _OTHER_HOST_ATTEMPTS
        if value.attempts_per_priority is not None:
            config = PreviousPrioritiesConfig(update_frequency=value.attempts_per_priority)
            policy.retry_priority.name = "envoy.retry_priorities.previous_priorities"
            policy.retry_priority.typed_config.CopyFrom(pack(config))
        if value.attempt is not None:
            policy.per_try_timeout.CopyFrom(duration(value.attempt))
        if value.base is not None:
            policy.retry_back_off.base_interval.CopyFrom(duration(value.base))
        if value.maximum is not None:
            policy.retry_back_off.max_interval.CopyFrom(duration(value.maximum))


RETRY = Retries()
