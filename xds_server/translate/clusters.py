"""Backends and the settings of the routes to them -> Envoy clusters and endpoint assignments.

In: the graph of a gateway. Out: one `Cluster` a name, and for backends with IP addresses a `ClusterLoadAssignment` of
the same name: a change of endpoints is a change of that alone. A backend by DNS name carries its names in the cluster.
A cluster that Envoy would refuse is left out, with a diagnostic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from google.protobuf.message import Message

from xds_server.diagnostics import Diagnostic, diagnose
from xds_server.envoy_api.envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from xds_server.envoy_api.envoy.config.cluster.v3.cluster_pb2 import Cluster, LoadBalancingPolicy
from xds_server.envoy_api.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from xds_server.envoy_api.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from xds_server.envoy_api.envoy.extensions.clusters.common.dns.v3.dns_pb2 import V4_PREFERRED
from xds_server.envoy_api.envoy.extensions.clusters.dns.v3.dns_cluster_pb2 import DnsCluster
from xds_server.envoy_api.envoy.extensions.clusters.dynamic_forward_proxy.v3.cluster_pb2 import ClusterConfig
from xds_server.envoy_api.envoy.extensions.load_balancing_policies.cluster_provided.v3.cluster_provided_pb2 import (
    ClusterProvided,
)
from xds_server.envoy_api.envoy.extensions.load_balancing_policies.round_robin.v3.round_robin_pb2 import RoundRobin
from xds_server.envoy_api.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from xds_server.envoy_api.envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from xds_server.features.contract import AnyFeature, ClusterParts, pack
from xds_server.features.parts.name_cache import CLUSTER_TYPE, cache_config
from xds_server.features.parts.values import ads, duration, uint32
from xds_server.graph import Backend, Gateway, Setting
from xds_server.translate.endpoints import Active, assignment
from xds_server.translate.message import Translated
from xds_server.translate.tls import SECRET, translate_secret, upstream_problem, upstream_socket
from xds_server.translate.wanted import Wanted, Wants

ENDPOINTS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
_PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_BUFFER = 32 * 1024
_LIMIT = 1024
_CONNECT_TIMEOUT = 5.0
_DNS_REFRESH = 30.0
_STREAM_WINDOW = 64 * 1024
_CONNECTION_WINDOW = 1024 * 1024
Check = Callable[[Message], str | None]


Built = tuple[tuple[Translated, ...], tuple[Diagnostic, ...]]


class ClustersMemory:
    """What is wanted, and what became of it, kept from call to call."""

    def __init__(self) -> None:
        self._wants = Wants()
        self._built: dict[str, tuple[Wanted, Built]] = {}
        self._odd: set[str] = set()
        """The names of which there is more than a cluster and its endpoints."""
        self.clusters: tuple[Translated, ...] = ()
        self.endpoints: tuple[Translated, ...] = ()
        self.names: frozenset[str] = frozenset()
        """Those of the clusters that there are."""

    def update(self, gateway: Gateway, features: Sequence[AnyFeature], check: Check) -> None:
        """Bring clusters and endpoints, in the order of their names, to what a gateway needs."""
        changed = False
        for name in self._wants.update(gateway, {feature.name: feature for feature in features}):
            wanted, known = self._wants.wanted.get(name), self._built.get(name)
            if wanted is None:
                changed = self._built.pop(name, None) is not None or changed
                self._odd.discard(name)
            elif known is None or not known[0].is_as(wanted):
                built = _translate(name, wanted, features, check)
                self._built[name], changed = (wanted, built), True
                (self._odd.add if built[1] or wanted.client else self._odd.discard)(name)
        if changed:
            found = [one for name in sorted(self._built) for one in self._built[name][1][0]]
            self.clusters = tuple(one for one in found if isinstance(one.message, Cluster))
            self.endpoints = tuple(one for one in found if isinstance(one.message, ClusterLoadAssignment))
            names = frozenset(one.name for one in self.clusters)
            self.names = self.names if names == self.names else names

    @property
    def secrets(self) -> list[Translated]:
        """What clusters show to backends."""
        return [one for name in sorted(self._odd) for one in self._built[name][1][0] if isinstance(one.message, Secret)]

    @property
    def problems(self) -> list[Diagnostic]:
        """Why some clusters are left out."""
        return [problem for name in sorted(self._odd) for problem in self._built[name][1][1]]


def _translate(name: str, one: Wanted, order: Sequence[AnyFeature], check: Check) -> Built:
    cluster, problem = _built(name, one, order)
    reason = (upstream_problem(one.backend.tls) if one.backend.tls else "") or problem or check(cluster)
    origins = one.origins
    if reason:
        first = origins[0] if origins else None
        span, subject = (first.span, str(first.key)) if first else (None, "")
        return (), (diagnose("T101", span, subject=subject, name=name, reason=reason),)
    translated = []
    needs = ((SECRET, one.client.name),) if one.client else ()
    if one.client:
        translated.append(Translated(one.client.name, translate_secret(one.client), one.client.origins))
    if one.backend.dns:
        return (*translated, Translated(name, cluster, origins, needs)), ()
    translated.append(Translated(name, cluster, origins, ((ENDPOINTS, name), *needs)))
    translated.append(Translated(name, assignment(name, one.backend, _active(one.settings, order)), origins))
    return tuple(translated), ()


def _built(name: str, wanted: Wanted, features: Sequence[AnyFeature]) -> tuple[Cluster, str]:
    """The cluster with its defaults, changed by every feature that its routes' settings name; and why it cannot be."""
    backend = wanted.backend
    active = _active(wanted.settings, features)
    cluster = Cluster(name=name)
    cluster.connect_timeout.CopyFrom(duration(_CONNECT_TIMEOUT))
    cluster.per_connection_buffer_limit_bytes.CopyFrom(uint32(_BUFFER))
    cluster.circuit_breakers.CopyFrom(_default_limits())
    cluster.load_balancing_policy.CopyFrom(_default_balancing())
    # An endpoint that is taken away goes at once, whatever probes say about it.
    cluster.ignore_health_on_host_removal = True
    _set_discovery(cluster, backend, active)
    if backend.tls is not None:
        cluster.transport_socket.CopyFrom(upstream_socket(backend, backend.tls, wanted.client))
    parts = ClusterParts(cluster, _protocol(backend))
    problems = [feature.cluster_problem(value, parts) for feature, value in active]
    for feature, value in active:
        feature.cluster(value, parts)
    if backend.protocol in ("http1", "h2c"):
        cluster.typed_extension_protocol_options[_PROTOCOL_OPTIONS].CopyFrom(pack(parts.http))
    return cluster, next((problem for problem in problems if problem), "")


