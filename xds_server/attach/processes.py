"""How the Envoys of a Gateway are run: what its EnvoyProxy says of processes.

In: an EnvoyProxy. Out: a `graph.Process`, or diagnostics. It counts where Cellway runs the Envoys. Words of the command line
that would give the Envoy another configuration, another admin interface or other files are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xds_server.attach.bootstraps import read_changes
from xds_server.diagnostics import Diagnostic
from xds_server.graph import Process
from xds_server.model.object import Object
from xds_server.model.proxies import EnvoyProxySpec, ShutdownSpec
from xds_server.types import parse_duration

_USUAL = Process()
_LONGEST_DRAIN = 3600.0
_DEFAULT = "default"
_COMPONENTS = """a2a admin ai_protocol_manager alternate_protocols_cache assert aws backtrace basic_auth cache_filter client
    compression config conn_handler connection credential_injector decompression dns dubbo dynamic_modules envoy_bug
    ext_authz ext_proc file filter forward_proxy geolocation golang grpc happy_eyeballs hc health_checker http http2 hystrix
    init io ip_tagging json_rpc jwt kafka key_value_store local_rate_limit lua main matcher mcp misc mongo multi_connection
    notification oauth2 pool quic quic_stream rate_limit_quota rbac rds redis rocketmq router runtime secret sse stats
    stats_sinks tap testing thrift tracing udp upstream wasm websocket"""
COMPONENTS = frozenset(_COMPONENTS.split())
"""The loggers of Envoy: it does not start with a name that it does not know."""
_ALONE = frozenset(
    {
        "--cpuset-threads",
        "--enable-fine-grain-logging",
        "--enable-mutex-tracing",
        "--ignore-unknown-dynamic-fields",
        "--log-format-escaped",
        "--log-stacktrace-single-entry",
        "--skip-deprecated-logs",
        "--skip-hot-restart-parent-stats",
    }
)
_WITH_NUMBER = frozenset({"--file-flush-interval-msec", "--file-flush-min-size-kb"})
_WITH_TEXT = frozenset({"--disable-extensions", "--log-format", "--stats-tag"})


def read_process(item: Object, extends: bool, problems: list[Diagnostic]) -> Process | None:
    """What an EnvoyProxy says of processes; None if it has errors there. `extends`: it may change bootstraps."""
    assert isinstance(item.spec, EnvoyProxySpec)
    bootstrap, wrong = read_changes(item, item.spec.bootstrap, extends)
    found = [
        *wrong,
        *_wrong_levels(item, item.spec),
        *_wrong_drain(item, item.spec.shutdown),
        *_wrong_arguments(item, item.spec),
    ]
    problems += [one for one in found if one not in problems]
    if found:
        return None
    spec, shutdown = item.spec, item.spec.shutdown or ShutdownSpec()
    levels = dict(spec.logging.level or {}) if spec.logging is not None else {}
    return Process(
        concurrency=spec.concurrency or _USUAL.concurrency,
        level=_level(levels.pop(_DEFAULT, _USUAL.level)),
        levels=tuple(sorted((name, _level(level)) for name, level in levels.items())),
        drain=_seconds(shutdown.drain_timeout),
        quiet=_USUAL.quiet if shutdown.min_drain_duration is None else _seconds(shutdown.min_drain_duration) or 0.0,
        delay=_seconds(shutdown.health_check_failure_delay) or 0.0,
        arguments=spec.extra_args or (),
        bootstrap=bootstrap,
    )


def _level(written: str) -> str:
    return "warning" if written == "warn" else written


def _seconds(written: str | None) -> float | None:
    return parse_duration(written) if written is not None else None


def _wrong_levels(item: Object, spec: EnvoyProxySpec) -> Iterator[Diagnostic]:
    for name in (spec.logging.level or {}) if spec.logging is not None else {}:
        if name not in COMPONENTS | {_DEFAULT}:
            reason = (
                f"Envoy has no component '{name}'; write {_DEFAULT}, or one such as http, router, upstream, connection"
            )
            yield item.diagnose("F103", "logging", "level", name, reason=reason)


def _wrong_drain(item: Object, shutdown: ShutdownSpec | None) -> Iterator[Diagnostic]:
    if shutdown is None:
        return
    names = ("drainTimeout", "minDrainDuration", "healthCheckFailureDelay")
    written = (shutdown.drain_timeout, shutdown.min_drain_duration, shutdown.health_check_failure_delay)
    for name, text in zip(names, written, strict=True):
        if (_seconds(text) or 0.0) > _LONGEST_DRAIN:
            yield item.diagnose("F103", "shutdown", name, reason="at most 1h")
    drain = _seconds(shutdown.drain_timeout)
    if drain is not None and drain < 1:
        yield item.diagnose("F103", "shutdown", "drainTimeout", reason="at least 1s: Envoy counts whole seconds")


def _wrong_arguments(item: Object, spec: EnvoyProxySpec) -> Iterator[Diagnostic]:
    words, place = spec.extra_args or (), 0
    while place < len(words):
        name, equals, value = words[place].partition("=")
        reason, taken = _wrong_argument(name, bool(equals), value, words[place + 1 :])
        if reason:
            yield item.diagnose("F103", "extraArgs", place, reason=reason)
        place += taken


def _wrong_argument(name: str, equals: bool, value: str, more: Sequence[str]) -> tuple[str, int]:
    """What is wrong with a word of the command line, and how many words belong to it."""
    if name in _ALONE:
        return f"{name} has no value" if equals else "", 1
    if name not in _WITH_NUMBER | _WITH_TEXT:
        known = ", ".join(sorted(_ALONE | _WITH_NUMBER | _WITH_TEXT))
        return f"'{name}' is not among what may be said here: {known}", 1
    taken = 1 if equals else 2
    given = value if equals else more[0] if more else ""
    if not given or given.startswith("-"):
        return f"{name} needs a value", 1
    if name in _WITH_NUMBER and not (given.isascii() and given.isdecimal() and len(given) < 9):
        return f"{name} needs a whole number", taken
    return "", taken
