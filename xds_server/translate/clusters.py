"""Backends and the settings of the routes to them -> Envoy clusters and endpoint assignments.

In: the graph of a gateway. Out: one `Cluster` a name, and for backends with IP addresses a `ClusterLoadAssignment` of
the same name: a change of endpoints is a change of that alone. A backend by DNS name carries its names in the cluster.
A cluster that Envoy would refuse is left out, with a diagnostic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import is_

from google.protobuf.message import Message

from xds_server.diagnostics import Diagnostic, diagnose
from xds_server.envoy_api.envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from xds_server.envoy_api.envoy.config.cluster.v3.cluster_pb2 import Cluster, LoadBalancingPolicy
from xds_server.envoy_api.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from xds_server.envoy_api.envoy.extensions.clusters.common.dns.v3.dns_pb2 import V4_PREFERRED
from xds_server.envoy_api.envoy.extensions.clusters.dns.v3.dns_cluster_pb2 import DnsCluster
from xds_server.envoy_api.envoy.extensions.clusters.dynamic_forward_proxy.v3.cluster_pb2 import ClusterConfig
from xds_server.envoy_api.envoy.extensions.load_balancing_policies.cluster_provided.v3.cluster_provided_pb2 import (
    ClusterProvided,
)
from xds_server.envoy_api.envoy.extensions.load_balancing_policies.round_robin.v3.round_robin_pb2 import RoundRobin
from xds_server.envoy_api.envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from xds_server.features.contract import AnyFeature, ClusterParts, pack
from xds_server.features.parts.name_cache import CLUSTER_TYPE, cache_config
from xds_server.features.parts.values import ads, duration, uint32
from xds_server.graph import (
    Backend,
    Certificate,
    Destination,
    Forward,
    Gateway,
    Mirror,
    Route,
    Setting,
    StreamChain,
    StreamRoute,
    VirtualHost,
)
from xds_server.translate.endpoints import Active, assignment
from xds_server.translate.message import Translated
from xds_server.translate.tls import SECRET, translate_secret, upstream_problem, upstream_socket
from xds_server.types import Origin

ENDPOINTS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
_PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_BUFFER = 32 * 1024
_LIMIT = 1024
_CONNECT_TIMEOUT = 5.0
_DNS_REFRESH = 30.0
_STREAM_WINDOW = 64 * 1024
_CONNECTION_WINDOW = 1024 * 1024


@dataclass(slots=True)
class Wanted:
    """A cluster that something refers to. Equal names have equal backends and settings. `client` is for TLS only.

    `own` are its settings, beside the Gateway's. `makers` are the documents behind it, as they were found at several places.
    """

    backend: Backend
    own: tuple[Setting, ...] = ()
    wide: tuple[Setting, ...] = ()
    client: Certificate | None = None
    makers: list[Mapping[Origin, None]] = field(default_factory=list)

    @property
    def settings(self) -> tuple[Setting, ...]:
        """All settings of it."""
        return (*self.own, *self.wide)

    @property
    def origins(self) -> tuple[Origin, ...]:
        """The documents behind it."""
        found: dict[Origin, None] = {}
        for one in self.makers:
            found.update(one)
        return tuple(found)

    def is_as(self, other: Wanted) -> bool:
        """True if nothing about it is another object."""
        return (
            self.backend is other.backend
            and self.own is other.own
            and self.wide is other.wide
            and self.client is other.client
            and len(self.makers) == len(other.makers)
            and all(map(is_, self.makers, other.makers))
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Share:
    """What the routes of one virtual host, or one chain, want of a cluster."""

    backend: Backend
    settings: tuple[Setting, ...]
    origins: dict[Origin, None]


Built = tuple[tuple[Translated, ...], tuple[Diagnostic, ...]]


class ClustersMemory:
    """What hosts want, and what clusters became, kept from call to call."""

    def __init__(self) -> None:
        self.built: dict[str, tuple[Wanted, Built]] = {}
        self._last: dict[int, tuple[VirtualHost, Mapping[str, _Share]]] = {}
        self._now: dict[int, tuple[VirtualHost, Mapping[str, _Share]]] = {}
        self._wide: tuple[tuple[Setting, ...], Mapping[Origin, None]] = (), {}

    def begin(self) -> None:
        """A call begins: what it does not ask for is forgotten."""
        self._last, self._now = self._now, {}

    def origins_of(self, settings: tuple[Setting, ...], features: Mapping[str, AnyFeature]) -> Mapping[Origin, None]:
        """The documents behind those settings of a Gateway that change clusters."""
        if self._wide[0] is not settings:
            self._wide = settings, dict.fromkeys(_touching(settings, features))
        return self._wide[1]

    def of_host(self, host: VirtualHost, features: Mapping[str, AnyFeature]) -> Mapping[str, _Share]:
        """The clusters that a virtual host wants, by name."""
        known = self._last.get(id(host)) or (host, _shares(host.routes, features))
        self._now[id(host)] = known
        return known[1]


def wanted_clusters(gateway: Gateway, features: Mapping[str, AnyFeature], memory: ClustersMemory) -> dict[str, Wanted]:
    """Every cluster that the gateway needs, by name: of routes, and of features (key servers)."""
    found: dict[str, Wanted] = {}
    memory.begin()
    wide = memory.origins_of(gateway.settings, features)
    for shares in _all_shares(gateway, features, memory):
        for name, share in shares.items():
            wanted = found.get(name)
            if wanted is None:
                client = _client(gateway, share.backend)
                wanted = found[name] = Wanted(share.backend, share.settings, gateway.settings, client, [wide])
            wanted.makers.append(share.origins)
    return dict(sorted(found.items()))


def _all_shares(
    gateway: Gateway, features: Mapping[str, AnyFeature], memory: ClustersMemory
) -> Iterator[Mapping[str, _Share]]:
    """What is wanted of clusters by routes, and then by chains and ports."""
    services: dict[str, _Share] = {}
    _add_services(gateway.settings, features, services)
    for port in gateway.ports:
        _add_services(port.settings, features, services)
        for chain in port.chains:
            _add_services(chain.settings, features, services)
            if isinstance(chain, StreamChain):
                yield _shares((chain.route,), features)
            else:
                yield from (memory.of_host(host, features) for host in chain.hosts)
    yield services


def _shares(routes: Iterable[Route | StreamRoute], features: Mapping[str, AnyFeature]) -> dict[str, _Share]:
    found: dict[str, _Share] = {}
    for route in routes:
        for share in _destinations(route):
            if share.backend is not None:
                wanted = found.setdefault(share.cluster, _Share(share.backend, route.settings, {}))
                wanted.origins.update(dict.fromkeys((*share.backend.origins, *_touching(route.settings, features))))
        _add_services(route.settings, features, found)
    return found


def _add_services(settings: Iterable[Setting], features: Mapping[str, AnyFeature], found: dict[str, _Share]) -> None:
    """Add the clusters of services that settings ask for (key servers)."""
    for setting in settings:
        for backend in features[setting.feature].backends(setting.value):
            wanted = found.setdefault(backend.name, _Share(backend, backend.settings, {}))
            wanted.origins.update(dict.fromkeys(setting.origins))


def _client(gateway: Gateway, backend: Backend) -> Certificate | None:
    """The certificate that the gateway shows to a backend."""
    return (backend.tls.client or gateway.client) if backend.tls is not None else None


def _destinations(route: Route | StreamRoute) -> tuple[Destination | Mirror, ...]:
    if isinstance(route, StreamRoute):
        return route.destinations
    return (*route.action.destinations, *route.action.mirrors) if isinstance(route.action, Forward) else ()


def _touching(settings: Iterable[Setting], features: Mapping[str, AnyFeature]) -> Iterator[Origin]:
    for setting in settings:
        if features[setting.feature].touches_cluster(setting.value):
            yield from setting.origins


def translate_clusters(
    wanted: Mapping[str, Wanted],
    features: Iterable[AnyFeature],
    check: Callable[[Message], str | None],
    memory: ClustersMemory,
) -> tuple[list[Translated], list[Diagnostic]]:
    """Clusters and endpoint assignments in the order of their names."""
    order = tuple(features)
    last, memory.built = memory.built, {}
    for name, one in wanted.items():
        known = last.get(name)
        memory.built[name] = known if known and known[0].is_as(one) else (one, _translate(name, one, order, check))
    found = [built for _, built in memory.built.values()]
    return [one for messages, _ in found for one in messages], [one for _, problems in found for one in problems]


def _translate(name: str, one: Wanted, order: Sequence[AnyFeature], check: Callable[[Message], str | None]) -> Built:
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
