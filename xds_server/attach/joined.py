"""Several backends as one, where Envoy takes only one cluster: datagrams of a port, and backends with a fallback.

In: backends with weights. Out: one `graph.Backend` of all their endpoints, each weighing its part of its backend's
share; or why they cannot be one. Endpoints of a fallback keep their priority: they are used when the others are ill.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import gcd

from xds_server.graph import Backend, Endpoint

_FINEST_SHARE = 10_000
"""Into how many parts traffic is divided."""
Weighed = tuple[Backend, int]


def is_fallback(backend: Backend) -> bool:
    """Whether a backend only stands in for others."""
    return any(one.priority for one in backend.endpoints)


def apart(one: Backend, other: Backend) -> str:
    """Why two backends cannot be one; empty if they can."""
    if one.dns != other.dns:
        return f"{one.name} has names and {other.name} has addresses, or the other way round"
    if one.tls != other.tls:
        return f"TLS to {one.name} and to {other.name} differs"
    if one.protocol != other.protocol:
        return f"{one.name} and {other.name} speak different protocols"
    return ""


def joined(name: str, shares: Sequence[Weighed]) -> Backend:
    """All endpoints in one backend, with weights that add up to those of their backends."""
    origins = tuple(dict.fromkeys(origin for backend, _ in shares for origin in backend.origins))
    return replace(shares[0][0], name=name, endpoints=_weighted(shares), origins=origins)


def with_fallback(shares: Sequence[Weighed]) -> Backend:
    """The same for backends of which some stand in for the others. Its name tells who is in it, and how much."""
    parts = [f"{backend.name}*{weight}" for backend, weight in shares]
    return joined("+".join(parts), shares)


def _weighted(shares: Sequence[Weighed]) -> tuple[Endpoint, ...]:
    served = [(backend, weight) for backend, weight in shares if weight and backend.endpoints]
    if not served:
        return ()
    largest = max(weight / len(backend.endpoints) for backend, weight in served)
    parts = [max(1, round(_FINEST_SHARE * weight / len(backend.endpoints) / largest)) for backend, weight in served]
    divisor = gcd(*parts)
    found: dict[Endpoint, int] = {}
    for (backend, _), part in zip(served, parts, strict=True):
        for endpoint in backend.endpoints:
            found[endpoint] = found.get(endpoint, 0) + part // divisor
    return tuple(replace(endpoint, weight=weight) for endpoint, weight in found.items())
