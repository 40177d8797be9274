"""What an Envoy counts, and who gets it, as it is written: `telemetry.metrics` of an EnvoyProxy.

In: nothing. Out: spec classes.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from xds_server.features.parts.collectors import AddressedSpec, Attributes, Headers
from xds_server.features.parts.patterns import StringMatchSpec
from xds_server.spec import Bool, Spec


class MetricsCollectorSpec(AddressedSpec):
    """A collector of OpenTelemetry metrics, by gRPC."""

    headers: Headers | None = None
    resource_attributes: Attributes | None = None
    report_counters_as_deltas: Bool = False
    report_histograms_as_deltas: Bool = False


class MetricSinkSpec(Spec):
    """Who gets metrics."""

    type: Literal["OpenTelemetry"] = "OpenTelemetry"
    open_telemetry: MetricsCollectorSpec


class PrometheusSpec(Spec):
    """Where an Envoy tells what it counts, for Prometheus. Without an address nowhere but at its admin interface."""

    disable: Bool = False
    address: Annotated[str, Field(max_length=45)] | None = None
    port: Annotated[int, Field(strict=True, ge=1, le=65535)] = 19100


class ProxyMetricsSpec(Spec):
    """What is counted besides what Envoy counts by itself, or of that, and who gets it."""

    prometheus: PrometheusSpec | None = None
    sinks: Annotated[tuple[MetricSinkSpec, ...], Field(max_length=16)] = ()
    matches: Annotated[tuple[StringMatchSpec, ...], Field(max_length=64)] = ()
    enable_virtual_host_stats: Bool = False
    enable_per_endpoint_stats: Bool = False
    enable_request_response_sizes_stats: Bool = False
    enable_grpc_stats: Annotated[Bool, Field(alias="enableGRPCStats")] = False
