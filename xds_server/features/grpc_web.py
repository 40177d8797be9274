"""gRPC-Web: browsers call gRPC services of GRPCRoutes without a proxy of their own.

In: a GRPCRoute's rule; nothing has to be written. Out: Envoy's gRPC-Web filter, on for its routes. Other calls pass the
filter unchanged. Pages of other origins need CORS besides, by a SecurityPolicy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.any_pb2 import Any

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import FilterConfig, Route
from xds_server.envoy_api.envoy.extensions.filters.http.grpc_web.v3.grpc_web_pb2 import GrpcWeb as GrpcWebFilter
from xds_server.features.contract import Context, Feature, enable
from xds_server.spec import Spec


class GrpcWebSpec(Spec):
    """There is nothing to say about it."""


@dataclass(frozen=True, slots=True)
class GrpcWeb:
    """It is on."""


class GrpcWebs(Feature[GrpcWebSpec, GrpcWeb]):
    """Every rule of a GRPCRoute has it."""

    name = "grpc_web"
    carriers = ()
    filter_name = "envoy.filters.http.grpc_web"

    def resolve(self, spec: GrpcWebSpec, context: Context) -> GrpcWeb:
        """It is on."""
        return GrpcWeb()

    def http_filter(self, values: Sequence[GrpcWeb]) -> GrpcWebFilter:
        """The filter."""
        return GrpcWebFilter()

    def route(self, value: GrpcWeb, route: Route) -> None:
        """On, with the settings of the chain: it has none of its own for a route."""
        enable(route, self.filter_name, FilterConfig(config=Any()))


GRPC_WEB = GrpcWebs()
