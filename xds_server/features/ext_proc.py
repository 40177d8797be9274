"""External processing: another service sees requests and answers, changes them, or answers itself.

In: `extProc` of an EnvoyExtensionPolicy. Out: a filter of Envoy's ext_proc for each service, in order, and the services as
further backends. A service that cannot be asked makes its requests fail, unless `failOpen` lets them pass. Refused: a
service that is asked nothing, and metadata that is Envoy's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from google.protobuf.message import Message
from pydantic import Field, StringConstraints

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route
from xds_server.envoy_api.envoy.extensions.filters.http.ext_proc.v3.ext_proc_pb2 import (
    ExternalProcessor,
    ExtProcPerRoute,
)
from xds_server.envoy_api.envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from xds_server.envoy_api.envoy.type.v3.http_status_pb2 import HttpStatus, StatusCode
from xds_server.features.contract import Context, Feature, enable
from xds_server.features.parts.extensions import filter_name, in_order
from xds_server.features.parts.services import ServiceSpec, resolve_service, service_refused
from xds_server.features.parts.values import duration, seconds
from xds_server.graph import Backend
from xds_server.spec import Bool, Duration, Spec, Text

_KIND = "envoy.filters.http.ext_proc"
_TIMEOUT = 0.2
_BODIES = {
    "": ProcessingMode.NONE,
    "Streamed": ProcessingMode.STREAMED,
    "Buffered": ProcessingMode.BUFFERED,
    "BufferedPartial": ProcessingMode.BUFFERED_PARTIAL,
    "FullDuplexStreamed": ProcessingMode.FULL_DUPLEX_STREAMED,
}
_DUPLEX = "FullDuplexStreamed"
Body = Literal["Streamed", "Buffered", "BufferedPartial", "FullDuplexStreamed"]
Attribute = Annotated[
    str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*|\['[^'\\\r\n]+'\])*$", max_length=256)
]
Attributes = Annotated[tuple[Attribute, ...], Field(max_length=64)]
MetadataNames = Annotated[tuple[Annotated[Text, Field(min_length=1)], ...], Field(max_length=64)]


class ProcessedSpec(Spec):
    """Requests or answers that the service sees: their headers, their body if a way is given, and attributes."""

    body: Body | None = None
    attributes: Attributes = ()


class ProcessingModeSpec(Spec):
    """What the service sees. It may ask for something else with `allowModeOverride`."""

    request: ProcessedSpec | None = None
    response: ProcessedSpec | None = None
    allow_mode_override: Bool = False


class ProcessorMetadataSpec(Spec):
    """Metadata by namespace, that the service is told and that it may write."""

    accessible_namespaces: MetadataNames = ()
    writable_namespaces: Annotated[tuple[Annotated[Text, Field(min_length=1)], ...], Field(max_length=8)] = ()


class ProcessorSpec(ServiceSpec):
    """A service that speaks `envoy.service.ext_proc.v3.ExternalProcessor`."""

    message_timeout: Duration | None = None
    fail_open: Bool = False
    processing_mode: ProcessingModeSpec | None = None
    shadow_mode: Bool = False
    metadata: ProcessorMetadataSpec | None = None
    status_on_error: Annotated[int, Field(strict=True, ge=400, le=511)] | None = None


ProcessorsSpec = Annotated[tuple[ProcessorSpec, ...], Field(max_length=16)]


@dataclass(frozen=True, slots=True)
class Seen:
    """What is sent of requests, or of answers."""

    body: str = ""
    attributes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Processor:
    """A checked service. `number` is its place in the policy; times in seconds."""

    number: int
    backend: Backend
    timeout: float
    fail_open: bool
    request: Seen | None
    response: Seen | None
    override: bool
    shadow: bool
    told: tuple[str, ...]
    written: tuple[str, ...]
    status: int


@dataclass(frozen=True, slots=True)
class Processors:
    """The services of a policy, in order."""

    owner: str
    services: tuple[Processor, ...]


class ExtProcFeature(Feature[tuple[ProcessorSpec, ...], Processors]):
    """`extProc` of an EnvoyExtensionPolicy."""

    name = "ext_proc"
    carriers = (("EnvoyExtensionPolicy", "extProc"),)
    chain_follows_routes = True
    reads_requests = True

    def resolve(self, spec: tuple[ProcessorSpec, ...], context: Context) -> Processors | None:
        """The services. One with `failOpen` whose reference leads nowhere is left out; else None after a problem."""
        services, good = [], True
        for number, one in enumerate(spec):
            found = _service(one, number, context)
            if isinstance(found, Processor):
                services.append(found)
            good = good and found is not False
        return Processors(context.owner, tuple(services)) if good and services else None

    def http_filters(self, values: Sequence[Processors]) -> Sequence[tuple[str, Message]]:
        """A filter for each service."""
        return in_order(one for value in values for one in _filters(value))

    def route(self, value: Processors, route: Route) -> None:
        """Switches the services of this route on."""
        for _, name, _ in _filters(value):
            switched = ExtProcPerRoute()
            switched.overrides.SetInParent()
            enable(route, name, switched)

    def backends(self, value: Processors) -> Sequence[Backend]:
        """The services."""
        return tuple(one.backend for one in value.services)


def _service(spec: ProcessorSpec, number: int, context: Context) -> Processor | bool | None:
    """The service; None if it is left out, False after a problem was reported."""
    good = _check(spec, number, context)
    if service_refused(spec, context, number):
        return False
    backend = resolve_service(spec, context, number, needed=not spec.fail_open)
    if not good or (backend is None and not spec.fail_open):
        return False
    if backend is None:
        return None
    mode, metadata = spec.processing_mode or ProcessingModeSpec(), spec.metadata or ProcessorMetadataSpec()
    return Processor(
        number=number,
        backend=replace(backend, name=f"{backend.name}~grpc", protocol="h2c"),
        timeout=_TIMEOUT if spec.message_timeout is None else seconds(spec.message_timeout) or 0.0,
        fail_open=spec.fail_open,
        request=_seen(mode.request),
        response=_seen(mode.response),
        override=mode.allow_mode_override,
        shadow=spec.shadow_mode,
        told=metadata.accessible_namespaces,
        written=metadata.writable_namespaces,
        status=spec.status_on_error or 0,
    )


def _seen(spec: ProcessedSpec | None) -> Seen | None:
    return None if spec is None else Seen(spec.body or "", spec.attributes)


def _check(spec: ProcessorSpec, number: int, context: Context) -> bool:
    """True if the fields fit each other; else one that does not was reported."""
    mode = spec.processing_mode or ProcessingModeSpec()
    bodies = [one.body for one in (mode.request, mode.response) if one is not None]
    place: tuple[str, ...]
    if mode.request is None and mode.response is None:
        place, reason = (
            ("processingMode",),
            "the service is sent nothing: give processingMode.request, response, or both",
        )
    elif spec.message_timeout is not None and not seconds(spec.message_timeout):
        place, reason = ("messageTimeout",), "a timeout must be longer than 0s"
    elif spec.status_on_error is not None and spec.status_on_error not in StatusCode.values():
        place, reason = ("statusOnError",), f"{spec.status_on_error} is no status that Envoy answers with"
    elif _DUPLEX in bodies and spec.fail_open:
        place, reason = ("failOpen",), f"a body that is {_DUPLEX} cannot go on without the service"
    elif spec.metadata and any(name.startswith("envoy.") for name in spec.metadata.writable_namespaces):
        place, reason = ("metadata", "writableNamespaces"), "metadata below 'envoy.' is Envoy's own"
    elif spec.shadow_mode and spec.metadata and spec.metadata.writable_namespaces:
        place, reason = ("metadata", "writableNamespaces"), "with shadowMode nobody waits for what the service says"
    elif spec.shadow_mode and mode.allow_mode_override:
        place = ("processingMode", "allowModeOverride")
        reason = "with shadowMode nobody waits for what the service says"
    else:
        return True
    context.problem("F103", number, *place, reason=reason)
    return False


def _filters(value: Processors) -> list[tuple[int, str, Message]]:
    found: list[tuple[int, str, Message]] = []
    for one in value.services:
        config = _filter(one)
        found.append((one.number, filter_name(_KIND, value.owner, one.number, config), config))
    return found


def _filter(value: Processor) -> ExternalProcessor:
    config = ExternalProcessor(
        failure_mode_allow=value.fail_open,
        allow_mode_override=value.override,
        observability_mode=value.shadow,
        request_attributes=value.request.attributes if value.request else (),
        response_attributes=value.response.attributes if value.response else (),
    )
    config.grpc_service.envoy_grpc.cluster_name = value.backend.name
    hosts = (one.hostname for one in value.backend.endpoints if one.hostname)
    config.grpc_service.envoy_grpc.authority = next(hosts, "ext-proc")
    config.message_timeout.CopyFrom(duration(value.timeout))
    mode = config.processing_mode
    mode.request_header_mode = ProcessingMode.SEND if value.request else ProcessingMode.SKIP
    mode.response_header_mode = ProcessingMode.SEND if value.response else ProcessingMode.SKIP
    mode.request_body_mode = _BODIES[value.request.body if value.request else ""]
    mode.response_body_mode = _BODIES[value.response.body if value.response else ""]
    if mode.request_body_mode == ProcessingMode.FULL_DUPLEX_STREAMED:
        mode.request_trailer_mode = ProcessingMode.SEND
    if mode.response_body_mode == ProcessingMode.FULL_DUPLEX_STREAMED:
        mode.response_trailer_mode = ProcessingMode.SEND
    if value.told:
        config.metadata_options.forwarding_namespaces.untyped.extend(value.told)
    if value.written:
        config.metadata_options.receiving_namespaces.untyped.extend(value.written)
    if value.status:
        config.status_on_error.CopyFrom(HttpStatus(code=StatusCode.Name(value.status)))
    return config


EXT_PROC = ExtProcFeature()
