"""Settings of HTTP/2 connections as users write them.

In: an `http2` object. Out: its meaning, and that in Envoy's message. Refused: windows outside what the protocol allows,
and times in which nothing can be answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from xds_server.envoy_api.envoy.config.core.v3.protocol_pb2 import Http2ProtocolOptions
from xds_server.features.contract import Context
from xds_server.features.parts.values import duration, seconds, size, uint32
from xds_server.spec import Duration, Quantity, Spec

_WINDOWS = (65535, 2**31 - 1)
_ANSWER = 20.0


class KeepaliveSpec(Spec):
    """PING frames that ask whether the other side is there."""

    interval: Duration | None = None
    timeout: Duration | None = None
    interval_jitter: Annotated[int, Field(strict=True, ge=0, le=100)] | None = None
    idle_interval: Duration | None = None


class Http2SettingsSpec(Spec):
    """An HTTP/2 connection."""

    initial_stream_window_size: Quantity | None = None
    initial_connection_window_size: Quantity | None = None
    max_concurrent_streams: Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)] | None = None
    on_invalid_message: Literal["TerminateConnection", "TerminateStream"] | None = None
    connection_keepalive: KeepaliveSpec | None = None


@dataclass(frozen=True, slots=True)
class Keepalive:
    """Times in seconds, jitter in percent; None leaves Envoy's."""

    interval: float | None
    timeout: float
    jitter: int | None
    idle: float | None


@dataclass(frozen=True, slots=True)
class Http2Settings:
    """Windows in bytes; None leaves the default."""

    stream_window: int | None
    connection_window: int | None
    streams: int | None
    keeps_connection: bool | None
    keepalive: Keepalive | None


def resolve_http2(spec: Http2SettingsSpec, context: Context) -> Http2Settings | None:
    """The settings, or None after a problem was reported."""
    windows = {
        "initialStreamWindowSize": size(spec.initial_stream_window_size),
        "initialConnectionWindowSize": size(spec.initial_connection_window_size),
    }
    smallest, largest = _WINDOWS
    bad = [field for field, given in windows.items() if given is not None and not smallest <= given <= largest]
    for field in bad:
        context.problem("F103", field, reason=f"{field} must be {smallest} to {largest} bytes")
    keepalive = _keepalive(spec.connection_keepalive, context) if spec.connection_keepalive else None
    if bad or (spec.connection_keepalive is not None and keepalive is None):
        return None
    stream, connection = windows.values()
    keeps = None if spec.on_invalid_message is None else spec.on_invalid_message == "TerminateStream"
    return Http2Settings(stream, connection, spec.max_concurrent_streams, keeps, keepalive)


def _keepalive(spec: KeepaliveSpec, context: Context) -> Keepalive | None:
    interval, idle = seconds(spec.interval), seconds(spec.idle_interval)
    timeout = _ANSWER if spec.timeout is None else seconds(spec.timeout)
    if not interval and not idle:
        reason = "connectionKeepalive needs an interval or an idleInterval above 0s"
        context.problem("F103", "connectionKeepalive", reason=reason)
        return None
    if not timeout:
        context.problem("F103", "connectionKeepalive", "timeout", reason="an answer needs some time, 0s is not enough")
        return None
    return Keepalive(interval or None, timeout, spec.interval_jitter, idle or None)


def fill_http2(options: Http2ProtocolOptions, value: Http2Settings) -> None:
    """Write what is set into Envoy's message."""
    if value.stream_window is not None:
        options.initial_stream_window_size.CopyFrom(uint32(value.stream_window))
    if value.connection_window is not None:
        options.initial_connection_window_size.CopyFrom(uint32(value.connection_window))
    if value.streams is not None:
        options.max_concurrent_streams.CopyFrom(uint32(value.streams))
    if value.keeps_connection is not None:
        options.override_stream_error_on_invalid_http_message.value = value.keeps_connection
    if value.keepalive is None:
        return
    keepalive = options.connection_keepalive
    keepalive.timeout.CopyFrom(duration(value.keepalive.timeout))
    if value.keepalive.interval is not None:
        keepalive.interval.CopyFrom(duration(value.keepalive.interval))
    if value.keepalive.jitter is not None:
        keepalive.interval_jitter.value = value.keepalive.jitter
    if value.keepalive.idle is not None:
        keepalive.connection_idle_interval.CopyFrom(duration(value.keepalive.idle))
