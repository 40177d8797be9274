"""How requests are spread over the endpoints of a backend.

In: `loadBalancer` of a BackendTrafficPolicy. Out: the load balancing policy of the route's clusters, weights and places
of zones, and for ConsistentHash the route's hash policies (with Maglev tables). Where a route has several weighted
backends, the hash also picks the backend, so that a client stays with one version. Without a policy clusters use round
robin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import UInt64Value
from pydantic import Field

from xds_server.envoy_api.envoy.config.cluster.v3.cluster_pb2 import LoadBalancingPolicy
from xds_server.envoy_api.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from xds_server.envoy_api.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route, RouteAction
from xds_server.envoy_api.envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from xds_server.envoy_api.envoy.extensions.filters.udp.udp_proxy.v3.udp_proxy_pb2 import UdpProxyConfig
from xds_server.envoy_api.envoy.extensions.load_balancing_policies.common.v3.common_pb2 import SlowStartConfig
from xds_server.envoy_api.envoy.extensions.load_balancing_policies.least_request.v3.least_request_pb2 import (
    LeastRequest,
)
from xds_server.envoy_api.envoy.extensions.load_balancing_policies.maglev.v3.maglev_pb2 import Maglev
from xds_server.envoy_api.envoy.extensions.load_balancing_policies.override_host.v3.override_host_pb2 import (
    OverrideHost,
)
from xds_server.envoy_api.envoy.extensions.load_balancing_policies.random.v3.random_pb2 import Random
from xds_server.envoy_api.envoy.extensions.load_balancing_policies.round_robin.v3.round_robin_pb2 import RoundRobin
from xds_server.envoy_api.envoy.extensions.load_balancing_policies.wrr_locality.v3.wrr_locality_pb2 import WrrLocality
from xds_server.features.contract import ClusterParts, Context, Feature, Transport, pack
from xds_server.features.parts.name_cache import looks_up
from xds_server.features.parts.utilization import (
    REPORT_HEADERS,
    BackendUtilizationSpec,
    Utilization,
    resolve_utilization,
    weighted_by_load,
)
from xds_server.features.parts.values import duration, seconds
from xds_server.features.parts.zones import (
    ZoneAwareSpec,
    Zones,
    load_aware,
    locality_config,
    resolve_zones,
    set_zones,
    zones_misfit,
)
from xds_server.spec import Duration, HeaderName, Spec, Text
from xds_server.types import Path

Kind = Literal["ConsistentHash", "LeastRequest", "Random", "RoundRobin", "BackendUtilization"]
_TABLE_SIZE = 65537
_SMALLEST_DIVISOR = 2


class HashHeaderSpec(Spec):
    """A header whose value is hashed."""

    name: HeaderName


class HashCookieSpec(Spec):
    """A cookie whose value is hashed. With `ttl` the gateway makes it for clients that have none."""

    name: Annotated[Text, Field(min_length=1)]
    ttl: Duration | None = None
    attributes: dict[str, Text] = {}


class HashQuerySpec(Spec):
    """A query parameter whose value is hashed."""

    name: Annotated[Text, Field(min_length=1)]


class ConsistentHashSpec(Spec):
    """What a client is recognised by. `tableSize` is a prime number."""

    type: Literal["SourceIP", "Header", "Headers", "Cookie", "QueryParams"]
    header: HashHeaderSpec | None = None
    headers: tuple[HashHeaderSpec, ...] = ()
    cookie: HashCookieSpec | None = None
    query_params: tuple[HashQuerySpec, ...] = ()
    table_size: Annotated[int, Field(strict=True, ge=2, le=5_000_011)] = _TABLE_SIZE


class SlowStartSpec(Spec):
    """A new endpoint gets its full share only after `window`."""

    window: Duration


class OverrideSourceSpec(Spec):
    """Where a request says which endpoint it wants."""

    header: HeaderName


class EndpointOverrideSpec(Spec):
    """Requests may name their endpoint, as `IP:PORT`; the first source that names one of the backend counts."""

    extract_from: Annotated[tuple[OverrideSourceSpec, ...], Field(min_length=1, max_length=10)]


class LoadBalancerSpec(Spec):
    """How requests are spread over endpoints."""

    type: Kind
    consistent_hash: ConsistentHashSpec | None = None
    backend_utilization: BackendUtilizationSpec | None = None
    slow_start: SlowStartSpec | None = None
    endpoint_override: EndpointOverrideSpec | None = None
    zone_aware: ZoneAwareSpec | None = None


@dataclass(frozen=True, slots=True)
class HashKey:
    """One thing that is hashed. `ttl` in seconds and `attributes` are for cookies."""

    kind: str
    name: str = ""
    ttl: float | None = None
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class LoadBalancer:
    """The kind of balancing and what goes with it. `overrides` are headers."""

    kind: str
    keys: tuple[HashKey, ...] = ()
    table_size: int = _TABLE_SIZE
    slow_start: float | None = None
    utilization: Utilization | None = None
    overrides: tuple[str, ...] = ()
    zones: Zones | None = None


class LoadBalancers(Feature[LoadBalancerSpec, LoadBalancer]):
    """`loadBalancer` of a BackendTrafficPolicy."""

    name = "load_balancer"
    carriers = (("BackendTrafficPolicy", "loadBalancer"),)
    transports = ("http", "tcp", "udp")

    def resolve(self, spec: LoadBalancerSpec, context: Context) -> LoadBalancer | None:
        """The policy, or None if its parts do not fit its type."""
        problem = _misfit(spec)
        if problem:
            context.problem("F103", reason=problem)
            return None
        problem = zones_misfit(spec.zone_aware, spec.type) if spec.zone_aware else ""
        if problem:
            context.problem("F103", "zoneAware", reason=problem)
            return None
        hashed = spec.consistent_hash
        return LoadBalancer(
            spec.type,
            _keys(hashed) if hashed else (),
            hashed.table_size if hashed else _TABLE_SIZE,
            seconds(spec.slow_start.window) if spec.slow_start else None,
            resolve_utilization(spec.backend_utilization) if spec.backend_utilization else None,
            tuple(one.header for one in spec.endpoint_override.extract_from) if spec.endpoint_override else (),
            resolve_zones(spec.zone_aware) if spec.zone_aware else None,
        )

    def unfit(self, spec: LoadBalancerSpec, transport: Transport) -> Sequence[Path]:
        """Without requests there is nothing to hash but the client's address, and no load in responses."""
        if transport == "http":
            return []
        found: list[Path] = [("endpointOverride",)] if spec.endpoint_override is not None else []
        if spec.consistent_hash is not None and spec.consistent_hash.type != "SourceIP":
            return [*found, ("consistentHash", "type")]
        return [*found, ("type",)] if spec.type == "BackendUtilization" else found

    def tcp(self, value: LoadBalancer, proxy: TcpProxy) -> None:
        """Hash the client's address."""
        if _by_address(value):
            proxy.hash_policy.add().source_ip.SetInParent()

    def udp(self, value: LoadBalancer, proxy: UdpProxyConfig) -> None:
        """Hash the client's address."""
        if _by_address(value):
            proxy.hash_policies.add(source_ip=True)

    def route(self, value: LoadBalancer, route: Route) -> None:
        """What a route that forwards hashes, and that clients do not see what backends report."""
        reports = value.kind == "BackendUtilization" or bool(value.zones and value.zones.by_load)
        if reports and not (value.utilization and value.utilization.keep_headers):
            route.response_headers_to_remove.extend(REPORT_HEADERS)
        if not value.keys or not route.HasField("route"):
            return
        route.route.hash_policy.extend(_hash_policy(key) for key in value.keys)
        if route.route.HasField("weighted_clusters"):
            route.route.weighted_clusters.use_hash_policy.value = True

    def touches_cluster(self, value: LoadBalancer) -> bool:
        """Balancing belongs to clusters."""
        return True

    def cluster(self, value: LoadBalancer, parts: ClusterParts) -> None:
        """Replaces the default policy."""
        policy = _policy(value)
        if value.overrides:
            sources = [OverrideHost.OverrideHostSource(header=name) for name in value.overrides]
            policy = _extension("override_host", OverrideHost(override_host_sources=sources, fallback_policy=policy))
        parts.cluster.load_balancing_policy.CopyFrom(policy)

    def cluster_problem(self, value: LoadBalancer, parts: ClusterParts) -> str:
        """Where requests name their endpoint there is nothing to choose."""
        return "loadBalancer does nothing for a DynamicResolver" if looks_up(parts.cluster) else ""

    def endpoints(self, value: LoadBalancer, assignment: ClusterLoadAssignment) -> None:
        """The places and weights of zones."""
        set_zones(value.zones, assignment)


