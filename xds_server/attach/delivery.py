"""How a Gateway's resources reach its Envoys: annotations of the Gateway.

In: a Gateway's metadata. Out: `Delivery`, and diagnostics for values that mean nothing; the default then counts.
"""

from __future__ import annotations

from dataclasses import dataclass

from xds_server.diagnostics import Diagnostic, diagnose
from xds_server.model.object import Object
from xds_server.types import parse_duration

VIRTUAL_HOSTS = "cellway.dev/virtual-hosts"
LISTENER_TTL = "cellway.dev/listener-ttl"
_SHORTEST = 3.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """`on_demand`: an Envoy gets the routes of a host when the first request for it comes.

    `listener_ttl`: seconds without a word from the control plane after which an Envoy closes its ports; 0: never.
    """

    on_demand: bool = False
    listener_ttl: float = 0.0


def read_delivery(gateway: Object) -> tuple[Delivery, tuple[Diagnostic, ...]]:
    """What the annotations of a Gateway ask for."""
    problems = []
    hosts = gateway.meta.annotations.get(VIRTUAL_HOSTS, "at-once")
    if hosts not in ("at-once", "on-demand"):
        problems.append(_problem(gateway, VIRTUAL_HOSTS, f"'{hosts}' is neither 'at-once' nor 'on-demand'"))
    text = gateway.meta.annotations.get(LISTENER_TTL)
    seconds = parse_duration(text) if text is not None else 0.0
    if text is not None and (seconds is None or seconds < _SHORTEST):
        problems.append(_problem(gateway, LISTENER_TTL, f"'{text}' is not a duration of at least 3s, such as 5m"))
        seconds = 0.0
    return Delivery(hosts == "on-demand", seconds or 0.0), tuple(problems)


def _problem(gateway: Object, name: str, reason: str) -> Diagnostic:
    span = gateway.source.value("metadata", "annotations", name)
    return diagnose("A106", span, subject=str(gateway.key), name=name, reason=reason)
