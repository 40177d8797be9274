"""Access logs: an entry for each request, and for each connection.

In: `telemetry.accessLog` of an EnvoyProxy. Out: loggers of connection managers, of routers, of TCP proxies, and of ports.
Entries go to the standard output or the standard error of the Envoy, to files in folders that the server's operator permits,
or to services. No policy names any other file: a log would overwrite it, and one that cannot be opened makes Envoy refuse
the whole listener. Without an EnvoyProxy there is no log.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from google.protobuf.message import Message

from xds_server.envoy_api.envoy.config.accesslog.v3.accesslog_pb2 import (
    AccessLog as EnvoyLog,
)
from xds_server.envoy_api.envoy.config.accesslog.v3.accesslog_pb2 import (
    AccessLogFilter,
    AndFilter,
    ExtensionFilter,
    ResponseFlagFilter,
)
from xds_server.envoy_api.envoy.config.core.v3.config_source_pb2 import ApiVersion
from xds_server.envoy_api.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from xds_server.envoy_api.envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from xds_server.envoy_api.envoy.config.listener.v3.listener_pb2 import Listener
from xds_server.envoy_api.envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from xds_server.envoy_api.envoy.extensions.access_loggers.filters.cel.v3.cel_pb2 import ExpressionFilter
from xds_server.envoy_api.envoy.extensions.access_loggers.grpc.v3.als_pb2 import (
    CommonGrpcAccessLogConfig,
    HttpGrpcAccessLogConfig,
    TcpGrpcAccessLogConfig,
)
from xds_server.envoy_api.envoy.extensions.access_loggers.open_telemetry.v3.logs_service_pb2 import (
    OpenTelemetryAccessLogConfig,
)
from xds_server.envoy_api.envoy.extensions.access_loggers.stream.v3.stream_pb2 import StderrAccessLog, StdoutAccessLog
from xds_server.envoy_api.envoy.extensions.filters.http.router.v3.router_pb2 import Router
from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from xds_server.envoy_api.envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from xds_server.envoy_api.envoy.extensions.formatter.cel.v3.cel_pb2 import Cel
from xds_server.features.contract import Context, Feature, pack
from xds_server.features.parts.collectors import (
    Collector,
    attribute_list,
    gateway_of,
    grpc_call,
    over_grpc,
    pairs,
    resolve_address,
    resolve_headers,
)
from xds_server.features.parts.expressions import parse_log_expression
from xds_server.features.parts.log_files import check_log_file
from xds_server.features.parts.log_formats import format_problem, with_decision
from xds_server.features.parts.log_specs import (
    AlsHttpSpec,
    AlsSpec,
    LogCollectorSpec,
    LogSinkSpec,
    LogSpec,
)
from xds_server.features.parts.proxy_telemetry import ProxyTelemetrySpec
from xds_server.features.parts.services import resolve_service
from xds_server.graph import Backend

_STREAMS = {"/dev/stdout": "stdout", "/dev/stderr": "stderr"}
_SINKS = {"File": "file", "ALS": "als", "OpenTelemetry": "openTelemetry"}
_FIELDS = (
    ("start_time", "%START_TIME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("host", "%REQ(:AUTHORITY)%"),
    ("status", "%RESPONSE_CODE%"),
    ("decision", "%DECISION%"),
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
_EXPRESSIONS = TypedExtensionConfig(name="envoy.formatter.cel", typed_config=pack(Cel()))

Pairs = tuple[tuple[str, str], ...]
Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Stream:
    """`name`: stdout or stderr, of the Envoy."""

    name: str


@dataclass(frozen=True, slots=True)
class LogFile:
    """A file on the Envoy's machine."""

    path: str


@dataclass(frozen=True, slots=True)
class Als:
    """A service of access logs. `name` empty: that of the gateway; `http`: entries of requests, else of connections."""

    backend: Backend
    name: str
    http: bool
    request: tuple[str, ...] = ()
    response: tuple[str, ...] = ()
    trailers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Otel:
    """A collector of OpenTelemetry, and what all entries say of where they are from."""

    collector: Collector
    resource: Pairs


Sink = Stream | LogFile | Als | Otel


@dataclass(frozen=True, slots=True)
class Log:
    """`fields` are (name, format) pairs of an object; without any an entry is the line `text`; a collector takes both.

    All of `conditions` must be true of what is logged.
    """

    type: str
    sink: Sink
    text: str
    fields: Pairs
    conditions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AccessLogs:
    """All logs of a gateway."""

    logs: tuple[Log, ...]


