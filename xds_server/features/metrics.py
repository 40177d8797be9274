"""What is counted of all requests of a Gateway: by host, by endpoint, by size, by the outcome of gRPC calls.

In: `telemetry.metrics` of an EnvoyProxy. Out: a filter of listeners, a virtual cluster in every virtual host, and what
clusters track. Names of gRPC methods are not counted: clients choose them, and every name is memory for ever.
"""

from __future__ import annotations

from dataclasses import dataclass

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import HeaderMatcher, VirtualCluster, VirtualHost
from xds_server.envoy_api.envoy.extensions.filters.http.grpc_stats.v3.config_pb2 import FilterConfig
from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from xds_server.features.contract import ClusterParts, Context, Feature, pack
from xds_server.features.parts.proxy_telemetry import ProxyTelemetrySpec

_HOST_STATS = "requests"


@dataclass(frozen=True, slots=True)
class Metrics:
    """What is counted."""

    hosts: bool
    endpoints: bool
    sizes: bool
    grpc: bool


class MetricsFeature(Feature[ProxyTelemetrySpec, Metrics]):
    """`telemetry.metrics` of an EnvoyProxy."""

    name = "metrics"
    carriers = (("EnvoyProxy", "telemetry"),)
    transports = ("http", "tcp")

    def resolve(self, spec: ProxyTelemetrySpec, context: Context) -> Metrics | None:
        """What is counted; nothing in it can be wrong."""
        written = spec.metrics
        if written is None:
            return None
        return Metrics(
            written.enable_virtual_host_stats,
            written.enable_per_endpoint_stats,
            written.enable_request_response_sizes_stats,
            written.enable_grpc_stats,
        )

    def chain(self, value: Metrics, manager: HttpConnectionManager) -> None:
        """A filter that looks at gRPC calls."""
        if value.grpc:
            config = FilterConfig()
            config.stats_for_all_methods.value = False
            manager.http_filters.add(name="envoy.filters.http.grpc_stats", typed_config=pack(config))

    def virtual_host(self, value: Metrics, host: VirtualHost) -> None:
        """Requests, answers and times of a host."""
        if value.hosts:
            every = HeaderMatcher(name=":path", present_match=True)
            host.virtual_clusters.append(VirtualCluster(name=_HOST_STATS, headers=[every]))

    def touches_cluster(self, value: Metrics) -> bool:
        """Endpoints and sizes are counted by clusters."""
        return value.endpoints or value.sizes

    def cluster(self, value: Metrics, parts: ClusterParts) -> None:
        """What the cluster tracks."""
        tracked = parts.cluster.track_cluster_stats
        tracked.per_endpoint_stats, tracked.request_response_sizes = value.endpoints, value.sizes


METRICS = MetricsFeature()
