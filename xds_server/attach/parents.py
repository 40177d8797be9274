"""Which listeners a route attaches to, and why not to the others: parentRefs, allowedRoutes, hostnames.

In: one route and the Gateways that are ours. Out: for every parentRef the listeners with the hostnames that
both share, or a condition in Gateway API's words.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from xds_server.attach.gateways import GatewayState
from xds_server.attach.hostnames import intersect, specificity
from xds_server.attach.index import Index
from xds_server.attach.listeners import ListenerState
from xds_server.diagnostics import Diagnostic
from xds_server.model.gateway_api import HttpRouteSpec, ParentRef, RouteSpec
from xds_server.model.grpc_route import GrpcRouteSpec
from xds_server.model.object import Object
from xds_server.model.stream_routes import TlsRouteSpec
from xds_server.types import GATEWAY_GROUP, Condition, Key

KINDS = ("Gateway", "ListenerSet")


@dataclass(frozen=True, slots=True)
class Attachment:
    """A route on one listener, for the hostnames that both share: each with the one that the route itself names."""

    gateway: GatewayState
    listener: ListenerState
    shared: Mapping[str, str]

    @property
    def hostnames(self) -> tuple[str, ...]:
        """What it is attached for."""
        return tuple(self.shared)

    def closeness(self, hostname: str) -> tuple[int, int]:
        """How closely the route itself names a hostname; lower is closer (Gateway API, `hostnames` of routes)."""
        exact, length = specificity(self.shared[hostname])
        return (-exact, -length)


@dataclass(frozen=True, slots=True)
class Parent:
    """What became of one parentRef. `accepted` is its Accepted condition.

    `unserved` are listeners that count the route although they are not served themselves.
    """

    ref: ParentRef
    number: int
    attachments: tuple[Attachment, ...]
    accepted: Condition
    unserved: tuple[Attachment, ...] = ()


def attach_route(
    route: Object, gateways: Mapping[Key, GatewayState], foreign: frozenset[Key], index: Index
) -> tuple[tuple[Parent, ...], tuple[Diagnostic, ...]]:
    """Follow every parentRef of a route. `gateways` are found by their own keys and by those of their ListenerSets.

    Gateways of other controllers, and their ListenerSets (`foreign`), are left to those.
    """
    assert isinstance(route.spec, RouteSpec)
    parents, problems = [], []
    for number, ref in enumerate(route.spec.parent_refs):
        key = Key(GATEWAY_GROUP, ref.kind, ref.namespace or route.namespace, ref.name)
        if key in foreign:
            continue
        if ref.group != GATEWAY_GROUP or ref.kind not in KINDS:
            reason = f"a parent must be a Gateway or a ListenerSet; {ref.kind} of '{ref.group}' is not supported"
            parent = _refused(ref, number, "NoMatchingParent", reason)
        elif key not in gateways:
            reason = f"there is no {key}" if key not in index.by_key else f"{key} adds no listeners to any Gateway"
            parent = _refused(ref, number, "NoMatchingParent", reason)
        else:
            parent = _attach_to(route, route.spec, (ref, number, key), gateways[key], index)
        parents.append(parent)
        if not parent.accepted.status:
            hint = _hint(ref, key, gateways)
            message = parent.accepted.message
            problems.append(route.diagnose("A110", "parentRefs", number, hint=hint, reason=message))
    if not route.spec.parent_refs:
        problems.append(route.diagnose("A111"))
    return tuple(parents), tuple(problems)


def _hint(ref: ParentRef, key: Key, gateways: Mapping[Key, GatewayState]) -> str:
    names = [known.name for known in gateways if (known.kind, known.namespace) == (key.kind, key.namespace)]
    if key in gateways:
        names = [listener.spec.name for listener in gateways[key].listeners_of(key)]
    wrong = (ref.section_name or "") if key in gateways else key.name
    close = difflib.get_close_matches(wrong, names, n=1)
    return f"did you mean '{close[0]}'?" if close and close[0] != wrong else ""


def _refused(ref: ParentRef, number: int, reason: str, message: str) -> Parent:
    return Parent(ref, number, (), Condition("Accepted", False, reason, message))


def _attach_to(
    route: Object,
    spec: RouteSpec,
    wanted: tuple[ParentRef, int, Key],
    gateway: GatewayState,
    index: Index,
) -> Parent:
    ref, number, key = wanted
    listeners = gateway.listeners_of(key)
    chosen = [
        listener
        for listener in listeners
        if ref.section_name in (None, listener.spec.name) and ref.port in (None, listener.spec.port)
    ]
    if not chosen:
        known = ", ".join(f"{listener.spec.name} (port {listener.spec.port})" for listener in listeners)
        return _refused(ref, number, "NoMatchingParent", f"{key} has no such listener; it has {known}")
    allowed = [listener for listener in chosen if _is_allowed(route, listener, index)]
    if not allowed:
        message = f"no listener of {key} allows {route.key.kind}s of namespace {route.namespace}"
        return _refused(ref, number, "NotAllowedByListeners", message)
    attachments = []
    for listener in allowed:
        shared = shared_hostnames(listener.hostname, hostnames_of(spec))
        if shared:
            attachments.append(Attachment(gateway, listener, shared))
    if not attachments:
        hosts = ", ".join(listener.hostname for listener in allowed)
        message = f"none of the route's hostnames fits the listeners' ({hosts})"
        return _refused(ref, number, "NoMatchingListenerHostname", message)
    served = tuple(attachment for attachment in attachments if attachment.listener.problem is None)
    unserved = tuple(attachment for attachment in attachments if attachment not in served)
    return Parent(ref, number, served, Condition("Accepted", True, "Accepted"), unserved)


def hostnames_of(spec: RouteSpec) -> tuple[str, ...]:
    """The hostnames that a route names; kinds that know no hostnames name none."""
    return spec.hostnames if isinstance(spec, HttpRouteSpec | GrpcRouteSpec | TlsRouteSpec) else ()


def shared_hostnames(listener: str, route: tuple[str, ...]) -> dict[str, str]:
    """The hostnames that a listener and a route have in common, in order; `*` if neither says any.

    Each with the most specific of the route's own that it comes from.
    """
    shared: dict[str, str] = {}
    for own in route or ("*",):
        both = intersect(listener, own)
        if both:
            shared[both] = max(shared.get(both, own), own, key=specificity)
    return shared


def _is_allowed(route: Object, listener: ListenerState, index: Index) -> bool:
    if route.key.kind not in listener.kinds:
        return False
    return index.selects(listener.spec.allowed_routes.namespaces, route.namespace, listener.owner.namespace)
