"""Traces: which requests are traced, what their spans say, and who gets these.

In: `telemetry.tracing` and `telemetry.requestID` of an EnvoyProxy, and `telemetry.tracing` of a BackendTrafficPolicy. Out:
the tracing of connection managers, and what is different on a route. A policy alone traces nothing: it takes an EnvoyProxy
to say where spans go. What the policy does not say stays as there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from google.protobuf.message import Message

from xds_server.envoy_api.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route
from xds_server.envoy_api.envoy.config.trace.v3.datadog_pb2 import DatadogConfig
from xds_server.envoy_api.envoy.config.trace.v3.opentelemetry_pb2 import OpenTelemetryConfig
from xds_server.envoy_api.envoy.config.trace.v3.zipkin_pb2 import ZipkinConfig
from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from xds_server.envoy_api.envoy.extensions.request_id.uuid.v3.uuid_pb2 import UuidRequestIdConfig
from xds_server.envoy_api.envoy.extensions.tracers.opentelemetry.samplers.v3.always_on_sampler_pb2 import (
    AlwaysOnSamplerConfig,
)
from xds_server.envoy_api.envoy.extensions.tracers.opentelemetry.samplers.v3.parent_based_sampler_pb2 import (
    ParentBasedSamplerConfig,
)
from xds_server.envoy_api.envoy.extensions.tracers.opentelemetry.samplers.v3.trace_id_ratio_based_sampler_pb2 import (
    TraceIdRatioBasedSamplerConfig,
)
from xds_server.features.contract import Context, Feature, Idle, pack
from xds_server.features.parts.collectors import (
    Collector,
    attributes_of,
    gateway_of,
    grpc_call,
    over_grpc,
    pairs,
    resolve_address,
    resolve_headers,
)
from xds_server.features.parts.proxy_telemetry import ProxyTelemetrySpec
from xds_server.features.parts.route_telemetry import TelemetrySpec
from xds_server.features.parts.span_tags import ALL, Spans, custom_tags, fraction, millionths, resolve_spans
from xds_server.features.parts.tracing_specs import ProviderSpec, ProxyTracingSpec, SamplerSpec
from xds_server.graph import Backend

_PARENT_BASED = "ParentBased"
_FINEST = ALL // 10_000
_FINEST_OF_CLIENTS = ALL // 100
_PACKING = {
    "PackAndSample": (True, True),
    "Sample": (False, True),
    "Pack": (True, False),
    "Disable": (False, False),
}


@dataclass(frozen=True, slots=True)
class Sampler:
    """A share of traces by their id, in millionths; `by_parent`: unless whoever calls has decided."""

    share: int
    by_parent: bool


@dataclass(frozen=True, slots=True)
class Provider:
    """Who gets the spans, in which form. `service` empty: the gateway's name."""

    kind: str
    collector: Collector
    service: str
    resource: tuple[tuple[str, str], ...] = ()
    sampler: Sampler | None = None
    long_ids: bool = False
    shared_span: bool = True


@dataclass(frozen=True, slots=True)
class Tracing:
    """Traces of a gateway; or, without a `provider`, what is different on a route.

    `packing`: the decision stands in the id of a request, and is read out of it.
    """

    spans: Spans
    provider: Provider | None = None
    packing: tuple[bool, bool] | None = None


