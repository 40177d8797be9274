"""EnvoyProxy as it is written: settings of the Envoys of a Gateway, or of all Gateways of a class.

Follows gateway.envoyproxy.io/v1alpha1. Fields that only mean something in Kubernetes are not declared.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from xds_server.features.backend_tls_defaults import BackendTlsDefaultsSpec
from xds_server.features.dynamic_modules import LibrariesSpec
from xds_server.features.filter_order import FilterOrderSpec
from xds_server.features.ip_family import Family
from xds_server.features.parts.proxy_telemetry import ProxyTelemetrySpec
from xds_server.features.routing_type import RoutingTypeSpec
from xds_server.spec import Duration, Spec, Text

LogLevel = Literal["trace", "debug", "info", "warn", "error", "critical", "off"]


class ProxyLoggingSpec(Spec):
    """How much an Envoy says of itself, by component; `default` stands for all others."""

    level: dict[str, LogLevel] | None = None


class ShutdownSpec(Spec):
    """How an Envoy ends that is stopped or replaced."""

    drain_timeout: Duration | None = None
    min_drain_duration: Duration | None = None
    health_check_failure_delay: Duration | None = None


class JsonPatchSpec(Spec):
    """One operation of RFC 6902."""

    op: Literal["add", "remove", "replace", "move", "copy", "test"]
    path: Annotated[Text, Field(min_length=1, max_length=512)]
    from_: Annotated[Annotated[Text, Field(max_length=512)] | None, Field(alias="from")] = None
    value: JsonValue = None


class ProxyBootstrapSpec(Spec):
    """Changes of the bootstrap."""

    type: Literal["Merge", "JSONPatch"]
    value: Annotated[str, Field(min_length=1, max_length=65536)] | None = None
    json_patches: Annotated[
        tuple[JsonPatchSpec, ...] | None, Field(alias="jsonPatches", min_length=1, max_length=64)
    ] = None


class EnvoyProxySpec(Spec):
    """What a Gateway or a GatewayClass refers to by `parametersRef`."""

    telemetry: ProxyTelemetrySpec | None = None
    logging: ProxyLoggingSpec | None = None
    concurrency: Annotated[int, Field(strict=True, ge=1, le=512)] | None = None
    shutdown: ShutdownSpec | None = None
    bootstrap: ProxyBootstrapSpec | None = None
    filter_order: FilterOrderSpec | None = None
    dynamic_modules: LibrariesSpec | None = None
    ip_family: Family | None = None
    backend_tls: Annotated[BackendTlsDefaultsSpec | None, Field(alias="backendTLS")] = None
    routing_type: RoutingTypeSpec | None = None
    extra_args: Annotated[tuple[Text, ...] | None, Field(max_length=64)] = None
