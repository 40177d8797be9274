"""Traces as they are written: `telemetry.tracing` of an EnvoyProxy, and of a BackendTrafficPolicy.

In: nothing. Out: spec classes. What fits together is for `features/tracing.py` to say.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from xds_server.features.parts.collectors import AddressedSpec, AttributeName, Attributes, AttributeValue, Headers
from xds_server.spec import Bool, Fraction, HeaderName, Spec, Text

Format = Annotated[str, Field(min_length=1, max_length=4096)]
Percent = Annotated[int, Field(strict=True, ge=0, le=100)]


class LiteralTagSpec(Spec):
    """A text."""

    value: Annotated[AttributeValue, Field(min_length=1)]


class EnvironmentTagSpec(Spec):
    """A variable of the Envoy's environment: refused."""

    name: Text
    default_value: Text | None = None


class HeaderTagSpec(Spec):
    """What a header of the request says."""

    name: HeaderName
    default_value: AttributeValue | None = None


class CustomTagSpec(Spec):
    """The value of a tag, in the older way: one of the fields, the one of the `type`."""

    type: Literal["Literal", "Environment", "RequestHeader"] = "Literal"
    literal: LiteralTagSpec | None = None
    environment: EnvironmentTagSpec | None = None
    request_header: HeaderTagSpec | None = None


class SpanNameSpec(Spec):
    """What spans are called: that of the request as the client sees it, and that of the call of the backend."""

    client: Format
    server: Format


class TracingSpec(Spec):
    """How many requests are traced, and what their spans say."""

    sampling_fraction: Fraction | None = None
    client_sampling_fraction: Fraction | None = None
    overall_sampling_fraction: Fraction | None = None
    custom_tags: Annotated[dict[AttributeName, CustomTagSpec] | None, Field(max_length=64)] = None
    tags: Annotated[dict[AttributeName, Format] | None, Field(max_length=64)] = None
    span_name: SpanNameSpec | None = None


class ZipkinSpec(Spec):
    """How ids are made."""

    enable_128_bit_trace_id: Annotated[Bool, Field(alias="enable128BitTraceId")] = False
    disable_shared_span_context: Bool = False


class SamplerSpec(Spec):
    """Who decides what is traced, in place of Envoy."""

    type: Literal[
        "AlwaysOn",
        "AlwaysOff",
        "TraceIdRatio",
        "ParentBasedAlwaysOn",
        "ParentBasedAlwaysOff",
        "ParentBasedTraceIdRatio",
    ] = "AlwaysOn"
    sampling_percentage: Fraction | None = None


class OpenTelemetrySpec(Spec):
    """What a collector of OpenTelemetry is told besides."""

    headers: Headers | None = None
    resource_attributes: Attributes | None = None
    sampler: SamplerSpec | None = None


class ProviderSpec(AddressedSpec):
    """Who gets the spans."""

    type: Literal["OpenTelemetry", "Zipkin", "Datadog"] = "OpenTelemetry"
    service_name: Annotated[Text, Field(min_length=1, max_length=253)] | None = None
    zipkin: ZipkinSpec | None = None
    open_telemetry: OpenTelemetrySpec | None = None


class ProxyTracingSpec(TracingSpec):
    """Traces of all requests of a Gateway."""

    sampling_rate: Percent | None = None
    provider: ProviderSpec


class RequestIdSpec(Spec):
    """What the id of a request, `x-request-id`, has to do with traces."""

    tracing: Literal["PackAndSample", "Sample", "Pack", "Disable"] | None = None
