"""Which requests are critical, and which may fail first when there is too much.

In: `priorityClass` of an HTTPRouteFilter (Cellway's own). Out: the priority of the route. Critical requests have limits
and connections of their own in each cluster (`circuitBreaker.critical` of a BackendTrafficPolicy), so that best-effort
requests of other rules of the route cannot use them up. `BestEffort` is what every request is that nobody calls critical.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from xds_server.envoy_api.envoy.config.core.v3.base_pb2 import RoutingPriority
from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route
from xds_server.features.contract import Context, Feature

PriorityClassSpec = Literal["Critical", "BestEffort"]


@dataclass(frozen=True, slots=True)
class PriorityClass:
    """Whether requests are critical."""

    critical: bool


class PriorityClasses(Feature[PriorityClassSpec, PriorityClass]):
    """`priorityClass` of an HTTPRouteFilter."""

    name = "priority_class"
    carriers = (("HTTPRouteFilter", "priorityClass"),)

    def resolve(self, spec: PriorityClassSpec, context: Context) -> PriorityClass:
        """The class."""
        return PriorityClass(spec == "Critical")

    def route(self, value: PriorityClass, route: Route) -> None:
        """The priority of a route that forwards."""
        if route.HasField("route"):
            route.route.priority = RoutingPriority.HIGH if value.critical else RoutingPriority.DEFAULT


PRIORITY_CLASS = PriorityClasses()