class AccessLogFeature(Feature[ProxyTelemetrySpec, AccessLogs]):
    """`telemetry.accessLog` of an EnvoyProxy."""

    name = "access_log"
    carriers = (("EnvoyProxy", "telemetry"),)
    transports = ("http", "tcp")

    def resolve(self, spec: ProxyTelemetrySpec, context: Context) -> AccessLogs | None:
        """The logs, or None for formats, conditions and sinks that cannot be."""
        written = spec.access_log
        if written is None or written.disable:
            return None
        if written.settings is None:
            return AccessLogs((Log("", Stream("stdout"), "", _FIELDS),))
        found = [_resolve(one, context, "accessLog", "settings", at) for at, one in enumerate(written.settings)]
        logs = [log for one in found for log in one or ()]
        return None if None in found else AccessLogs(tuple(logs))

    def chain(self, value: AccessLogs, manager: HttpConnectionManager) -> None:
        """An entry for each request."""
        manager.access_log.extend(_loggers(value, ("", "Route"), manager.stat_prefix))

    def router(self, value: AccessLogs, router: Router, chain: str) -> None:
        """An entry for each try at a backend."""
        router.upstream_log.extend(_loggers(value, ("Upstream",), chain))

    def tcp(self, value: AccessLogs, proxy: TcpProxy) -> None:
        """An entry for each connection."""
        proxy.access_log.extend(_loggers(value, ("", "Route"), proxy.stat_prefix))

    def port_wide(self, value: AccessLogs) -> Hashable:
        """Connections that no chain takes belong to the port."""
        return value

    def listener(self, value: AccessLogs, listener: Listener) -> None:
        """An entry for each connection, or for those that no chain takes."""
        listener.access_log.extend(_loggers(value, ("Listener",), listener.name))
        listener.access_log.extend(_loggers(value, ("",), listener.name, unserved=True))

    def backends(self, value: AccessLogs) -> Sequence[Backend]:
        """The services that entries go to."""
        sinks = [one.sink for one in value.logs]
        called = [one.backend for one in sinks if isinstance(one, Als)]
        return (*called, *(one.collector.backend for one in sinks if isinstance(one, Otel)))


def _resolve(spec: LogSpec, context: Context, *place: str | int) -> tuple[Log, ...] | None:
    """The logs of one setting, one for each sink; None after a problem was reported."""
    good = True
    for number, expression in enumerate(spec.matches):
        parsed = parse_log_expression(expression)
        if isinstance(parsed, str):
            context.problem("F103", *place, "matches", number, reason=parsed)
            good = False
    sinks = [_sink(one, context, *place, "sinks", at) for at, one in enumerate(spec.sinks)]
    chosen = _format(spec, context, *place, "format")
    if not good or chosen is None or None in sinks:
        return None
    text, fields = chosen
    conditions = tuple(dict.fromkeys(spec.matches))
    return tuple(Log(spec.type or "", sink, text, fields, conditions) for sink in sinks if sink is not None)


def _sink(spec: LogSinkSpec, context: Context, *place: str | int) -> Sink | None:
    given = {"File": spec.file, "ALS": spec.als, "OpenTelemetry": spec.open_telemetry}
    named = [kind for kind, one in given.items() if one is not None]
    kind = spec.type or (named[0] if named else "File")
    if named != [kind]:
        context.problem("F103", *place, reason=f"type {kind} needs the field {_SINKS[kind]} and no other")
        return None
    place = (*place, _SINKS[kind])
    if spec.file is not None:
        return _file(spec.file.path, context, *place, "path")
    return _als(spec.als, context, place) if spec.als is not None else _otel(spec.open_telemetry, context, place)


def _file(path: str, context: Context, *place: str | int) -> Sink | None:
    if path in _STREAMS:
        return Stream(_STREAMS[path])
    return LogFile(path) if check_log_file(path, context, *place) else None


def _als(spec: AlsSpec, context: Context, place: Place) -> Als | None:
    if spec.http is not None and spec.type == "TCP":
        context.problem("F103", *place, "http", reason="entries of type TCP hold no headers")
        return None
    backend = resolve_service(spec, context, *place)
    http = spec.http or AlsHttpSpec()
    headers = [tuple(dict.fromkeys(name.lower() for name in names)) for names in (
        http.request_headers, http.response_headers, http.response_trailers
    )]  # fmt: skip
    if backend is None:
        return None
    return Als(over_grpc(backend), spec.log_name or "", spec.type == "HTTP", *headers)


def _otel(spec: LogCollectorSpec | None, context: Context, place: Place) -> Otel | None:
    assert spec is not None
    if spec.resources is not None and spec.resource_attributes is not None:
        reason = "give either resourceAttributes or resources, its older name"
        context.problem("F103", *place, "resources", reason=reason)
        return None
    backend = resolve_address(spec, context, "otlp", *place)
    headers = resolve_headers(spec.headers or (), context, *place, "headers")
    if backend is None or headers is None:
        return None
    return Otel(Collector(over_grpc(backend), headers), pairs(spec.resource_attributes, spec.resources))