def _active(settings: Sequence[Setting], features: Sequence[AnyFeature]) -> Active:
    """The settings that change a cluster, in the order of the features."""
    return [
        (feature, setting.value)
        for feature in features
        for setting in settings
        if setting.feature == feature.name and feature.touches_cluster(setting.value)
    ]


def _default_limits() -> CircuitBreakers:
    limit = uint32(_LIMIT)
    thresholds = CircuitBreakers.Thresholds(
        max_connections=limit, max_pending_requests=limit, max_requests=limit, max_retries=limit
    )
    return CircuitBreakers(thresholds=[thresholds])


def _default_balancing() -> LoadBalancingPolicy:
    extension = TypedExtensionConfig(name="envoy.load_balancing_policies.round_robin", typed_config=pack(RoundRobin()))
    return LoadBalancingPolicy(policies=[LoadBalancingPolicy.Policy(typed_extension_config=extension)])


def _set_lookups(cluster: Cluster, lookups: tuple[str, ...]) -> None:
    """Hosts come from requests, by way of the cache that a filter fills."""
    cluster.cluster_type.name = CLUSTER_TYPE
    cluster.cluster_type.typed_config.CopyFrom(pack(ClusterConfig(dns_cache_config=cache_config(lookups))))
    own = TypedExtensionConfig(
        name="envoy.load_balancing_policies.cluster_provided", typed_config=pack(ClusterProvided())
    )
    cluster.load_balancing_policy.CopyFrom(
        LoadBalancingPolicy(policies=[LoadBalancingPolicy.Policy(typed_extension_config=own)])
    )


def _set_discovery(cluster: Cluster, backend: Backend, active: Active) -> None:
    if backend.lookups is not None:
        _set_lookups(cluster, backend.lookups)
        return
    if not backend.dns:
        cluster.type = Cluster.EDS
        cluster.eds_cluster_config.eds_config.CopyFrom(ads())
        return
    dns = DnsCluster(respect_dns_ttl=True, dns_lookup_family=V4_PREFERRED, dns_refresh_rate=duration(_DNS_REFRESH))
    cluster.cluster_type.name = "envoy.cluster.dns"
    cluster.cluster_type.typed_config.CopyFrom(pack(dns))
    cluster.load_assignment.CopyFrom(assignment(cluster.name, backend, active))


def _protocol(backend: Backend) -> HttpProtocolOptions:
    options = HttpProtocolOptions()
    if backend.lookups is not None:
        options.upstream_http_protocol_options.auto_sni = True
        options.upstream_http_protocol_options.auto_san_validation = True
    if backend.protocol == "h2c":
        http2 = options.explicit_http_config.http2_protocol_options
        http2.initial_stream_window_size.CopyFrom(uint32(_STREAM_WINDOW))
        http2.initial_connection_window_size.CopyFrom(uint32(_CONNECTION_WINDOW))
    else:
        options.explicit_http_config.http_protocol_options.SetInParent()
    return options
