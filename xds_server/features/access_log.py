"""Access logs: a line for each request, and for each connection.

In: `telemetry` of an EnvoyProxy. Out: loggers of connection managers, of TCP proxies, and of ports. Lines go to the standard
output or the standard error of the Envoy: a file that cannot be opened would make it refuse the whole listener. Without
an EnvoyProxy there is no log.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Annotated, Literal

from google.protobuf.message import Message
from pydantic import Field

from xds_server.envoy_api.envoy.config.accesslog.v3.accesslog_pb2 import AccessLog as EnvoyLog
from xds_server.envoy_api.envoy.config.accesslog.v3.accesslog_pb2 import AccessLogFilter, ResponseFlagFilter
from xds_server.envoy_api.envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from xds_server.envoy_api.envoy.config.listener.v3.listener_pb2 import Listener
from xds_server.envoy_api.envoy.extensions.access_loggers.stream.v3.stream_pb2 import StderrAccessLog, StdoutAccessLog
from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from xds_server.envoy_api.envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from xds_server.features.contract import Context, Feature, pack
from xds_server.features.parts.log_formats import format_problem
from xds_server.spec import Bool, Spec

_STREAMS = {"/dev/stdout": "stdout", "/dev/stderr": "stderr"}
_FIELDS = (
    ("start_time", "%START_TIME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("host", "%REQ(:AUTHORITY)%"),
    ("status", "%RESPONSE_CODE%"),
    ("details", "%RESPONSE_CODE_DETAILS%"),
    ("flags", "%RESPONSE_FLAGS%"),
    ("client", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("received", "%BYTES_RECEIVED%"),
    ("sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("server_name", "%REQUESTED_SERVER_NAME%"),
    ("route", "%ROUTE_NAME%"),
    ("cluster", "%UPSTREAM_CLUSTER%"),
    ("backend", "%UPSTREAM_HOST%"),
    ("failure", "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%"),
)


class LogFormatSpec(Spec):
    """A line of text, or a JSON object."""

    type: Literal["Text", "JSON"] | None = None
    text: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    json_: Annotated[dict[str, str] | None, Field(alias="json", min_length=1, max_length=100)] = None


class LogFileSpec(Spec):
    """A stream of the Envoy."""

    path: str


class LogSinkSpec(Spec):
    """Where lines go."""

    type: Literal["File"] = "File"
    file: LogFileSpec


class LogSpec(Spec):
    """One log. `Route`: requests, and connections of TCP; `Listener`: all connections. Not said: what `Route` is, and
    connections that no listener takes."""

    format: LogFormatSpec | None = None
    sinks: Annotated[tuple[LogSinkSpec, ...], Field(min_length=1, max_length=2)]
    type: Literal["Listener", "Route"] | None = None


class AccessLogSpec(Spec):
    """Logs. `{}` is one of JSON on the standard output."""

    disable: Bool = False
    settings: Annotated[tuple[LogSpec, ...] | None, Field(min_length=1, max_length=16)] = None


class ProxyTelemetrySpec(Spec):
    """What is told of requests."""

    access_log: AccessLogSpec | None = None


@dataclass(frozen=True, slots=True)
class Log:
    """`fields` are (name, format) pairs of a JSON object; without any the line is `text`. `stream`: stdout or stderr."""

    type: str
    stream: str
    text: str
    fields: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class AccessLogs:
    """All logs of a gateway."""

    logs: tuple[Log, ...]


class AccessLogFeature(Feature[ProxyTelemetrySpec, AccessLogs]):
    """`telemetry` of an EnvoyProxy."""

    name = "access_log"
    carriers = (("EnvoyProxy", "telemetry"),)
    transports = ("http", "tcp")

    def resolve(self, spec: ProxyTelemetrySpec, context: Context) -> AccessLogs | None:
        """The logs, or None for formats and files that cannot be."""
        written = spec.access_log
        if written is None or written.disable:
            return None
        if written.settings is None:
            return AccessLogs((Log("", "stdout", "", _FIELDS),))
        logs: list[Log] = []
        good = True
        for number, one in enumerate(written.settings):
            place = ("accessLog", "settings", number)
            chosen = _format(one.format, context, *place, "format")
            good = good and chosen is not None
            text, fields = chosen or ("", ())
            for at, sink in enumerate(one.sinks):
                stream = _STREAMS.get(sink.file.path, "")
                if not stream:
                    hint = "write /dev/stdout or /dev/stderr, and let what runs the Envoy collect it"
                    reason = f"a log goes to the Envoy's own output, not to '{sink.file.path}'"
                    context.problem("F103", *place, "sinks", at, "file", "path", hint=hint, reason=reason)
                good = good and bool(stream)
                logs.append(Log(one.type or "", stream, text, fields))
        return AccessLogs(tuple(logs)) if good else None

    def chain(self, value: AccessLogs, manager: HttpConnectionManager) -> None:
        """A line for each request."""
        manager.access_log.extend(_logger(one) for one in value.logs if one.type != "Listener")

    def tcp(self, value: AccessLogs, proxy: TcpProxy) -> None:
        """A line for each connection."""
        proxy.access_log.extend(_logger(one) for one in value.logs if one.type != "Listener")

    def port_wide(self, value: AccessLogs) -> Hashable:
        """Connections that no chain takes belong to the port."""
        return value

    def listener(self, value: AccessLogs, listener: Listener) -> None:
        """A line for each connection, or for those that no chain takes."""
        for one in value.logs:
            if one.type != "Route":
                built = _logger(one)
                if not one.type:
                    built.filter.CopyFrom(AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=["NR"])))
                listener.access_log.append(built)


def _format(
    spec: LogFormatSpec | None, context: Context, *place: str | int
) -> tuple[str, tuple[tuple[str, str], ...]] | None:
    """A text or the fields of an object; None after a problem was reported."""
    if spec is None:
        return "", _FIELDS
    kind = spec.type or ("Text" if spec.text is not None else "JSON")
    wanted, other = (spec.text, spec.json_) if kind == "Text" else (spec.json_, spec.text)
    if wanted is None or other is not None:
        context.problem("F103", *place, reason=f"type {kind} needs the field {kind.lower()} and no other")
        return None
    formats = {"text": spec.text} if spec.text is not None else dict(spec.json_ or {})
    for name, text in formats.items():
        path = ("text",) if spec.text is not None else ("json", name)
        if problem := format_problem(str(text)):
            context.problem("F103", *place, *path, reason=problem)
            return None
    return spec.text or "", tuple(sorted((spec.json_ or {}).items()))


def _logger(log: Log) -> EnvoyLog:
    lines = SubstitutionFormatString()
    if log.fields:
        lines.json_format.update(dict(log.fields))
    else:
        lines.text_format_source.inline_string = log.text if log.text.endswith("\n") else log.text + "\n"
    config: Message = StdoutAccessLog(log_format=lines) if log.stream == "stdout" else StderrAccessLog(log_format=lines)
    return EnvoyLog(name=f"envoy.access_loggers.{log.stream}", typed_config=pack(config))


ACCESS_LOG = AccessLogFeature()
