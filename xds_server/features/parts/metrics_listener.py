"""The listener at which an Envoy tells what it counts, for Prometheus, and the way from there to its admin interface.

In: nothing. Out: a filter chain that knows one path and one method, without a query, and a cluster that an Envoy starts with.
Whoever reaches an admin interface controls the Envoy, so nothing else leads there: no other path in any spelling, no body, no
change of a path on its way. Where the admin interface is depends on the process: whoever starts it fills it in.
"""

from __future__ import annotations

from xds_server.envoy_api.envoy.config.cluster.v3.cluster_pb2 import Cluster
from xds_server.envoy_api.envoy.config.core.v3.protocol_pb2 import HttpProtocolOptions
from xds_server.envoy_api.envoy.config.listener.v3.listener_components_pb2 import FilterChain
from xds_server.envoy_api.envoy.extensions.filters.http.router.v3.router_pb2 import Router
from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from xds_server.features.contract import pack
from xds_server.features.parts.values import duration, uint32

ADMIN = "cellway_admin"
PATH = "/stats/prometheus"
_SCRAPE, _IDLE, _HEADERS = 30.0, 60.0, 5.0
_AT_ONCE = 4
_METADATA, _MARK = "envoy.lb", "cellway-metrics"
_MARKED = {_MARK: "yes"}
"""What requests of this listener alone have. A script in the Envoy may name any cluster, and finds no endpoint in this one."""


def metrics_chain() -> FilterChain:
    """The chain of the listener."""
    manager = HttpConnectionManager(stat_prefix="cellway_metrics", codec_type=HttpConnectionManager.HTTP1)
    manager.common_http_protocol_options.idle_timeout.CopyFrom(duration(_IDLE))
    manager.common_http_protocol_options.headers_with_underscores_action = HttpProtocolOptions.REJECT_REQUEST
    manager.request_headers_timeout.CopyFrom(duration(_HEADERS))
    manager.request_timeout.CopyFrom(duration(_SCRAPE))
    manager.use_remote_address.value = True
    host = manager.route_config.virtual_hosts.add(name="metrics", domains=["*"])
    # An Envoy that began before this was written does not have the cluster yet.
    manager.route_config.validate_clusters.value = False
    route = host.routes.add(name="metrics")
    route.match.path = PATH
    for name, value in ((":method", "GET"), (":path", PATH)):  # this one has the query in it
        route.match.headers.add(name=name).string_match.exact = value
    for name in ("content-length", "transfer-encoding"):
        route.match.headers.add(name=name, present_match=True, invert_match=True)
    route.route.cluster = ADMIN
    route.route.metadata_match.filter_metadata[_METADATA].update(_MARKED)
    route.route.timeout.CopyFrom(duration(_SCRAPE))
    manager.http_filters.add(name="envoy.filters.http.router", typed_config=pack(Router()))
    chain = FilterChain(name="metrics")
    chain.filters.add(name="envoy.filters.network.http_connection_manager", typed_config=pack(manager))
    return chain


def admin_cluster() -> Cluster:
    """The cluster of the Envoy's own admin interface, whose port is not known yet."""
    cluster = Cluster(name=ADMIN, type=Cluster.STATIC)
    cluster.connect_timeout.CopyFrom(duration(1.0))
    limits = cluster.circuit_breakers.thresholds.add()
    for limit in (limits.max_connections, limits.max_pending_requests, limits.max_requests):
        limit.CopyFrom(uint32(_AT_ONCE))
    cluster.load_assignment.cluster_name = ADMIN
    cluster.lb_subset_config.subset_selectors.add(keys=[_MARK])
    only = cluster.load_assignment.endpoints.add().lb_endpoints.add()
    only.metadata.filter_metadata[_METADATA].update(_MARKED)
    only.endpoint.address.socket_address.address, only.endpoint.address.socket_address.port_value = "127.0.0.1", 0
    return cluster
