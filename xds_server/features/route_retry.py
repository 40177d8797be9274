"""Retries that an HTTPRoute rule asks for itself.

In: `retry` of a rule: codes, attempts, back-off. Out: the retry policy of the route, in place of any policy's. Failed
connections, resets and attempts that took too long are always retried; answers only by their code. All attempts happen
within the request's timeout. Follows HTTPRouteRetry of Gateway API.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import RetryPolicy, Route
from xds_server.envoy_api.envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2 import PreviousHostsPredicate
from xds_server.features.contract import Context, Feature, pack
from xds_server.features.parts.values import duration, seconds, uint32
from xds_server.spec import Duration, Spec

_CONNECTIONS = ("connect-failure", "refused-stream", "reset")
_OTHER_HOST_ATTEMPTS = 5
_LONGEST = 10
Code = Annotated[int, Field(strict=True, ge=400, le=599)]


class RouteRetrySpec(Spec):
    """After which answers, how often and after which pause a request is repeated."""

    codes: Annotated[tuple[Code, ...], Field(max_length=64)] = ()
    attempts: Annotated[int, Field(strict=True, ge=0, le=100)] = 2
    backoff: Duration | None = None


@dataclass(frozen=True, slots=True)
class RouteRetry:
    """`retries` after the first attempt; `pause` in seconds, None for Envoy's."""

    retries: int
    codes: tuple[int, ...]
    pause: float | None


class RouteRetries(Feature[RouteRetrySpec, RouteRetry]):
    """`retry` of a rule."""

    name = "route_retry"
    carriers = (("HTTPRoute.rule", "retry"),)

    def resolve(self, spec: RouteRetrySpec, context: Context) -> RouteRetry | None:
        """The retries, or None if the pause cannot be."""
        pause = seconds(spec.backoff)
        if pause == 0:
            context.problem("F103", "backoff", reason="a back-off needs some time, 0s is not enough")
            return None
        return RouteRetry(spec.attempts, spec.codes, pause)

    def route(self, value: RouteRetry, route: Route) -> None:
        """The retry policy of a route that forwards."""
        if not route.HasField("route"):
            return
        route.route.ClearField("retry_policy")
        if not value.retries:
            return
        policy = route.route.retry_policy
        policy.retry_on = ",".join((*_CONNECTIONS, *(("retriable-status-codes",) if value.codes else ())))
        policy.retriable_status_codes.extend(value.codes)
        policy.num_retries.CopyFrom(uint32(value.retries))
        policy.retry_host_predicate.append(
            RetryPolicy.RetryHostPredicate(
                name="envoy.retry_host_predicates.previous_hosts", typed_config=pack(PreviousHostsPredicate())
            )
        )
        policy.host_selection_retry_max_attempts = _OTHER_HOST_ATTEMPTS
        if value.pause is not None:
            policy.retry_back_off.base_interval.CopyFrom(duration(value.pause))
            policy.retry_back_off.max_interval.CopyFrom(duration(value.pause * _LONGEST))


ROUTE_RETRY = RouteRetries()
