"""Access logs as they are written: `telemetry.accessLog` of an EnvoyProxy.

In: nothing. Out: spec classes. What fits together is for `features/access_log.py` to say.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from xds_server.features.parts.collectors import AddressedSpec, Attributes, Headers
from xds_server.features.parts.services import ServiceSpec
from xds_server.spec import Bool, HeaderName, Spec, Text

HeaderNames = Annotated[tuple[HeaderName, ...], Field(max_length=64)]
Expression = Annotated[str, Field(min_length=1, max_length=4096)]


class LogFormatSpec(Spec):
    """A line of text, or a JSON object."""

    type: Literal["Text", "JSON"] | None = None
    text: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    json_: Annotated[dict[str, str] | None, Field(alias="json", min_length=1, max_length=100)] = None


class LogFileSpec(Spec):
    """A stream of the Envoy, or a file in a folder that the server permits."""

    path: Annotated[Text, Field(min_length=1, max_length=4096)]


class AlsHttpSpec(Spec):
    """Headers that an entry holds beside those that it always does."""

    request_headers: HeaderNames = ()
    response_headers: HeaderNames = ()
    response_trailers: HeaderNames = ()


class AlsSpec(ServiceSpec):
    """A service that speaks `envoy.service.accesslog.v3.AccessLogService`, and the kind of its entries."""

    log_name: Annotated[Text, Field(min_length=1, max_length=253)] | None = None
    type: Literal["HTTP", "TCP"]
    http: AlsHttpSpec | None = None


class LogCollectorSpec(AddressedSpec):
    """A collector of OpenTelemetry logs, by gRPC. `resources` is the older name of `resourceAttributes`."""

    headers: Headers | None = None
    resource_attributes: Attributes | None = None
    resources: Attributes | None = None


class LogSinkSpec(Spec):
    """Where entries go."""

    type: Literal["File", "ALS", "OpenTelemetry"] | None = None
    file: LogFileSpec | None = None
    als: AlsSpec | None = None
    open_telemetry: LogCollectorSpec | None = None


class LogSpec(Spec):
    """One log. `Route`: requests, and connections of TCP; `Listener`: all connections; `Upstream`: every try of a request
    at a backend. Not said: what `Route` is, and connections that no listener takes."""

    format: LogFormatSpec | None = None
    matches: Annotated[tuple[Expression, ...], Field(max_length=10)] = ()
    sinks: Annotated[tuple[LogSinkSpec, ...], Field(min_length=1, max_length=50)]
    type: Literal["Listener", "Route", "Upstream"] | None = None


class AccessLogSpec(Spec):
    """Logs. `{}` is one of JSON on the standard output."""

    disable: Bool = False
    settings: Annotated[tuple[LogSpec, ...] | None, Field(min_length=1, max_length=50)] = None
