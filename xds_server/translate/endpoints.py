"""The endpoints of a backend -> Envoy's endpoint assignment of a cluster, and addresses.

In: a backend, and the settings of the routes to it that change clusters. Out: a `ClusterLoadAssignment`: endpoints by
priority and zone. Refuses nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from xds_server.envoy_api.envoy.config.core.v3.address_pb2 import Address, Pipe, SocketAddress
from xds_server.envoy_api.envoy.config.endpoint.v3.endpoint_components_pb2 import (
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from xds_server.envoy_api.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from xds_server.features.contract import AnyFeature
from xds_server.features.parts.values import uint32
from xds_server.graph import Backend
from xds_server.graph import Endpoint as BackendEndpoint

Active = Sequence[tuple[AnyFeature, Any]]
"""Features with their values, in the order of features."""


def assignment(name: str, backend: Backend, active: Active = ()) -> ClusterLoadAssignment:
    """The endpoints of a backend, grouped by priority and zone. Envoy wants priorities without gaps."""
    priorities = {each: place for place, each in enumerate(sorted({one.priority for one in backend.endpoints}))}
    groups: dict[tuple[int, str], list[BackendEndpoint]] = {}
    for endpoint in backend.endpoints:
        groups.setdefault((priorities[endpoint.priority], endpoint.zone), []).append(endpoint)
    found = ClusterLoadAssignment(cluster_name=name)
    for (priority, zone), endpoints in sorted(groups.items()):
        locality = LocalityLbEndpoints(priority=priority, lb_endpoints=[_endpoint(one, backend) for one in endpoints])
        if zone:
            locality.locality.zone = zone
        found.endpoints.append(locality)
    for feature, value in active:
        feature.endpoints(value, found)
    return found


def _endpoint(one: BackendEndpoint, backend: Backend) -> LbEndpoint:
    place = address(one.address, one.port, "udp" if backend.protocol == "udp" else "tcp")
    built = LbEndpoint(endpoint=Endpoint(address=place, hostname=one.hostname))
    if one.weight != 1:
        built.load_balancing_weight.CopyFrom(uint32(one.weight))
    return built


def address(host: str, port: int, transport: Literal["tcp", "udp"] = "tcp") -> Address:
    """A socket's address; a path is that of a Unix socket."""
    if host.startswith("/"):
        return Address(pipe=Pipe(path=host))
    protocol = SocketAddress.UDP if transport == "udp" else SocketAddress.TCP
    return Address(socket_address=SocketAddress(protocol=protocol, address=host, port_value=port))
