"""ListenerSets: which of them may add listeners to which Gateway.

In: ListenerSets and the Gateways that are ours. Out: a `SetState` for each that means one of these, the oldest first. A
Gateway admits none unless `allowedListeners` says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xds_server.attach.index import Index
from xds_server.diagnostics import Diagnostic
from xds_server.model.gateways import GatewaySpec, ListenerSetSpec
from xds_server.model.object import Object
from xds_server.types import GATEWAY_GROUP, Condition, Key

KIND = "ListenerSet"


@dataclass(frozen=True, slots=True)
class SetState:
    """One ListenerSet: the Gateway that it means, and whether it is admitted there."""

    item: Object
    spec: ListenerSetSpec
    gateway: Key
    accepted: Condition


def parent_of(item: Object) -> Key:
    """The Gateway that a ListenerSet means."""
    assert isinstance(item.spec, ListenerSetSpec)
    ref = item.spec.parent_ref
    return Key(ref.group, ref.kind, ref.namespace or item.namespace, ref.name)


def read_sets(gateways: Mapping[Key, Object], index: Index, problems: list[Diagnostic]) -> tuple[SetState, ...]:
    """All ListenerSets but those of Gateways of other controllers."""
    found = []
    for item in index.of_kind(GATEWAY_GROUP, KIND):
        assert isinstance(item.spec, ListenerSetSpec)
        parent = parent_of(item)
        if parent in index.by_key and parent not in gateways and parent.kind == "Gateway":
            continue
        accepted = _accepted(item, parent, gateways, index)
        if not accepted.status:
            problems.append(item.diagnose("A130", "parentRef", reason=accepted.message))
        found.append(SetState(item, item.spec, parent, accepted))
    return tuple(found)


def _accepted(item: Object, parent: Key, gateways: Mapping[Key, Object], index: Index) -> Condition:
    gateway = gateways.get(parent)
    if gateway is None:
        return Condition("Accepted", False, "ParentNotAccepted", f"there is no {parent}")
    assert isinstance(gateway.spec, GatewaySpec)
    allowed = gateway.spec.allowed_listeners.namespaces
    if not index.selects(allowed, item.namespace, gateway.namespace):
        message = f"{parent} admits no listeners of namespace {item.namespace}: allowedListeners is {allowed.from_}"
        return Condition("Accepted", False, "NotAllowed", message)
    return Condition("Accepted", True, "Accepted")
