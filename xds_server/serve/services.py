"""The services of the xDS port, as Envoy's API names them, and what each is for."""

from __future__ import annotations

from xds_server.snapshot.resource import (
    CLUSTER,
    ENDPOINTS,
    EXTENSION,
    HOST,
    LISTENER,
    ROUTES,
    RUNTIME,
    SCOPES,
    SECRET,
)

SERVICES = {
    "envoy.service.discovery.v3.AggregatedDiscoveryService": (
        "StreamAggregatedResources",
        "DeltaAggregatedResources",
        "",
    ),
    "envoy.service.cluster.v3.ClusterDiscoveryService": ("StreamClusters", "DeltaClusters", CLUSTER),
    "envoy.service.endpoint.v3.EndpointDiscoveryService": ("StreamEndpoints", "DeltaEndpoints", ENDPOINTS),
    "envoy.service.listener.v3.ListenerDiscoveryService": ("StreamListeners", "DeltaListeners", LISTENER),
    "envoy.service.route.v3.RouteDiscoveryService": ("StreamRoutes", "DeltaRoutes", ROUTES),
    "envoy.service.route.v3.ScopedRoutesDiscoveryService": ("StreamScopedRoutes", "DeltaScopedRoutes", SCOPES),
    "envoy.service.route.v3.VirtualHostDiscoveryService": ("", "DeltaVirtualHosts", HOST),
    "envoy.service.secret.v3.SecretDiscoveryService": ("StreamSecrets", "DeltaSecrets", SECRET),
    "envoy.service.extension.v3.ExtensionConfigDiscoveryService": (
        "StreamExtensionConfigs",
        "DeltaExtensionConfigs",
        EXTENSION,
    ),
    "envoy.service.runtime.v3.RuntimeDiscoveryService": ("StreamRuntime", "DeltaRuntime", RUNTIME),
}
"""By service: the method for the state of the world, the one for changes, and the only type that it serves, if it is one."""
LOADS = "envoy.service.load_stats.v3.LoadReportingService"
