"""Active health checks as users write them, and Envoy's message for them.

In: `active` of a `healthCheck`. Out: a `Probe`, and from that a `HealthCheck`. Refused: a part that does not fit the type,
a text that no answer can hold, a file that is not a log. Envoy would probe a backend without traffic only once a
minute; here it is always the written interval.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from xds_server.envoy_api.envoy.config.core.v3.health_check_pb2 import HealthCheck
from xds_server.envoy_api.envoy.extensions.health_check.event_sinks.file.v3.file_pb2 import HealthCheckEventFileSink
from xds_server.features.contract import Context, pack
from xds_server.features.parts.log_files import STDOUT, check_log_file
from xds_server.features.parts.values import duration, seconds, uint32
from xds_server.spec import Duration, Port, PreciseHostname, Spec, Text

_MOST_OF_AN_ANSWER = 1024
_WITH_BODY = ("POST", "PUT", "PATCH", "OPTIONS")
_BOTH_OF = (("Failure", "FailureSeriesStart"), ("Success", "HealthyTransition"))

Threshold = Annotated[int, Field(strict=True, ge=1, le=2**32 - 1)]
Code = Annotated[int, Field(strict=True, ge=100, le=599)]


def _base64(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("this is not base64; type Text takes plain text") from None
    return text


class PayloadSpec(Spec):
    """Bytes: `text` as it stands, or `binary` in base64."""

    type: Literal["Text", "Binary"]
    text: str | None = None
    binary: Annotated[str, AfterValidator(_base64)] | None = None


class HttpProbeSpec(Spec):
    """A request, and what its answer must look like."""

    hostname: PreciseHostname | None = None
    path: Annotated[Text, Field(min_length=1, max_length=1024, pattern="^/")]
    method: Literal["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"] = "GET"
    expected_statuses: Annotated[tuple[Code, ...], Field(max_length=64)] = (200,)
    retriable_statuses: Annotated[tuple[Code, ...], Field(max_length=64)] = ()
    expected_response: PayloadSpec | None = None
    request_body: PayloadSpec | None = None


class TcpProbeSpec(Spec):
    """Bytes to send and bytes to wait for. Without any, connecting is enough."""

    send: PayloadSpec | None = None
    receive: PayloadSpec | None = None


class GrpcProbeSpec(Spec):
    """The service to ask the gRPC health protocol for; empty is the server as a whole."""

    service: Text = ""


class ProbeOverridesSpec(Spec):
    """Where probes go instead of where requests go."""

    port: Port | None = None


class LogFileSpec(Spec):
    """A file that Envoy appends to."""

    path: Text


class LogSinkSpec(Spec):
    """Where events go."""

    type: Literal["File"]
    file: LogFileSpec | None = None


class ProbeLogSpec(Spec):
    """A log of probes: which outcomes, and where to."""

    sinks: Annotated[tuple[LogSinkSpec, ...], Field(max_length=1)] = ()
    matches: Annotated[
        tuple[Literal["Failure", "FailureSeriesStart", "Success", "HealthyTransition"], ...], Field(max_length=4)
    ] = ()


class ActiveHealthCheckSpec(Spec):
    """Probes that the gateway sends by itself."""

    timeout: Duration = "1s"
    interval: Duration = "3s"
    initial_jitter: Duration | None = None
    unhealthy_threshold: Threshold = 3
    healthy_threshold: Threshold = 1
    type: Literal["HTTP", "TCP", "GRPC"]
    http: HttpProbeSpec | None = None
    tcp: TcpProbeSpec | None = None
    grpc: GrpcProbeSpec | None = None
    overrides: ProbeOverridesSpec | None = None
    health_check_log: ProbeLogSpec | None = None


@dataclass(frozen=True, slots=True)
class HttpProbe:
    """`hostname` empty: that of the endpoint."""

    hostname: str
    path: str
    method: str
    expected: tuple[int, ...]
    retriable: tuple[int, ...]
    receive: bytes
    send: bytes


@dataclass(frozen=True, slots=True)
class TcpProbe:
    """Empty: nothing is sent, or waited for."""

    send: bytes
    receive: bytes


@dataclass(frozen=True, slots=True)
class GrpcProbe:
    """A service of the gRPC health protocol."""

    service: str


@dataclass(frozen=True, slots=True)
class ProbeLog:
    """A file; whether every failure and every success is logged, or the first of a row."""

    path: str
    failures: bool
    successes: bool


@dataclass(frozen=True, slots=True)
class Probe:
    """Times in seconds. `port` 0: that of the endpoint."""

    timeout: float
    interval: float
    jitter: float | None
    unhealthy: int
    healthy: int
    way: HttpProbe | TcpProbe | GrpcProbe
    port: int = 0
    log: ProbeLog | None = None


def resolve_probe(spec: ActiveHealthCheckSpec, context: Context, *path: str | int) -> Probe | None:
    """The probe that stands at `path`; None if that was reported."""
    timeout, interval = seconds(spec.timeout), seconds(spec.interval)
    if not timeout or not interval:
        context.problem("F103", *path, reason="timeout and interval must be longer than 0s")
        return None
    given = {"HTTP": spec.http, "TCP": spec.tcp, "GRPC": spec.grpc}
    others = [kind.lower() for kind, part in given.items() if part is not None and kind != spec.type]
    if others:
        context.problem("F103", *path, others[0], reason=f"a check of type {spec.type} takes no {others[0]}")
        return None
    way = _way(spec, context, *path)
    log = resolve_log(spec.health_check_log, context, *path, "healthCheckLog") if spec.health_check_log else None
    if way is None or (spec.health_check_log is not None and log is None):
        return None
    return Probe(
        timeout,
        interval,
        seconds(spec.initial_jitter),
        spec.unhealthy_threshold,
        spec.healthy_threshold,
        way,
        (spec.overrides.port or 0) if spec.overrides else 0,
        log,
    )


def _way(spec: ActiveHealthCheckSpec, context: Context, *path: str | int) -> HttpProbe | TcpProbe | GrpcProbe | None:
    if spec.type == "GRPC":
        return GrpcProbe(spec.grpc.service if spec.grpc else "")
    if spec.type == "TCP":
        tcp = spec.tcp or TcpProbeSpec()
        send, receive = (
            _bytes(tcp.send, context, *path, "tcp", "send"),
            _bytes(tcp.receive, context, *path, "tcp", "receive"),
        )
        return None if send is None or receive is None else TcpProbe(send, receive)
    if spec.http is None:
        context.problem("F103", *path, reason="a check of type HTTP needs http with a path")
        return None
    return _http(spec.http, context, *path, "http")


def _http(spec: HttpProbeSpec, context: Context, *path: str | int) -> HttpProbe | None:
    receive = _bytes(spec.expected_response, context, *path, "expectedResponse")
    send = _bytes(spec.request_body, context, *path, "requestBody")
    if receive is None or send is None:
        return None
    if len(receive) > _MOST_OF_AN_ANSWER:
        reason = f"only the first {_MOST_OF_AN_ANSWER} bytes of an answer are looked at, this is longer"
        context.problem("F103", *path, "expectedResponse", reason=reason)
        return None
    if receive and spec.method == "HEAD":
        context.problem("F103", *path, "expectedResponse", reason="an answer to HEAD has no body")
        return None
    if send and spec.method not in _WITH_BODY:
        reason = f"a body needs the method {', '.join(_WITH_BODY)}; {spec.method} has none"
        context.problem("F103", *path, "requestBody", reason=reason)
        return None
    codes = (spec.expected_statuses, spec.retriable_statuses)
    expected, retriable = (tuple(sorted(set(one))) for one in codes)
    return HttpProbe(spec.hostname or "", spec.path, spec.method, expected or (200,), retriable, receive, send)


def _bytes(spec: PayloadSpec | None, context: Context, *path: str | int) -> bytes | None:
    """The bytes; empty without a spec, None if it was refused."""
    if spec is None:
        return b""
    wanted, other = (spec.text, spec.binary) if spec.type == "Text" else (spec.binary, spec.text)
    if not wanted or other is not None:
        reason = f"type {spec.type} needs {spec.type.lower()}, which is not empty, and nothing else"
        context.problem("F103", *path, reason=reason)
        return None
    return wanted.encode() if spec.type == "Text" else base64.b64decode(wanted)


def resolve_log(spec: ProbeLogSpec, context: Context, *path: str | int) -> ProbeLog | None:
    """The log that is written at `path`; None if a problem was reported."""
    file = spec.sinks[0].file if spec.sinks else LogFileSpec(path=STDOUT)
    if file is None:
        context.problem("F103", *path, "sinks", 0, reason="type File needs file with a path")
        return None
    if not check_log_file(file.path, context, *path, "sinks", 0, "file", "path"):
        return None
    for pair in _BOTH_OF:
        if spec.matches and not set(pair) & set(spec.matches):
            reason = f"Envoy logs failures and successes or nothing: add {' or '.join(pair)}"
            context.problem("F103", *path, "matches", reason=reason)
            return None
    failures, successes = (not spec.matches or pair[0] in spec.matches for pair in _BOTH_OF)
    return ProbeLog(file.path, failures, successes)


def health_check(probe: Probe, *, http2: bool) -> HealthCheck:
    """Envoy's message. `http2`: the backend speaks HTTP/2."""
    check = HealthCheck(
        timeout=duration(probe.timeout),
        interval=duration(probe.interval),
        no_traffic_interval=duration(probe.interval),
        unhealthy_threshold=uint32(probe.unhealthy),
        healthy_threshold=uint32(probe.healthy),
    )
    if probe.jitter:
        check.initial_jitter.CopyFrom(duration(probe.jitter))
    if isinstance(probe.way, HttpProbe):
        check.http_health_check.CopyFrom(_http_check(probe.way, http2=http2))
    elif isinstance(probe.way, TcpProbe):
        check.tcp_health_check.SetInParent()
        if probe.way.send:
            check.tcp_health_check.send.CopyFrom(_payload(probe.way.send))
        if probe.way.receive:
            check.tcp_health_check.receive.append(_payload(probe.way.receive))
    else:
        check.grpc_health_check.service_name = probe.way.service
    if probe.log is not None:
        set_log(probe.log, check)
    return check


def set_log(log: ProbeLog, check: HealthCheck) -> None:
    """Have what comes out of a check logged."""
    check.always_log_health_check_failures = log.failures
    check.always_log_health_check_success = log.successes
    sink = HealthCheckEventFileSink(event_log_path=log.path)
    check.event_logger.add(name="envoy.health_check.event_sink.file", typed_config=pack(sink))


def _http_check(probe: HttpProbe, *, http2: bool) -> HealthCheck.HttpHealthCheck:
    check = HealthCheck.HttpHealthCheck(
        path=probe.path, host=probe.hostname, method=probe.method, codec_client_type="HTTP2" if http2 else "HTTP1"
    )
    for code in probe.expected:
        check.expected_statuses.add(start=code, end=code + 1)
    for code in probe.retriable:
        check.retriable_statuses.add(start=code, end=code + 1)
    if probe.receive:
        check.receive.append(_payload(probe.receive))
    if probe.send:
        check.send.CopyFrom(_payload(probe.send))
    return check


def _payload(data: bytes) -> HealthCheck.Payload:
    return HealthCheck.Payload(text=data.hex())
