"""Services that filters call: backendRefs of a policy as one backend.

In: `backendRefs` as Envoy Gateway writes them, with weights. Out: one `Backend` of all their endpoints, each weighing its
share, or a reported problem. Endpoints by name and by address, or with different TLS, cannot be one cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import Field, JsonValue

from xds_server.features.contract import Context
from xds_server.features.parts.values import content_name
from xds_server.graph import Backend, Endpoint
from xds_server.spec import Bool, ObjectName, Port, Spec

_SCALE = 1_000_000


class ServiceRefSpec(Spec):
    """A Service or a Backend, and its share of the calls."""

    group: str = ""
    kind: str = "Service"
    name: ObjectName
    namespace: ObjectName | None = None
    port: Port | None = None
    weight: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] = 1
    fallback: Bool = False


class ServiceSpec(Spec):
    """Where calls go, and how they get there."""

    backend_ref: ServiceRefSpec | None = None
    backend_refs: Annotated[tuple[ServiceRefSpec, ...], Field(max_length=16)] = ()
    backend_settings: JsonValue = None

    @property
    def elsewhere(self) -> bool:
        """True if it says where calls go."""
        return self.backend_ref is not None or bool(self.backend_refs)


def service_refused(spec: ServiceSpec, context: Context, *path: str | int) -> bool:
    """True after what does not fit was reported."""
    if spec.backend_ref is not None and spec.backend_refs:
        context.problem("F103", *path, "backendRef", reason="give either backendRef or backendRefs")
        return True
    settings = spec.backend_settings
    return settings is not None and context.cluster_settings(settings, *path, "backendSettings") is None


def with_settings(backend: Backend, spec: ServiceSpec, context: Context, *path: str | int) -> Backend | None:
    """The backend with what `backendSettings` say; None if that was reported."""
    if spec.backend_settings is None:
        return backend
    settings = context.cluster_settings(spec.backend_settings, *path, "backendSettings")
    if settings is None:
        return None
    name = content_name(backend.name, [(one.feature, one.value) for one in settings])
    return replace(backend, name=name, settings=settings)


def resolve_service(spec: ServiceSpec, context: Context, *path: str | int, needed: bool = True) -> Backend | None:
    """The backend that `spec` at `path` means; None if that was reported (as a warning if it is not `needed`)."""
    if service_refused(spec, context, *path):
        return None
    refs = [(place, ref) for place, ref in _refs(spec) if ref.weight]
    if not refs:
        context.problem("F103", *path, reason="it needs backendRefs")
        return None
    found: list[tuple[Backend, int]] = []
    for place, ref in refs:
        backend = context.backend(ref, *path, *place, needed=needed)
        if backend is not None:
            found.append((backend, ref.weight))
    if len(found) < len(refs):
        return None
    first = found[0][0]
    for (place, _), (backend, _) in zip(refs, found, strict=True):
        if (backend.dns, backend.tls, backend.protocol) != (first.dns, first.tls, first.protocol):
            reason = "it differs from the first in TLS, protocol, or endpoints by name; one service needs equal ones"
            context.problem("F103", *path, *place, reason=reason)
            return None
    one = first if len(found) == 1 else _joined(found, [ref.fallback for _, ref in refs], context.owner)
    return with_settings(one, spec, context, *path)


def _refs(spec: ServiceSpec) -> list[tuple[tuple[str | int, ...], ServiceRefSpec]]:
    """References with their places."""
    if spec.backend_ref is not None:
        return [(("backendRef",), spec.backend_ref)]
    return [(("backendRefs", number), ref) for number, ref in enumerate(spec.backend_refs)]


def _joined(found: Sequence[tuple[Backend, int]], fallback: Sequence[bool], owner: str) -> Backend:
    """All endpoints in one backend; each backend has its share, however many endpoints it has.

    Fallbacks come after all others, unless there are no others.
    """
    ahead = [
        one.priority
        for (backend, _), later in zip(found, fallback, strict=True)
        if not later
        for one in backend.endpoints
    ]
    behind = max(ahead, default=-1) + 1
    most = max(weight for _, weight in found)
    endpoints: list[Endpoint] = []
    for (backend, weight), later in zip(found, fallback, strict=True):
        total = sum(one.weight for one in backend.endpoints) or 1
        share = _SCALE * weight / most
        for one in backend.endpoints:
            priority = one.priority + (behind if later else 0)
            endpoints.append(replace(one, weight=max(1, round(share * one.weight / total)), priority=priority))
    # Stats of clusters go by name, and this one must differ where the order of its backends does.
    signs = ["+" if not later else "|" for later in fallback]
    names = [backend.name.rpartition("/")[2] for backend, _ in found]
    name = f"{owner}/" + "".join(sign + one for sign, one in zip(signs, names, strict=True)).removeprefix("+")
    return replace(found[0][0], name=name, endpoints=tuple(endpoints))