class TracingFeature(Feature[ProxyTelemetrySpec | TelemetrySpec, Tracing]):
    """`telemetry.tracing` of an EnvoyProxy and of a BackendTrafficPolicy."""

    name = "tracing"
    carriers: ClassVar[tuple[tuple[str, str], ...]] = (
        ("EnvoyProxy", "telemetry"),
        ("BackendTrafficPolicy", "telemetry"),
    )

    def resolve(self, spec: ProxyTelemetrySpec | TelemetrySpec, context: Context) -> Tracing | None:
        """What it means, or None if there is nothing or a problem was reported."""
        if isinstance(spec, TelemetrySpec):
            spans = resolve_spans(spec.tracing, context, "tracing") if spec.tracing is not None else None
            return Tracing(spans) if spans else None
        packing = spec.request_id.tracing if spec.request_id else None
        if spec.tracing is None:
            if spec.request_id is not None:
                context.problem(
                    "F103", "requestID", reason="requestID is about traces, and there is no tracing beside it"
                )
            return None
        spans = _spans(spec.tracing, context)
        provider = _provider(spec.tracing.provider, context)
        if spans is None or provider is None:
            return None
        if provider.sampler is not None and spans.samples:
            reason = "provider.openTelemetry.sampler decides what is traced, so nothing else can"
            context.problem("F103", "tracing", "provider", "openTelemetry", "sampler", reason=reason)
            return None
        return Tracing(spans, provider, _PACKING[packing] if packing else None)

    def within(self, value: Tracing, wide: Tracing | None) -> Tracing | Idle:
        """A route's own on a gateway: what it does not say is as there."""
        if wide is None or wide.provider is None:
            return Idle("its EnvoyProxy has no telemetry.tracing, so nobody gets traces")
        above = wide.spans
        if wide.provider.sampler is not None:
            if value.spans.samples:
                return Idle("a sampler of its EnvoyProxy decides what is traced")
            return value
        spans = replace(
            value.spans,
            share=above.share if value.spans.share is None else value.spans.share,
            client_share=above.client_share if value.spans.client_share is None else value.spans.client_share,
            overall_share=above.overall_share if value.spans.overall_share is None else value.spans.overall_share,
        )
        return replace(value, spans=spans)

    def chain(self, value: Tracing, manager: HttpConnectionManager) -> None:
        """Which requests are traced, and by whom."""
        if value.provider is None:
            return
        tracing, spans = manager.tracing, value.spans
        for share, field in (
            (spans.share, tracing.random_sampling),
            (spans.client_share, tracing.client_sampling),
            (spans.overall_share, tracing.overall_sampling),
        ):
            field.value = 100 * (ALL if share is None else share) / ALL
        tracing.custom_tags.extend(custom_tags(spans.tags))
        tracing.operation, tracing.upstream_operation = spans.names
        # The call of the backend is a span of its own, whose parent is that of the request.
        tracing.spawn_upstream_span.value = True
        kind, config = _tracer(value.provider, manager.stat_prefix)
        tracing.provider.name = f"envoy.tracers.{kind}"
        tracing.provider.typed_config.CopyFrom(pack(config))
        if value.packing is not None:
            packs = UuidRequestIdConfig()
            packs.pack_trace_reason.value, packs.use_request_id_for_trace_sampling.value = value.packing
            manager.request_id_extension.typed_config.CopyFrom(pack(packs))

    def route(self, value: Tracing, route: Route) -> None:
        """What is different on this route."""
        spans = value.spans
        tracing = route.tracing
        for share, field in (
            (spans.share, tracing.random_sampling),
            (spans.client_share, tracing.client_sampling),
            (spans.overall_share, tracing.overall_sampling),
        ):
            if share is not None:
                field.CopyFrom(fraction(share))
        tracing.custom_tags.extend(custom_tags(spans.tags))
        tracing.operation, tracing.upstream_operation = spans.names

    def backends(self, value: Tracing) -> Sequence[Backend]:
        """Who gets the spans."""
        return () if value.provider is None else (value.provider.collector.backend,)


def _spans(spec: ProxyTracingSpec, context: Context) -> Spans | None:
    spans = resolve_spans(spec, context, "tracing")
    if spans is None:
        return None
    if spec.sampling_rate is not None:
        if spec.sampling_fraction is not None:
            context.problem("F103", "tracing", "samplingRate", reason="give either samplingRate or samplingFraction")
            return None
        spans = replace(spans, share=spec.sampling_rate * _FINEST_OF_CLIENTS)
    for field, share, finest in (
        ("samplingFraction", spans.share, _FINEST),
        ("clientSamplingFraction", spans.client_share, _FINEST_OF_CLIENTS),
        ("overallSamplingFraction", spans.overall_share, _FINEST),
    ):
        if share is not None and share % finest:
            reason = f"Envoy divides all requests of a listener into parts of 1 in {ALL // finest}, and no finer"
            context.problem("F103", "tracing", field, reason=reason)
            return None
    return spans


