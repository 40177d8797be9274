"""Timeouts that an HTTPRoute rule says itself: the whole request, and one attempt at a backend.

In: `timeouts` of a rule. Out: the route's timeout and its timeout per try. They beat those of a policy. `0s` means
none. `backendRequest` longer than `request` is refused (Gateway API, HTTPRouteTimeouts).
"""

from __future__ import annotations

from dataclasses import dataclass

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route
from xds_server.features.contract import Context, Feature
from xds_server.features.parts.values import duration, seconds
from xds_server.spec import Duration, Spec

ENVOY_DEFAULT = 15.0


class RouteTimeoutSpec(Spec):
    """How long a request may take in all, and each attempt to get it answered."""

    request: Duration | None = None
    backend_request: Duration | None = None


@dataclass(frozen=True, slots=True)
class RouteTimeout:
    """In seconds; None leaves the default, 0 means no limit."""

    request: float | None
    attempt: float | None


class RouteTimeouts(Feature[RouteTimeoutSpec, RouteTimeout]):
    """`timeouts` of a rule."""

    name = "route_timeout"
    carriers = (("HTTPRoute.rule", "timeouts"),)

    def resolve(self, spec: RouteTimeoutSpec, context: Context) -> RouteTimeout | None:
        """The timeouts, or None if one attempt may take longer than the whole."""
        request, attempt = seconds(spec.request), seconds(spec.backend_request)
        if request and attempt and attempt > request:
            reason = f"backendRequest {spec.backend_request} is longer than request {spec.request}"
            context.problem("F103", "backendRequest", reason=reason)
            return None
        return RouteTimeout(request, attempt)

    def route(self, value: RouteTimeout, route: Route) -> None:
        """Timeouts of a route that forwards."""
        if not route.HasField("route"):
            return
        action = route.route
        if value.request is not None:
            action.timeout.CopyFrom(duration(value.request))
        if value.attempt is None:
            return
        if value.attempt:
            action.retry_policy.per_try_timeout.CopyFrom(duration(value.attempt))
        elif action.HasField("retry_policy"):
            action.retry_policy.ClearField("per_try_timeout")
        if not action.HasField("timeout") and (value.attempt == 0 or value.attempt > ENVOY_DEFAULT):
            # Else Envoy's own limit for the whole request would cut the attempt short.
            action.timeout.CopyFrom(duration(0))


ROUTE_TIMEOUT = RouteTimeouts()
