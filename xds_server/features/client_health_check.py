"""Probes of a load balancer in front, which the gateway answers by itself.

In: `healthCheck` of a ClientTrafficPolicy. Out: a filter in front of guards and limits. The answer is 200, and 503 once the
Envoy is told to leave (`POST /healthcheck/fail` on its admin interface).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from xds_server.envoy_api.envoy.extensions.filters.http.health_check.v3.health_check_pb2 import HealthCheck
from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from xds_server.features.contract import Context, Feature, pack
from xds_server.features.parts.patterns import exact
from xds_server.spec import Spec, Text


class ClientHealthCheckSpec(Spec):
    """The path, which no route gets then."""

    path: Annotated[Text, Field(min_length=1, max_length=1024)]


@dataclass(frozen=True, slots=True)
class ClientHealthCheck:
    """The path, without a query."""

    path: str


class ClientHealthChecks(Feature[ClientHealthCheckSpec, ClientHealthCheck]):
    """`healthCheck` of a ClientTrafficPolicy."""

    name = "client_health_check"
    carriers = (("ClientTrafficPolicy", "healthCheck"),)

    def resolve(self, spec: ClientHealthCheckSpec, context: Context) -> ClientHealthCheck | None:
        """The path, which has to be one."""
        if not spec.path.startswith("/"):
            context.problem("F103", "path", reason=f"'{spec.path}' is no path: it must begin with '/'")
            return None
        return ClientHealthCheck(spec.path)

    def chain(self, value: ClientHealthCheck, manager: HttpConnectionManager) -> None:
        """The filter, which is on for all routes."""
        config = HealthCheck(headers=[HeaderMatcher(name=":path", string_match=exact(value.path))])
        config.pass_through_mode.value = False
        manager.http_filters.add(name="envoy.filters.http.health_check", typed_config=pack(config))


CLIENT_HEALTH_CHECK = ClientHealthChecks()