def _by_address(value: LoadBalancer) -> bool:
    return any(key.kind == "SourceIP" for key in value.keys)


def _misfit(spec: LoadBalancerSpec) -> str:
    """What does not fit together; empty if all does."""
    if (spec.consistent_hash is not None) != (spec.type == "ConsistentHash"):
        return "type ConsistentHash and the field consistentHash go together"
    if spec.backend_utilization is not None and spec.type != "BackendUtilization":
        return "backendUtilization needs type BackendUtilization"
    if spec.slow_start is not None and spec.type in ("ConsistentHash", "Random"):
        return f"slowStart has no meaning with type {spec.type}"
    if spec.slow_start is not None and not seconds(spec.slow_start.window):
        return "the window of slowStart must be longer than 0s"
    return _hash_misfit(spec.consistent_hash) if spec.consistent_hash else ""


def _hash_misfit(spec: ConsistentHashSpec) -> str:
    given = {
        "Header": spec.header is not None,
        "Headers": bool(spec.headers),
        "Cookie": spec.cookie is not None,
        "QueryParams": bool(spec.query_params),
    }
    if any(there != (kind == spec.type) for kind, there in given.items()):
        return f"consistentHash of type {spec.type} needs the field of that type and no other"
    if not _is_prime(spec.table_size):
        return f"tableSize must be a prime number, {spec.table_size} is none"
    return ""


