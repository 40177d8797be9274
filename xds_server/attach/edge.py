"""Proxies in front of a Gateway: its annotations `cellway.dev/trusted-proxies` and `cellway.dev/trusted-hops`.

In: a Gateway's metadata. Out: a setting for all of its listeners, and diagnostics. What means nothing lets nobody in.
"""

from __future__ import annotations

from xds_server.diagnostics import Diagnostic, diagnose
from xds_server.features.trusted_edge import TRUSTED_EDGE, TrustedEdge
from xds_server.graph import Setting
from xds_server.model.object import Object
from xds_server.types import read_network

TRUSTED_PROXIES = "cellway.dev/trusted-proxies"
TRUSTED_HOPS = "cellway.dev/trusted-hops"
_MOST_HOPS = 16


def read_edge(gateway: Object) -> tuple[tuple[Setting, ...], tuple[Diagnostic, ...]]:
    """What the annotations of a Gateway ask for: at most one setting."""
    proxies, hops = (gateway.meta.annotations.get(name) for name in (TRUSTED_PROXIES, TRUSTED_HOPS))
    if proxies is None and hops is None:
        return (), ()
    found, problems = [], []
    if proxies is None:
        reason = f"without {TRUSTED_PROXIES} anybody could claim any address"
        problems.append(_problem(gateway, TRUSTED_HOPS, reason))
    for text in (proxies or "").split(","):
        try:
            network = read_network(text.strip())
        except ValueError as error:
            if proxies is not None:
                problems.append(_problem(gateway, TRUSTED_PROXIES, f"a range is written as 203.0.113.0/24: {error}"))
            continue
        found.append((str(network.network_address), network.prefixlen))
    number = int(hops) if hops is not None and hops.isdecimal() and len(hops) < 5 else 1 if hops is None else 0
    if not 1 <= number <= _MOST_HOPS:
        problems.append(_problem(gateway, TRUSTED_HOPS, f"'{hops}' is not a number from 1 to {_MOST_HOPS}"))
    value = TrustedEdge((), 0) if problems else TrustedEdge(tuple(found), number)
    return (Setting(TRUSTED_EDGE.name, value, gateway.origins),), tuple(problems)


def streams_problem(gateway: Object, listener: str) -> Diagnostic:
    """A listener that hands connections on unseen cannot look at their addresses by these rules, so it is closed."""
    return _problem(gateway, TRUSTED_PROXIES, f"it is for HTTP and HTTPS only, so listener {listener} is closed")


def _problem(gateway: Object, name: str, reason: str) -> Diagnostic:
    span = gateway.source.value("metadata", "annotations", name)
    return diagnose("A106", span, subject=str(gateway.key), name=name, reason=reason)
