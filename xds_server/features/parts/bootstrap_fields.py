"""Which fields of a bootstrap may be changed: all that is not listed here is refused.

In: the part of a bootstrap that somebody wants. Out: sentences about what it must not hold. What is listed is data: nothing
of it reads or writes files, reads the environment, runs code, asks for configuration, or sends bytes of one's choice to
Envoy's own admin interface.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from xds_server.features.parts.walk import OPERATORS, unpacked, values_of

CHANGEABLE = (
    "application_log_config",
    "cluster_manager",
    "layered_runtime",
    "memory_allocator_manager",
    "overload_manager",
    "static_resources",
    "stats_config",
    "stats_flush_interval",
    "stats_flush_on_admin",
    "stats_sinks",
    "typed_dns_resolver_config",
    "watchdogs",
)
_BOOTSTRAP = "envoy.config.bootstrap.v3."
_CLUSTER = "envoy.config.cluster.v3."
_CORE = "envoy.config.core.v3."
_METRICS = "envoy.config.metrics.v3."
_OVERLOAD = "envoy.config.overload.v3."
_ENDPOINT = "envoy.config.endpoint.v3."
_EXTENSIONS = "envoy.extensions."
_HTTP = f"{_EXTENSIONS}upstreams.http.v3.HttpProtocolOptions"
_MONITORS = f"{_EXTENSIONS}resource_monitors."
_TLS = f"{_EXTENSIONS}transport_sockets.tls.v3."
_MATCHER = "envoy.type.matcher.v3."
_SINK = "address prefix max_bytes_per_datagram scale_histogram_units_to_milliseconds"
# Messages, and those of their fields that may be set.
FIELDS = {
    name: frozenset(fields.split())
    for name, fields in {
        f"{_BOOTSTRAP}Bootstrap": " ".join(CHANGEABLE),
        f"{_BOOTSTRAP}Bootstrap.ApplicationLogConfig": "log_format",
        f"{_BOOTSTRAP}Bootstrap.ApplicationLogConfig.LogFormat": "json_format text_format",
        f"{_BOOTSTRAP}Bootstrap.StaticResources": "clusters",
        f"{_BOOTSTRAP}ClusterManager": "local_cluster_name upstream_bind_config enable_deferred_cluster_creation",
        f"{_BOOTSTRAP}LayeredRuntime": "layers",
        f"{_BOOTSTRAP}MemoryAllocatorManager": "bytes_to_release memory_release_interval soft_memory_limit_bytes"
        " max_per_cpu_cache_size_bytes max_unfreed_memory_bytes",
        f"{_BOOTSTRAP}RuntimeLayer": "name static_layer admin_layer",
        f"{_BOOTSTRAP}RuntimeLayer.AdminLayer": "",
        f"{_BOOTSTRAP}Watchdog": "miss_timeout megamiss_timeout kill_timeout max_kill_timeout_jitter multikill_timeout"
        " multikill_threshold",
        f"{_BOOTSTRAP}Watchdogs": "main_thread_watchdog worker_watchdog",
        f"{_CLUSTER}CircuitBreakers": "thresholds per_host_thresholds",
        f"{_CLUSTER}CircuitBreakers.Thresholds": "priority max_connections max_pending_requests max_requests max_retries"
        " retry_budget track_remaining max_connection_pools",
        f"{_CLUSTER}CircuitBreakers.Thresholds.RetryBudget": "budget_percent budget_interval min_retry_concurrency",
        f"{_CLUSTER}Cluster": "name alt_stat_name type connect_timeout per_connection_buffer_limit_bytes lb_policy"
        " load_assignment health_checks max_requests_per_connection circuit_breakers http_protocol_options"
        " http2_protocol_options typed_extension_protocol_options dns_refresh_rate dns_jitter dns_failure_refresh_rate"
        " respect_dns_ttl dns_lookup_family use_tcp_for_dns_lookups typed_dns_resolver_config wait_for_warm_on_init"
        " cleanup_interval upstream_bind_config transport_socket upstream_connection_options"
        " close_connections_on_host_health_failure ignore_health_on_host_removal",
        f"{_CLUSTER}Cluster.RefreshRate": "base_interval max_interval",
        f"{_CLUSTER}UpstreamConnectionOptions": "tcp_keepalive happy_eyeballs_config",
        f"{_CLUSTER}UpstreamConnectionOptions.HappyEyeballsConfig": "first_address_family_version"
        " first_address_family_count",
        f"{_CORE}Address": "socket_address",
        f"{_CORE}BackoffStrategy": "base_interval max_interval",
        f"{_CORE}BindConfig": "source_address freebind extra_source_addresses",
        f"{_CORE}DataSource": "inline_bytes inline_string",
        f"{_CORE}DnsResolverOptions": "use_tcp_for_dns_lookups no_default_search_domain",
        f"{_CORE}ExtraSourceAddress": "address",
        f"{_CORE}GrpcService": "envoy_grpc timeout initial_metadata",
        f"{_CORE}GrpcService.EnvoyGrpc": "cluster_name authority retry_policy max_receive_message_length"
        " skip_envoy_headers",
        f"{_CORE}HeaderValue": "key value",
        f"{_CORE}HealthCheck": "timeout interval initial_jitter interval_jitter interval_jitter_percent"
        " unhealthy_threshold healthy_threshold reuse_connection tcp_health_check grpc_health_check no_traffic_interval"
        " no_traffic_healthy_interval unhealthy_interval unhealthy_edge_interval healthy_edge_interval",
        f"{_CORE}HealthCheck.GrpcHealthCheck": "service_name authority",
        f"{_CORE}HealthCheck.TcpHealthCheck": "",
        f"{_CORE}Http1ProtocolOptions": "",
        f"{_CORE}Http2ProtocolOptions": "hpack_table_size max_concurrent_streams initial_stream_window_size"
        " initial_connection_window_size connection_keepalive",
        f"{_CORE}HttpProtocolOptions": "idle_timeout max_connection_duration max_stream_duration"
        " max_requests_per_connection",
        f"{_CORE}KeepaliveSettings": "interval timeout interval_jitter connection_idle_interval",
        f"{_CORE}Locality": "region zone sub_zone",
        f"{_CORE}RetryPolicy": "retry_back_off num_retries",
        f"{_CORE}RuntimeUInt64": "default_value runtime_key",
        f"{_CORE}SocketAddress": "protocol address port_value ipv4_compat",
        f"{_CORE}TcpKeepalive": "keepalive_probes keepalive_time keepalive_interval",
        f"{_CORE}TransportSocket": "name typed_config",
        f"{_CORE}TypedExtensionConfig": "name typed_config",
        f"{_CORE}UpstreamHttpProtocolOptions": "auto_sni auto_san_validation",
        f"{_ENDPOINT}ClusterLoadAssignment": "cluster_name endpoints",
        f"{_ENDPOINT}Endpoint": "address hostname",
        f"{_ENDPOINT}LbEndpoint": "endpoint health_status load_balancing_weight",
        f"{_ENDPOINT}LocalityLbEndpoints": "locality lb_endpoints load_balancing_weight priority",
        f"{_METRICS}DogStatsdSink": _SINK,
        f"{_METRICS}HistogramBucketSettings": "match buckets bins",
        f"{_METRICS}MetricsServiceConfig": "grpc_service transport_api_version report_counters_as_deltas"
        " emit_tags_as_labels histogram_emit_mode batch_size",
        f"{_METRICS}StatsConfig": "stats_tags use_all_default_tags stats_matcher histogram_bucket_settings"
        " allow_default_tag_overrides",
        f"{_METRICS}StatsMatcher": "reject_all exclusion_list inclusion_list",
        f"{_METRICS}StatsSink": "name typed_config",
        f"{_METRICS}StatsdSink": "address tcp_cluster_name prefix scale_histogram_units_to_milliseconds",
        f"{_METRICS}TagSpecifier": "tag_name regex fixed_value",
        f"{_OVERLOAD}BufferFactoryConfig": "minimum_account_to_track_power_of_two",
        f"{_OVERLOAD}LoadShedPoint": "name triggers",
        f"{_OVERLOAD}OverloadAction": "name triggers typed_config",
        f"{_OVERLOAD}OverloadManager": "refresh_interval resource_monitors actions loadshed_points buffer_factory_config",
        f"{_OVERLOAD}ResourceMonitor": "name typed_config",
        f"{_OVERLOAD}ScaleTimersOverloadActionConfig": "timer_scale_factors",
        f"{_OVERLOAD}ScaleTimersOverloadActionConfig.ScaleTimer": "timer min_timeout min_scale",
        f"{_OVERLOAD}ScaledTrigger": "scaling_threshold saturation_threshold",
        f"{_OVERLOAD}ThresholdTrigger": "value",
        f"{_OVERLOAD}Trigger": "name threshold scaled",
        f"{_EXTENSIONS}network.dns_resolver.cares.v3.CaresDnsResolverConfig": "resolvers use_resolvers_as_fallback"
        " filter_unroutable_families dns_resolver_options udp_max_queries query_timeout_seconds query_tries"
        " rotate_nameservers",
        f"{_EXTENSIONS}network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig": "num_retries"
        " num_resolver_threads",
        f"{_EXTENSIONS}stat_sinks.graphite_statsd.v3.GraphiteStatsdSink": _SINK,
        f"{_EXTENSIONS}stat_sinks.open_telemetry.v3.SinkConfig": "grpc_service report_counters_as_deltas"
        " report_histograms_as_deltas emit_tags_as_attributes use_tag_extracted_name prefix max_data_points_per_request",
        f"{_EXTENSIONS}transport_sockets.raw_buffer.v3.RawBuffer": "",
        f"{_HTTP}": "common_http_protocol_options upstream_http_protocol_options explicit_http_config",
        f"{_HTTP}.ExplicitHttpConfig": "http_protocol_options http2_protocol_options",
        f"{_MONITORS}cgroup_memory.v3.CgroupMemoryConfig": "max_memory_bytes",
        f"{_MONITORS}cpu_utilization.v3.CpuUtilizationConfig": "mode",
        f"{_MONITORS}downstream_connections.v3.DownstreamConnectionsConfig": "max_active_downstream_connections",
        f"{_MONITORS}fixed_heap.v3.FixedHeapConfig": "max_heap_size_bytes max_heap_size_bytes_runtime",
        f"{_TLS}CertificateValidationContext": "trusted_ca system_root_certs verify_certificate_spki"
        " verify_certificate_hash match_typed_subject_alt_names crl trust_chain_verification only_verify_leaf_cert_crl"
        " max_verify_depth",
        f"{_TLS}CertificateValidationContext.SystemRootCerts": "",
        f"{_TLS}CommonTlsContext": "tls_params tls_certificates validation_context alpn_protocols",
        f"{_TLS}SubjectAltNameMatcher": "san_type matcher oid",
        f"{_TLS}TlsCertificate": "certificate_chain private_key password ocsp_staple",
        f"{_TLS}TlsParameters": "tls_minimum_protocol_version tls_maximum_protocol_version cipher_suites ecdh_curves"
        " signature_algorithms compliance_policies",
        f"{_TLS}UpstreamTlsContext": "common_tls_context sni auto_host_sni auto_sni_san_validation max_session_keys"
        " enforce_rsa_key_usage",
        f"{_MATCHER}ListStringMatcher": "patterns",
        f"{_MATCHER}RegexMatcher": "google_re2 regex",
        f"{_MATCHER}RegexMatcher.GoogleRE2": "",
        f"{_MATCHER}StringMatcher": "exact prefix suffix safe_regex contains ignore_case",
        "envoy.type.v3.Percent": "value",
        "google.protobuf.BoolValue": "value",
        "google.protobuf.Duration": "seconds nanos",
        "google.protobuf.ListValue": "values",
        "google.protobuf.Struct": "fields",
        "google.protobuf.UInt32Value": "value",
        "google.protobuf.UInt64Value": "value",
        "google.protobuf.Value": "null_value number_value string_value bool_value struct_value list_value",
    }.items()
}
# What may stand in a typed_config. An extension that is named without one would be told by its name alone.
PACKED = frozenset(
    name
    for name in FIELDS
    if name.endswith(("Sink", "SinkConfig", "MetricsServiceConfig", "ScaleTimersOverloadActionConfig", "UpstreamTlsContext"))
    or name.startswith((_MONITORS, f"{_EXTENSIONS}network.", f"{_EXTENSIONS}transport_sockets.raw_buffer."))
    or name == _HTTP
) - {f"{_METRICS}StatsSink"}  # fmt: skip
_WITHOUT = (f"{_OVERLOAD}OverloadAction",)
_REASONS = {
    f"{_CORE}ConfigSource": "another source of configuration",
    f"{_CORE}ApiConfigSource": "another source of configuration",
    f"{_CORE}GrpcService.GoogleGrpc": "a client that reads files",
    f"{_CORE}Pipe": "a socket in the file system",
    f"{_BOOTSTRAP}RuntimeLayer.DiskLayer": "a folder of the Envoy",
    f"{_BOOTSTRAP}RuntimeLayer.RtdsLayer": "another source of configuration",
}
_TEXTS = ("inline_string", "text_format")


def refused(message: Message, where: str = "") -> Iterator[str]:
    """Sentences about all that must not be in a part of a bootstrap."""
    name = message.DESCRIPTOR.full_name
    fields = FIELDS.get(name, frozenset())
    if "typed_config" in fields and name not in _WITHOUT and not message.HasField("typed_config"):
        yield f"{where} needs a typed_config: its name alone does not say what it does"
    for field, value in message.ListFields():
        place = f"{where}.{field.name}".removeprefix(".")
        if field.name not in fields:
            yield _reason(field, place)
            continue
        for one in values_of(field, value):
            if isinstance(one, AnyMessage):
                yield from _packed(one, place)
            elif isinstance(one, Message):
                yield from refused(one, place)
            elif isinstance(one, str):
                yield from _text(field.name, one, place)
    if name == f"{_ENDPOINT}Endpoint":
        yield from _own_machine(message, where)


def _reason(field: Any, place: str) -> str:
    inner = field.message_type
    for one in [inner, *(below.message_type for below in inner.fields)] if inner is not None else []:
        if one is not None and one.full_name in _REASONS:
            return f"{place} is not for a bootstrap: this would be {_REASONS[one.full_name]}"
    return f"{place} is not among what a bootstrap may change"


def _packed(packed: AnyMessage, place: str) -> Iterator[str]:
    name = packed.TypeName()
    if name not in PACKED:
        yield f"{place}: an extension of the type {name} is not for a bootstrap"
        return
    payload = unpacked(packed)
    if payload is None:
        yield f"{place} is no {name}"
        return
    yield from refused(payload, place)


def _text(name: str, value: str, place: str) -> Iterator[str]:
    if name not in _TEXTS and not value.isprintable():
        yield f"{place} has control characters"
    if any(operator in value for operator in OPERATORS):
        yield f"{place} would read a file or the environment of the Envoy"


def _own_machine(endpoint: Any, where: str) -> Iterator[str]:
    """An admin interface listens on loopback: whoever reaches it controls the Envoy."""
    host = endpoint.address.socket_address.address
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        own = host.rstrip(".").lower().rpartition(".")[2] == "localhost"
    else:
        plain = getattr(address, "ipv4_mapped", None) or address
        own = plain.is_loopback or plain.is_unspecified
    if own:
        yield f"{where} is {host}: a cluster of a bootstrap does not lead to the Envoy's own machine"
