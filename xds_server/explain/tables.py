"""A snapshot as Envoy reads it: its listeners, route tables, clusters and endpoints as messages.

In: a `Snapshot`. Out: `Tables`. Virtual hosts that come on demand stand in their table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from xds_server.envoy_api.envoy.config.cluster.v3.cluster_pb2 import Cluster
from xds_server.envoy_api.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from xds_server.envoy_api.envoy.config.listener.v3.listener_components_pb2 import FilterChain
from xds_server.envoy_api.envoy.config.listener.v3.listener_pb2 import Listener
from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import VirtualHost
from xds_server.envoy_api.envoy.config.route.v3.route_pb2 import RouteConfiguration
from xds_server.envoy_api.envoy.config.route.v3.scoped_route_pb2 import ScopedRouteConfiguration
from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from xds_server.envoy_api.envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from xds_server.snapshot.resource import CLUSTER, ENDPOINTS, HOST, LISTENER, ROUTES, SCOPES, Snapshot

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Tables:
    """The messages of one gateway by name; listeners in the order of theirs. `scopes`: names of route tables by key."""

    listeners: tuple[Listener, ...]
    routes: Mapping[str, RouteConfiguration]
    clusters: Mapping[str, Cluster]
    assignments: Mapping[str, ClusterLoadAssignment]
    scopes: Mapping[str, str] = field(default_factory=dict)

    def endpoints(self, cluster: str) -> tuple[str, ...]:
        """`ADDRESS:PORT` (or the path of a socket) of all endpoints of a cluster."""
        known = self.clusters.get(cluster)
        if known is None:
            return ()
        name = known.eds_cluster_config.service_name or cluster
        assignment = self.assignments.get(name, known.load_assignment)
        found = []
        for locality in assignment.endpoints:
            for one in locality.lb_endpoints:
                address = one.endpoint.address
                socket = address.socket_address
                found.append(address.pipe.path or f"{socket.address}:{socket.port_value}")
        return tuple(found)


def read_tables(snapshot: Snapshot) -> Tables:
    """Open a snapshot."""
    routes = _all(snapshot, ROUTES, RouteConfiguration)
    for name, host in _all(snapshot, HOST, VirtualHost).items():
        table, _, _ = name.rpartition("/")
        routes[table].virtual_hosts.append(host)
    return Tables(
        tuple(_all(snapshot, LISTENER, Listener).values()),
        routes,
        _all(snapshot, CLUSTER, Cluster),
        _all(snapshot, ENDPOINTS, ClusterLoadAssignment),
        {
            "".join(one.string_key for one in scope.key.fragments): scope.route_configuration_name
            for scope in _all(snapshot, SCOPES, ScopedRouteConfiguration).values()
        },
    )


def manager_of(chain: FilterChain) -> HttpConnectionManager | None:
    """The connection manager of a filter chain; None if it knows no requests."""
    return _first(chain, HttpConnectionManager)


def proxy_of(chain: FilterChain) -> TcpProxy | None:
    """The proxy of a filter chain that only forwards bytes."""
    return _first(chain, TcpProxy)


def unpacked(packed: AnyMessage, kind: type[M]) -> M | None:
    """The message inside, if it is of this kind."""
    message = kind()
    return message if packed.Unpack(message) else None


def _first(chain: FilterChain, kind: type[M]) -> M | None:
    found = (unpacked(one.typed_config, kind) for one in chain.filters)
    return next((one for one in found if one is not None), None)


def _all(snapshot: Snapshot, type_url: str, kind: type[M]) -> dict[str, M]:
    return {name: kind.FromString(one.body) for name, one in snapshot.get(type_url).items() if not one.withheld}
