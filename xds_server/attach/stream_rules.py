"""backendRefs of a TLSRoute, TCPRoute or UDPRoute -> the destinations of its connections or datagrams.

In: the one rule of a route, and what the policies on it ask for. Out: `StreamRule`, and graph destinations. A backend
that cannot be used is left out and the others take its share; without any, connections are closed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from xds_server.attach.backends import resolve_backend
from xds_server.attach.index import Index
from xds_server.attach.joined import apart, is_fallback, joined, with_fallback
from xds_server.attach.unresolved import Unresolved
from xds_server.diagnostics import Diagnostic
from xds_server.graph import Backend, Destination
from xds_server.model.object import Object
from xds_server.model.stream_routes import StreamRouteSpec


@dataclass(frozen=True, slots=True)
class StreamRule:
    """What a route's rule means, without the policies that will be put on it. `shares` are backends with weights."""

    shares: tuple[tuple[Backend, int], ...]
    unresolved: tuple[Unresolved, ...]
    problems: tuple[Diagnostic, ...]

    @property
    def without_endpoints(self) -> tuple[str, ...]:
        """The backends that have no ready endpoint."""
        return tuple(backend.name for backend, _ in self.shares if not backend.endpoints)


def read_stream_rule(route: Object, index: Index) -> StreamRule:
    """Follow the backendRefs of a route."""
    assert isinstance(route.spec, StreamRouteSpec)
    shares: list[tuple[Backend, int]] = []
    unresolved: list[Unresolved] = []
    problems: list[Diagnostic] = []
    datagrams = route.key.kind == "UDPRoute"
    for place, ref in enumerate(route.spec.rules[0].backend_refs):
        found = resolve_backend(ref, route.key, index, "udp" if datagrams else "tcp")
        path = ("rules", 0, "backendRefs", place)
        if isinstance(found, Backend) and datagrams and found.tls is not None:
            found = Unresolved("UnsupportedValue", f"TLS is asked for to {found.name}, and UDP has none")
        if isinstance(found, Unresolved):
            problems.append(route.diagnose("A140", *path, *found.path, hint=found.hint, reason=found.message))
            unresolved.append(found)
            continue
        first = next((one for one, _ in shares), found)
        reason = apart(first, found) if not datagrams and is_fallback(found) != is_fallback(first) else ""
        if reason:
            found = Unresolved("UnsupportedValue", f"a fallback and what it stands in for must be alike: {reason}")
            problems.append(route.diagnose("A140", *path, reason=found.message))
            unresolved.append(found)
            continue
        if not found.endpoints:
            problems.append(route.diagnose("A141", *path, name=found.name))
        shares.append((found, ref.weight))
    return StreamRule(tuple(shares), tuple(unresolved), tuple(problems))


def tcp_destinations(rule: StreamRule, suffix: str, *, through: bool) -> tuple[Destination, ...]:
    """Where connections go. `through`: they carry TLS of the client's own, so no other TLS is put around it."""
    found: dict[str, Destination] = {}
    for backend, weight in _with_fallbacks(rule.shares):
        tls = None if through else backend.tls
        name = f"{backend.name}/{'tls' if tls else 'tcp'}"
        cluster = name + suffix
        total = weight + (found[cluster].weight if cluster in found else 0)
        found[cluster] = Destination(cluster, replace(backend, name=name, tls=tls, protocol="tcp"), total)
    return tuple(one for one in found.values() if one.weight)


def _with_fallbacks(shares: tuple[tuple[Backend, int], ...]) -> tuple[tuple[Backend, int], ...]:
    used = tuple((backend, weight) for backend, weight in shares if weight)
    fallbacks = [is_fallback(backend) for backend, _ in used]
    if not any(fallbacks) or all(fallbacks):
        return shares
    return ((with_fallback(used), sum(weight for _, weight in used)),)


def udp_destinations(rule: StreamRule, name: str, suffix: str) -> tuple[Destination, ...]:
    """Where datagrams go. Envoy sends those of a port to one cluster, so several backends become one, by weights."""
    shares = [(backend, weight) for backend, weight in rule.shares if weight and backend.endpoints]
    if not shares:
        return ()
    if len(shares) == 1:
        backend = shares[0][0]
        one = replace(backend, name=f"{backend.name}/udp", protocol="udp")
        return (Destination(one.name + suffix, one),)
    merged = joined(f"{name}/udp", [(replace(backend, protocol="udp"), weight) for backend, weight in shares])
    merged = replace(merged, dns=any(backend.dns for backend, _ in shares))
    return (Destination(merged.name + suffix, merged),)