def _is_prime(number: int) -> bool:
    return all(number % divisor for divisor in range(_SMALLEST_DIVISOR, int(number**0.5) + 1))


def _keys(spec: ConsistentHashSpec) -> tuple[HashKey, ...]:
    if spec.type == "SourceIP":
        return (HashKey("SourceIP"),)
    if spec.cookie is not None:
        cookie = spec.cookie
        return (HashKey("Cookie", cookie.name, seconds(cookie.ttl), tuple(sorted(cookie.attributes.items()))),)
    if spec.query_params:
        return tuple(HashKey("QueryParams", one.name) for one in spec.query_params)
    return tuple(HashKey("Header", one.name) for one in ((spec.header,) if spec.header else spec.headers))


def _hash_policy(key: HashKey) -> RouteAction.HashPolicy:
    policy = RouteAction.HashPolicy()
    if key.kind == "SourceIP":
        policy.connection_properties.source_ip = True
    elif key.kind == "Header":
        policy.header.header_name = key.name
    elif key.kind == "QueryParams":
        policy.query_parameter.name = key.name
    else:
        policy.cookie.name = key.name
        if key.ttl is not None:
            policy.cookie.ttl.CopyFrom(duration(key.ttl))
            policy.cookie.path = "/"
        for name, text in key.attributes:
            policy.cookie.attributes.add(name=name, value=text)
    return policy


def _extension(name: str, config: Message) -> LoadBalancingPolicy:
    extension = TypedExtensionConfig(name=f"envoy.load_balancing_policies.{name}", typed_config=pack(config))
    return LoadBalancingPolicy(policies=[LoadBalancingPolicy.Policy(typed_extension_config=extension)])


def _policy(value: LoadBalancer) -> LoadBalancingPolicy:
    """How endpoints are chosen where a request does not say it itself."""
    picking = _picking(value)
    zones = value.zones
    if zones is not None and zones.by_load is not None:
        return _extension("load_aware_locality", load_aware(zones.by_load, picking))
    if zones is not None and zones.weights and value.kind == "BackendUtilization":
        return _extension("wrr_locality", WrrLocality(endpoint_picking_policy=picking))
    return picking


def _picking(value: LoadBalancer) -> LoadBalancingPolicy:
    slow = None if value.slow_start is None else SlowStartConfig(slow_start_window=duration(value.slow_start))
    zones = locality_config(value.zones)
    if value.kind == "ConsistentHash":
        by_zone = zones.locality_weighted_lb_config if zones else None
        size = UInt64Value(value=value.table_size)
        return _extension("maglev", Maglev(table_size=size, locality_weighted_lb_config=by_zone))
    if value.kind == "LeastRequest":
        return _extension("least_request", LeastRequest(slow_start_config=slow, locality_lb_config=zones))
    if value.kind == "Random":
        return _extension("random", Random(locality_lb_config=zones))
    if value.kind == "RoundRobin":
        return _extension("round_robin", RoundRobin(slow_start_config=slow, locality_lb_config=zones))
    return _extension("client_side_weighted_round_robin", weighted_by_load(value.utilization, slow))


LOAD_BALANCER = LoadBalancers()