def _format(log: LogSpec, context: Context, *place: str | int) -> tuple[str, Pairs] | None:
    """A text or the fields of an object; None after a problem was reported."""
    spec = log.format
    if spec is None:
        return "", _FIELDS
    kinds = {("OpenTelemetry" if one.open_telemetry else "ALS" if one.als else "File") for one in log.sinks}
    if kinds == {"ALS"}:
        context.problem(
            "F103", *place, reason="a service of type ALS gets entries in a form of their own: none is for it"
        )
        return None
    both = spec.type is None and kinds == {"OpenTelemetry"}
    kind = spec.type or ("Text" if spec.text is not None else "JSON")
    wanted, other = (spec.text, spec.json_) if kind == "Text" else (spec.json_, spec.text)
    if wanted is None or (other is not None and not both):
        context.problem("F103", *place, reason=f"type {kind} needs the field {kind.lower()} and no other")
        return None
    written: list[tuple[Place, str]] = [] if spec.text is None else [(("text",), spec.text)]
    written += [(("json", name), one) for name, one in (spec.json_ or {}).items()]
    for path, text in written:
        if problem := format_problem(text):
            context.problem("F103", *place, *path, reason=problem)
            return None
    return spec.text or "", tuple(sorted((spec.json_ or {}).items()))


def _loggers(value: AccessLogs, types: Sequence[str], name: str, *, unserved: bool = False) -> list[EnvoyLog]:
    """Envoy's loggers for logs of these types. `name` is that of a listener or chain; `unserved`: if no chain takes it."""
    found = []
    for log in value.logs:
        if log.type not in types:
            continue
        kind, config = _logger(log, "/".join(gateway_of(name)))
        built = EnvoyLog(name=f"envoy.access_loggers.{kind}", typed_config=pack(config))
        filters = [_condition(one) for one in log.conditions]
        if unserved:
            filters.append(AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=["NR"])))
        if len(filters) == 1:
            built.filter.CopyFrom(filters[0])
        elif filters:
            built.filter.CopyFrom(AccessLogFilter(and_filter=AndFilter(filters=filters)))
        found.append(built)
    return found


def _condition(expression: str) -> AccessLogFilter:
    config = pack(ExpressionFilter(expression=expression))
    name = "envoy.access_loggers.extension_filters.cel"
    return AccessLogFilter(extension_filter=ExtensionFilter(name=name, typed_config=config))


def _logger(log: Log, gateway: str) -> tuple[str, Message]:
    """The kind of a logger and its configuration."""
    sink = log.sink
    if isinstance(sink, Als):
        return _als_logger(sink, gateway)
    if isinstance(sink, Otel):
        config = OpenTelemetryAccessLogConfig(
            log_name=gateway,
            grpc_service=grpc_call(sink.collector),
            resource_attributes=attribute_list(sink.resource),
        )
        if log.text:
            config.body.string_value = with_decision(log.text)
        if log.fields:
            config.attributes.CopyFrom(attribute_list(_fields(log)))
        config.formatters.append(_EXPRESSIONS)
        return "open_telemetry", config
    lines = SubstitutionFormatString(formatters=[_EXPRESSIONS])
    if log.fields:
        lines.json_format.update(dict(_fields(log)))
    else:
        text = with_decision(log.text)
        lines.text_format_source.inline_string = text if text.endswith("\n") else text + "\n"
    if isinstance(sink, LogFile):
        return "file", FileAccessLog(path=sink.path, log_format=lines)
    return sink.name, StdoutAccessLog(log_format=lines) if sink.name == "stdout" else StderrAccessLog(log_format=lines)


def _fields(log: Log) -> Pairs:
    return tuple((name, with_decision(text)) for name, text in log.fields)


def _als_logger(sink: Als, gateway: str) -> tuple[str, Message]:
    common = CommonGrpcAccessLogConfig(
        log_name=sink.name or gateway,
        grpc_service=grpc_call(Collector(sink.backend)),
        transport_api_version=ApiVersion.V3,
    )
    if not sink.http:
        return "tcp_grpc", TcpGrpcAccessLogConfig(common_config=common)
    return "http_grpc", HttpGrpcAccessLogConfig(
        common_config=common,
        additional_request_headers_to_log=sink.request,
        additional_response_headers_to_log=sink.response,
        additional_response_trailers_to_log=sink.trailers,
    )


ACCESS_LOG = AccessLogFeature()
