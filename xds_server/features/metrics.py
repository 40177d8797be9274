"""What is counted of all requests of a Gateway, and who gets it: by host, endpoint and size, gRPC calls by their outcome.

In: `telemetry.metrics` of an EnvoyProxy. Out: a filter of listeners, a virtual cluster in every virtual host, what clusters
track; and in the bootstrap who gets metrics, and which there are. For Prometheus there is a listener of its own. Names of gRPC
methods are not counted: clients choose them, and every name is memory for ever.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from xds_server.envoy_api.envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from xds_server.envoy_api.envoy.config.listener.v3.listener_pb2 import Listener
from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import HeaderMatcher, VirtualCluster, VirtualHost
from xds_server.envoy_api.envoy.extensions.filters.http.grpc_stats.v3.config_pb2 import FilterConfig
from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from xds_server.envoy_api.envoy.extensions.stat_sinks.open_telemetry.v3.open_telemetry_pb2 import SinkConfig
from xds_server.features.contract import ClusterParts, Context, Feature, fixed_name, pack
from xds_server.features.parts.collectors import (
    Collector,
    attributes_of,
    grpc_call,
    over_grpc,
    pairs,
    resolve_address,
    resolve_headers,
)
from xds_server.features.parts.metrics_listener import admin_cluster, metrics_chain
from xds_server.features.parts.metrics_specs import MetricsCollectorSpec, PrometheusSpec
from xds_server.features.parts.patterns import check_regex, string_matcher
from xds_server.features.parts.proxy_telemetry import ProxyTelemetrySpec
from xds_server.graph import Backend

_HOST_STATS = "requests"
_ALWAYS = (
    ("Prefix", "cluster_manager."),
    ("Prefix", "listener_manager."),
    ("Suffix", ".downstream_cx_active"),
    ("Suffix", ".downstream_rq_active"),
)
"""What tells whether an Envoy is ready, and whether it still has requests: whoever runs it must see that."""


@dataclass(frozen=True, slots=True)
class MetricSink:
    """A collector, and what all metrics say of where they are from; sums since the last time, or since the beginning."""

    collector: Collector
    resource: tuple[tuple[str, str], ...]
    counters_as_deltas: bool
    histograms_as_deltas: bool


@dataclass(frozen=True, slots=True)
class Metrics:
    """What is counted. `matches` are (type, text) pairs of names: others do not exist; none: all do.

    `told` is an address and a port at which Prometheus may ask for it.
    """

    hosts: bool
    endpoints: bool
    sizes: bool
    grpc: bool
    sinks: tuple[MetricSink, ...] = ()
    matches: tuple[tuple[str, str], ...] = ()
    told: tuple[str, int] | None = None


class MetricsFeature(Feature[ProxyTelemetrySpec, Metrics]):
    """`telemetry.metrics` of an EnvoyProxy."""

    name = "metrics"
    carriers = (("EnvoyProxy", "telemetry"),)
    transports = ("http", "tcp")

    def resolve(self, spec: ProxyTelemetrySpec, context: Context) -> Metrics | None:
        """What is counted, or None for a collector that cannot be called and a name that is no expression."""
        written = spec.metrics
        if written is None:
            return None
        good = True
        for number, match in enumerate(written.matches):
            if match.type == "RegularExpression":
                good = check_regex(context, match.value, "metrics", "matches", number, "value") and good
        sinks = [_sink(one.open_telemetry, context, number) for number, one in enumerate(written.sinks)]
        good = _reachable(written.prometheus, context) and good
        if not good or None in sinks:
            return None
        asked = written.prometheus
        return Metrics(
            written.enable_virtual_host_stats,
            written.enable_per_endpoint_stats,
            written.enable_request_response_sizes_stats,
            written.enable_grpc_stats,
            tuple(one for one in sinks if one is not None),
            tuple((one.type, one.value) for one in written.matches),
            (asked.address, asked.port) if asked and asked.address and not asked.disable else None,
        )

    def place(self, value: Metrics) -> tuple[str, int] | None:
        """Where Prometheus may ask."""
        return value.told

    def listener(self, value: Metrics, listener: Listener) -> None:
        """What answers there."""
        listener.filter_chains.append(metrics_chain())

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

    def backends(self, value: Metrics) -> Sequence[Backend]:
        """The collectors."""
        return tuple(one.collector.backend for one in value.sinks)

    def fixed_backends(self, value: Metrics) -> Sequence[Backend]:
        """Envoy wants to know from the start whom it sends metrics to."""
        return self.backends(value)

    def bootstrap(self, value: Metrics, bootstrap: Bootstrap) -> None:
        """Who gets metrics, and which names there are."""
        for one in value.sinks:
            config = SinkConfig(
                grpc_service=grpc_call(one.collector, fixed_name(one.collector.backend)),
                report_counters_as_deltas=one.counters_as_deltas,
                report_histograms_as_deltas=one.histograms_as_deltas,
            )
            if one.resource:
                config.resource_detectors.append(attributes_of(one.resource))
            bootstrap.stats_sinks.add(name="envoy.stat_sinks.open_telemetry", typed_config=pack(config))
        if value.matches:
            patterns = [string_matcher(kind, text) for kind, text in (*_ALWAYS, *value.matches)]
            bootstrap.stats_config.stats_matcher.inclusion_list.patterns.extend(patterns)
        if value.told is not None:
            bootstrap.static_resources.clusters.append(admin_cluster())


def _reachable(spec: PrometheusSpec | None, context: Context) -> bool:
    """Whether it is said where Prometheus may ask; if not, it is reported."""
    if spec is None or spec.disable:
        return True
    if spec.address is None:
        hint = "such as address: 127.0.0.1; disable: true for nowhere"
        reason = "write the address: whoever reaches it reads what the Envoy counts"
        context.problem("F103", "metrics", "prometheus", hint=hint, reason=reason)
        return False
    try:
        found = ipaddress.ip_address(spec.address)
    except ValueError:
        found = None
    if found is None or found.is_multicast:
        reason = f"'{spec.address}' is not an IP address at which something can listen"
        context.problem("F103", "metrics", "prometheus", "address", reason=reason)
        return False
    return True


def _sink(spec: MetricsCollectorSpec, context: Context, number: int) -> MetricSink | None:
    path = ("metrics", "sinks", number, "openTelemetry")
    backend = resolve_address(spec, context, "otlp", *path)
    headers = resolve_headers(spec.headers or (), context, *path, "headers")
    if backend is None or headers is None:
        return None
    return MetricSink(
        Collector(over_grpc(backend), headers),
        pairs(spec.resource_attributes),
        spec.report_counters_as_deltas,
        spec.report_histograms_as_deltas,
    )


METRICS = MetricsFeature()
