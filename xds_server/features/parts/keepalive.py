"""Probes on connections that are silent, as users write them.

In: a `tcpKeepalive` object. Out: its meaning, and that in Envoy's message. Numbers that Linux would refuse are refused
here: there no connection could be made. What is not said is the operating system's own (Linux: after two hours, every
75 s, nine times).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from xds_server.envoy_api.envoy.config.core.v3.address_pb2 import TcpKeepalive as EnvoyKeepalive
from xds_server.features.contract import Context
from xds_server.features.parts.values import seconds, uint32
from xds_server.spec import Duration, Spec

_LONGEST = 32767


class TcpKeepaliveSpec(Spec):
    """When probes are sent. An empty object switches them on."""

    probes: Annotated[int | None, Field(strict=True, ge=1, le=127)] = None
    idle_time: Duration | None = None
    interval: Duration | None = None


@dataclass(frozen=True, slots=True)
class TcpKeepalive:
    """Times in seconds; None leaves the operating system's."""

    probes: int | None
    idle: int | None
    interval: int | None


def resolve_keepalive(spec: TcpKeepaliveSpec, context: Context) -> TcpKeepalive | None:
    """The probes. A time must be whole seconds, from 1 s to 32767 s."""
    times = {"idleTime": seconds(spec.idle_time), "interval": seconds(spec.interval)}
    bad = [field for field, time in times.items() if time is not None and not _fits(time)]
    for field in bad:
        context.problem("F103", field, reason=f"{field} must be whole seconds, from 1s to {_LONGEST}s")
    if bad:
        return None
    idle, interval = (None if time is None else int(time) for time in times.values())
    return TcpKeepalive(spec.probes, idle, interval)


def fill_keepalive(keepalive: EnvoyKeepalive, value: TcpKeepalive) -> None:
    """Switch probes on, with what is set."""
    keepalive.SetInParent()
    if value.probes is not None:
        keepalive.keepalive_probes.CopyFrom(uint32(value.probes))
    if value.idle is not None:
        keepalive.keepalive_time.CopyFrom(uint32(value.idle))
    if value.interval is not None:
        keepalive.keepalive_interval.CopyFrom(uint32(value.interval))


def _fits(time: float) -> bool:
    return time == int(time) and 1 <= time <= _LONGEST
