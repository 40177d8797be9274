"""Collectors: services that take logs, traces and metrics, and how Envoy calls them.

In: `host` and `port`, or `backendRefs`, as Envoy Gateway writes them, with headers and attributes. Out: the service as a
backend, and Envoy's settings of a call. A `%` in a header is refused: Envoy reads operators there, some of which tell what is
in its environment, and knows no way to write a plain one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from xds_server.envoy_api.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from xds_server.envoy_api.envoy.config.core.v3.grpc_service_pb2 import GrpcService
from xds_server.envoy_api.envoy.extensions.tracers.opentelemetry.resource_detectors.v3.static_config_resource_detector_pb2 import (  # noqa: E501
    StaticConfigResourceDetectorConfig,
)
from xds_server.envoy_api.opentelemetry.proto.common.v1.common_pb2 import KeyValueList
from xds_server.features.contract import Context, pack
from xds_server.features.parts.servers import asking_problem, parse_server
from xds_server.features.parts.services import ServiceSpec, resolve_service, service_refused, with_settings
from xds_server.graph import Backend
from xds_server.spec import HeaderName, HeaderValue, Port, Spec, Text

AttributeName = Annotated[Text, Field(min_length=1, max_length=256)]
AttributeValue = Annotated[Text, Field(max_length=4096)]
Attributes = Annotated[dict[AttributeName, AttributeValue], Field(max_length=64)]
_OWN_HEADERS = ("content-type", "te", "host", "grpc-timeout", "grpc-encoding")
_NAMED = "gateway"


class HeaderSpec(Spec):
    """A header of every call."""

    name: HeaderName
    value: HeaderValue


Headers = Annotated[tuple[HeaderSpec, ...], Field(min_length=1, max_length=32)]


class AddressedSpec(ServiceSpec):
    """A service by reference, or by name and port."""

    host: Annotated[Text, Field(min_length=1, max_length=253)] | None = None
    port: Port = 4317


@dataclass(frozen=True, slots=True)
class Collector:
    """Who is called, and with which headers."""

    backend: Backend
    headers: tuple[tuple[str, str], ...] = ()


def resolve_address(spec: AddressedSpec, context: Context, purpose: str, *path: str | int) -> Backend | None:
    """The service that is meant, without a protocol yet; None if that was reported."""
    if spec.host is None:
        return resolve_service(spec, context, *path)
    if spec.elsewhere:
        context.problem("F103", *path, "host", reason="give either host or backendRefs")
        return None
    if service_refused(spec, context, *path):
        return None
    host = f"[{spec.host}]" if ":" in spec.host else spec.host
    server = parse_server(f"http://{host}:{spec.port}", purpose)
    if isinstance(server, str):
        context.problem("F103", *path, "host", reason=f"'{spec.host}' is no host: {server}")
        return None
    if problem := asking_problem(server, context):
        context.problem("F103", *path, "host", reason=problem)
        return None
    return with_settings(server.backend, spec, context, *path)


def over_grpc(backend: Backend) -> Backend:
    """The backend as one that is called by gRPC."""
    return replace(backend, name=f"{backend.name}~grpc", protocol="h2c")


def resolve_headers(
    written: Iterable[HeaderSpec], context: Context, *path: str | int
) -> tuple[tuple[str, str], ...] | None:
    """Names and values of headers; None if one cannot be sent."""
    found: dict[str, str] = {}
    for number, one in enumerate(written):
        name = one.name.lower()
        if name in found or name in _OWN_HEADERS or name.startswith(("x-envoy-", "grpc-")):
            reason = f"'{one.name}' is there twice" if name in found else f"'{one.name}' belongs to the call itself"
            context.problem("F103", *path, number, "name", reason=reason)
            return None
        if "%" in one.value:
            context.problem("F103", *path, number, "value", reason="a header of these calls cannot hold a '%'")
            return None
        found[name] = one.value
    return tuple(found.items())


def grpc_call(collector: Collector, cluster: str = "") -> GrpcService:
    """How the collector is called; `cluster`: under another name than that of its backend."""
    service = GrpcService()
    service.envoy_grpc.cluster_name = cluster or collector.backend.name
    hostname = next((one.hostname for one in collector.backend.endpoints if one.hostname), "collector")
    service.envoy_grpc.authority = hostname
    for name, value in collector.headers:
        service.initial_metadata.add(key=name, value=value)
    return service


def attribute_list(values: Iterable[tuple[str, str]]) -> KeyValueList:
    """Attributes as OpenTelemetry writes them, in the order of their names."""
    found = KeyValueList()
    for name, value in sorted(values):
        found.values.add(key=name).value.string_value = value
    return found


def attributes_of(values: Iterable[tuple[str, str]]) -> TypedExtensionConfig:
    """Attributes as Envoy finds them out about itself."""
    static = StaticConfigResourceDetectorConfig(attributes=dict(values))
    name = "envoy.tracers.opentelemetry.resource_detectors.static_config"
    return TypedExtensionConfig(name=name, typed_config=pack(static))


def gateway_of(name: str) -> tuple[str, str]:
    """Namespace and name of the gateway that a listener or chain of this name belongs to."""
    namespace, _, rest = name.partition("/")
    return namespace, rest.partition("/")[0] or _NAMED


def pairs(*given: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """The entries of mappings in the order of their names; the first mapping that has one counts."""
    found: dict[str, str] = {}
    for one in reversed(given):
        found |= one or {}
    return tuple(sorted(found.items()))
