"""What is in a message, with all that is packed in it.

In: a message that was read from JSON. Out: the same with equal bytes for equal contents, and what it leads to: secrets and
route tables by name, and whatever is outside of Envoy's own configuration: files, sockets, environment, native code, other
servers of configuration and Envoy's own connections. What cannot be looked into is outside, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from xds_server.features.parts.api_types import load_type
from xds_server.features.parts.walk import OPERATORS, is_map, unpacked, values_of

_OUTSIDE = {
    "envoy.config.core.v3.DataSource": ("filename", "environment_variable", "watched_directory"),
    "envoy.config.core.v3.ConfigSource": ("path", "path_config_source", "api_config_source", "self", "authorities"),
    "envoy.config.core.v3.Pipe": ("path",),
    "envoy.config.core.v3.SocketAddress": ("network_namespace_filepath",),
    "envoy.config.core.v3.HealthCheck": ("event_log_path",),
    "envoy.config.core.v3.GrpcService": ("google_grpc",),
    "envoy.config.core.v3.GrpcService.GoogleGrpc": ("credentials_factory_name", "call_credentials", "channel_credentials"),
    "envoy.config.route.v3.RouteAction": ("cluster_header",),
    "envoy.config.route.v3.RouteAction.RequestMirrorPolicy": ("cluster_header",),
    "envoy.config.route.v3.WeightedCluster.ClusterWeight": ("cluster_header",),
    "envoy.config.tap.v3.FilePerTapSink": ("path_prefix",),
    "envoy.config.trace.v3.DynamicOtConfig": ("library",),
    "envoy.config.trace.v3.LightstepConfig": ("access_token_file",),
    "envoy.extensions.access_loggers.file.v3.FileAccessLog": ("path",),
    "envoy.extensions.common.aws.v3.CredentialsFileCredentialProvider": ("profile", "credentials_data_source"),
    "envoy.extensions.dynamic_modules.v3.DynamicModuleConfig": ("name", "module"),
    "envoy.extensions.filters.http.aws_lambda.v3.Config": ("credentials_profile",),
    "envoy.extensions.filters.http.file_server.v3.FileServerConfig": ("path_mappings",),
    "envoy.extensions.filters.http.file_system_buffer.v3.FileSystemBufferFilterConfig": ("manager_config",),
    "envoy.extensions.filters.http.grpc_json_reverse_transcoder.v3.GrpcJsonReverseTranscoder": ("descriptor_path",),
    "envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder": ("proto_descriptor",),
    "envoy.extensions.filters.http.lua.v3.Lua": (
        "default_source_code", "inline_code", "package_cpaths", "package_paths", "shared_vm_id", "source_codes",
    ),
    "envoy.extensions.filters.http.lua.v3.LuaPerRoute": (
        "package_cpaths", "package_paths", "shared_vm_id", "source_code",
    ),
    "envoy.extensions.filters.network.thrift_proxy.v3.RouteAction": ("cluster_header",),
    "envoy.extensions.geoip_providers.maxmind.v3.MaxMindConfig": (
        "city_db_path", "asn_db_path", "anon_db_path", "isp_db_path", "country_db_path",
    ),
    "envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink": ("event_log_path",),
    "envoy.extensions.http.cache.file_system_http_cache.v3.FileSystemHttpCacheConfig": ("cache_path",),
    "envoy.extensions.http.cache_v2.file_system_http_cache.v3.FileSystemHttpCacheV2Config": ("cache_path",),
    "envoy.extensions.key_value.file_based.v3.FileBasedKeyValueStoreConfig": ("filename",),
    "envoy.extensions.router.cluster_specifiers.lua.v3.LuaConfig": ("source_code",),
    "envoy.extensions.string_matcher.lua.v3.Lua": ("source_code",),
    "envoy.extensions.transport_sockets.tls.v3.TlsKeyLog": ("path",),
    "envoy.extensions.wasm.v3.EnvironmentVariables": ("host_env_keys",),
}  # fmt: skip
_OWN = "cellway_"  # clusters of the bootstrap: no namespace begins like that
_CHOICE = "envoy.tcp_proxy.cluster"  # filter state that names a cluster
_UNTYPED = {
    "google.protobuf.ListValue",
    "google.protobuf.Struct",
    "google.protobuf.Value",
    "udpa.type.v1.TypedStruct",
    "xds.type.v3.TypedStruct",
}  # Envoy makes another message of these, which would not be looked at
_NAMES = {
    "envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig": ("secrets", "name"),
    "envoy.extensions.filters.network.http_connection_manager.v3.Rds": ("tables", "route_config_name"),
}


@dataclass(slots=True)
class Contents:
    """Names of secrets and of route tables, and words for what leads outside; `own`: to clusters of the Envoy's own."""

    secrets: set[str] = field(default_factory=set)
    tables: set[str] = field(default_factory=set)
    outside: set[str] = field(default_factory=set)
    own: bool = False


def settle(message: Message) -> Contents:
    """Pack what is packed in a message in the one way that gives equal bytes, and tell what the message leads to."""
    contents = Contents()
    _settle(message, contents)
    return contents


def _settle(message: Any, contents: Contents) -> None:
    if isinstance(message, AnyMessage):
        _settle_payload(message, contents)
        return
    name = message.DESCRIPTOR.full_name
    told = _NAMES.get(name)
    if told is not None and (value := getattr(message, told[1])):
        getattr(contents, told[0]).add(value)
    for descriptor, value in message.ListFields():
        if descriptor.name in _OUTSIDE.get(name, ()):
            contents.outside.add(f"{name.rpartition('.')[2]}.{descriptor.name} {_shown(value, message)}".strip())
        for one in (*values_of(descriptor, value), *(value if is_map(descriptor) else ())):
            if isinstance(one, Message):
                _settle(one, contents)
            elif isinstance(one, str | bytes):
                contents.outside.update(_said(f"{name.rpartition('.')[2]}.{descriptor.name}", one))
                contents.own = contents.own or _own(one)


def _said(place: str, value: str | bytes) -> Iterator[str]:
    """Words for what a text leads to, without the text: it may be secret."""
    text = value if isinstance(value, str) else value.decode("utf-8", "replace")
    yield from (f"{operator}...)%" for operator in OPERATORS if operator in text)
    if _own(text):
        yield f"{place} {_OWN}..."
    if _CHOICE in text:
        yield f"{place} {_CHOICE}"


def _own(value: str | bytes) -> bool:
    return value.startswith(_OWN) if isinstance(value, str) else value.startswith(_OWN.encode())


def _shown(value: Any, message: Message) -> str:
    """What tells it from others: a script that is there already may stay, and may not become another one."""
    if isinstance(value, str):
        return value
    return hashlib.sha256(message.SerializeToString(deterministic=True)).hexdigest()[:8]


def _settle_payload(packed: AnyMessage, contents: Contents) -> None:
    name = packed.type_url.rpartition("/")[2]
    if name in _UNTYPED:
        contents.outside.add(f"a payload without a type of its own, {name}")
    load_type(name)
    payload = unpacked(packed)
    if payload is None:
        contents.outside.add(f"a payload of the unknown type {packed.type_url}")
        return
    _settle(payload, contents)
    packed.value = payload.SerializeToString(deterministic=True)