def _provider(spec: ProviderSpec, context: Context) -> Provider | None:
    path = ("tracing", "provider")
    for field, given, kind in (
        ("zipkin", spec.zipkin, "Zipkin"),
        ("openTelemetry", spec.open_telemetry, "OpenTelemetry"),
    ):
        if given is not None and spec.type != kind:
            context.problem("F103", *path, field, reason=f"{field} is for type {kind}, and this is {spec.type}")
            return None
    if spec.type == "Zipkin" and spec.service_name is not None:
        reason = "with Zipkin a service is called as its Envoy says: by the name of its gateway"
        context.problem("F103", *path, "serviceName", reason=reason)
        return None
    backend = resolve_address(spec, context, spec.type.lower(), *path)
    if backend is None:
        return None
    service = spec.service_name or ""
    if spec.type == "Zipkin":
        shared = spec.zipkin is None or not spec.zipkin.disable_shared_span_context
        long_ids = spec.zipkin is not None and spec.zipkin.enable_128_bit_trace_id
        return Provider("Zipkin", Collector(backend), service, long_ids=long_ids, shared_span=shared)
    if spec.type == "Datadog":
        return Provider("Datadog", Collector(backend), service)
    own = spec.open_telemetry
    headers = resolve_headers((own.headers if own else None) or (), context, *path, "openTelemetry", "headers")
    if headers is None:
        return None
    sampler = None
    if own is not None and own.sampler is not None:
        sampler = _sampler(own.sampler, context)
        if sampler is None:
            return None
    resource = pairs(own.resource_attributes if own else None)
    return Provider("OpenTelemetry", Collector(over_grpc(backend), headers), service, resource, sampler)


def _sampler(spec: SamplerSpec, context: Context) -> Sampler | None:
    path = ("tracing", "provider", "openTelemetry", "sampler", "samplingPercentage")
    kind = spec.type.removeprefix(_PARENT_BASED)
    if (spec.sampling_percentage is not None) != (kind == "TraceIdRatio"):
        context.problem("F103", *path, reason="samplingPercentage is for the samplers TraceIdRatio, which need it")
        return None
    share = (
        millionths(spec.sampling_percentage, context, *path) if kind == "TraceIdRatio" else ALL * (kind == "AlwaysOn")
    )
    return None if share is None else Sampler(share, spec.type.startswith(_PARENT_BASED))


def _tracer(provider: Provider, chain: str) -> tuple[str, Message]:
    """The kind of a tracer and its configuration, for a chain of this name."""
    namespace, name = gateway_of(chain)
    service = provider.service or f"{name}.{namespace}"
    backend = provider.collector.backend
    host = next((one.hostname for one in backend.endpoints if one.hostname), "collector")
    if provider.kind == "Zipkin":
        zipkin = ZipkinConfig(
            collector_cluster=backend.name,
            collector_endpoint="/api/v2/spans",
            collector_endpoint_version=ZipkinConfig.HTTP_JSON,
            collector_hostname=host,
            trace_id_128bit=provider.long_ids,
        )
        zipkin.shared_span_context.value = provider.shared_span
        return "zipkin", zipkin
    if provider.kind == "Datadog":
        return "datadog", DatadogConfig(collector_cluster=backend.name, service_name=service, collector_hostname=host)
    config = OpenTelemetryConfig(grpc_service=grpc_call(provider.collector), service_name=service)
    if provider.resource:
        config.resource_detectors.append(attributes_of(provider.resource))
    if provider.sampler is not None:
        config.sampler.CopyFrom(_sampler_config(provider.sampler))
    return "opentelemetry", config


def _sampler_config(sampler: Sampler) -> TypedExtensionConfig:
    name = "envoy.tracers.opentelemetry.samplers"
    if sampler.share == ALL:
        built = TypedExtensionConfig(name=f"{name}.always_on", typed_config=pack(AlwaysOnSamplerConfig()))
    else:
        ratio = TraceIdRatioBasedSamplerConfig(sampling_percentage=fraction(sampler.share))
        built = TypedExtensionConfig(name=f"{name}.trace_id_ratio_based", typed_config=pack(ratio))
    if not sampler.by_parent:
        return built
    return TypedExtensionConfig(
        name=f"{name}.parent_based", typed_config=pack(ParentBasedSamplerConfig(wrapped_sampler=built))
    )


TRACING = TracingFeature()
