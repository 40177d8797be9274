"""What is counted of a route, and under which name.

In: `telemetry.metrics` of a BackendTrafficPolicy. Out: the statistics prefix of the route: Envoy counts its requests, answers by
status, retries and times under `vhost.HOST.route.PREFIX`. Operators in the name stand for parts of the route's name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route
from xds_server.features.contract import Context, Feature
from xds_server.features.parts.route_telemetry import TelemetrySpec

_OPERATOR = re.compile(r"%([^%]*)%|%")
_NAMED = re.compile(r"([^/]+)/([^/]+)/(.+)/rule/([^/]+)/match/([^/]+)")
_OPERATORS = ("ROUTE_KIND", "ROUTE_NAMESPACE", "ROUTE_NAME", "ROUTE_RULE_NAME")


@dataclass(frozen=True, slots=True)
class Telemetry:
    """A name with operators."""

    stat_name: str


class TelemetryFeature(Feature[TelemetrySpec, Telemetry]):
    """`telemetry.metrics` of a BackendTrafficPolicy."""

    name = "telemetry"
    carriers = (("BackendTrafficPolicy", "telemetry"),)

    def resolve(self, spec: TelemetrySpec, context: Context) -> Telemetry | None:
        """The name, or None if there is none or it has an operator that nobody knows."""
        written = spec.metrics.route_stat_name if spec.metrics else None
        for found in _OPERATOR.finditer(written or ""):
            if found[1] not in _OPERATORS:
                known = ", ".join(f"%{one}%" for one in _OPERATORS)
                context.problem("F103", "metrics", "routeStatName", reason=f"'{found[0]}' is not one of {known}")
                return None
        return Telemetry(written) if written else None

    def route(self, value: Telemetry, route: Route) -> None:
        """The name of this route's statistics."""
        parts = _NAMED.match(route.name)
        words = dict(zip(_OPERATORS, parts.groups(), strict=False)) if parts else {}
        route.stat_prefix = _OPERATOR.sub(lambda found: words.get(found[1], route.name), value.stat_name)


TELEMETRY = TelemetryFeature()
