"""Objects with their status, in the form that Kubernetes gives them: for `render --as status` and the admin API.

In: what was compiled, and where live: what Envoys acknowledged and since when conditions are as they are. Out: JSON
values. The values of Secrets are never in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from xds_server.attach.listener_sets import parent_of
from xds_server.compile import Compiled
from xds_server.model.gateways import ListenerSetSpec
from xds_server.model.object import Object
from xds_server.status import ListenerStatus, ParentStatus, Status
from xds_server.types import GATEWAY_GROUP, Condition, Key

Since = Callable[[Key, str, Condition], str]
"""Since when a condition of an object at a place (`parents/0`, say) is as it is: RFC 3339."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Programming:
    """How far the Envoys of one gateway are. `blame` says what was refused, and where it is written."""

    synced: int
    wanted: int
    blame: str = ""

    def condition(self) -> Condition:
        """The Programmed condition that follows."""
        message = f"{self.synced} of {self.wanted} proxies"
        if self.blame:
            return Condition("Programmed", False, "Rejected", f"{message}; {self.blame}")
        if self.wanted == 0:
            return Condition("Programmed", False, "Pending", "no proxy is connected")
        done = self.synced >= self.wanted
        return Condition("Programmed", done, "Programmed" if done else "Pending", message)


@dataclass(frozen=True, slots=True)
class Live:
    """What only a running server knows: how far each gateway is, what Envoys refused of whom, and times."""

    programming: Mapping[Key, Programming]
    rejected: Mapping[Key, str]
    since: Since


def objects_view(compiled: Compiled, controller: str, live: Live | None = None, *, derived: bool = False) -> list[Json]:
    """All written objects with their status, in the order of their keys; `derived`: also those that cells mean."""
    shown = {item.key: item for item in (*compiled.shadows, *compiled.objects)}
    if derived:
        shown = {item.key: item for item in compiled.lowered if item.derived} | shown
    return [object_view(item, compiled, controller, live) for _, item in sorted(shown.items())]


def lowered_view(compiled: Compiled) -> list[Json]:
    """What attachment saw: the Gateway API objects that cells mean, without status."""
    return [_without_status(item) for item in sorted(compiled.lowered, key=lambda one: one.key)]


def object_view(item: Object, compiled: Compiled, controller: str, live: Live | None) -> Json:
    """One object with its status and, as `source`, its place."""
    status = compiled.statuses.get(item.key, Status())
    if live is not None:
        status = _programmed(item, status, live)
    view = _Statuses(item, controller, live.since if live else None)
    shown = {**_without_status(item), "status": view.of(status), "source": str(item.source.positions.start)}
    return shown | ({"madeFrom": [str(origin) for origin in item.made_from]} if item.derived else {})


def _without_status(item: Object) -> Json:
    written = {key: value for key, value in item.document.items() if key not in ("apiVersion", "kind", "metadata")}
    written.pop("status", None)
    metadata: Json = {"name": item.meta.name}
    if item.meta.namespace:
        metadata["namespace"] = item.meta.namespace
    metadata |= {"labels": dict(item.meta.labels)} if item.meta.labels else {}
    metadata |= {"annotations": dict(item.meta.annotations)} if item.meta.annotations else {}
    metadata |= {"creationTimestamp": item.meta.created} if item.meta.created else {}
    metadata["generation"] = item.meta.generation
    head = {"apiVersion": item.document.get("apiVersion"), "kind": item.key.kind, "metadata": metadata}
    return {**head, **written}


def _programmed(item: Object, status: Status, live: Live) -> Status:
    """A Gateway's status, and those of its listeners, with what its Envoys acknowledged; of others, what was refused."""
    gateway = _gateway_of(item)
    if gateway is None:
        return _rejected(status, live.rejected[item.key]) if item.key in live.rejected else status
    state = live.programming.get(gateway)
    if state is None:
        return status
    listeners = tuple(replace(one, conditions=_joined(one.conditions, state)) for one in status.listeners)
    return replace(status, conditions=_joined(status.conditions, state), listeners=listeners)


def _gateway_of(item: Object) -> Key | None:
    """The Gateway that a Gateway is, or that a ListenerSet adds to."""
    if isinstance(item.spec, ListenerSetSpec):
        return parent_of(item)
    return item.key if (item.key.group, item.key.kind) == (GATEWAY_GROUP, "Gateway") else None


def _rejected(status: Status, reason: str) -> Status:
    """The status of an object of which Envoy refused what it means, said wherever its kind says such things."""
    refused = Condition("Programmed", False, "Rejected", reason)
    if not status.parents and not status.ancestors:
        return replace(status, conditions=(*status.conditions, refused))
    parents, ancestors = (
        tuple(
            replace(one, conditions=(*(each for each in one.conditions if each.type != "Programmed"), refused))
            for one in places
        )
        for places in (status.parents, status.ancestors)
    )
    return replace(status, parents=parents, ancestors=ancestors)


def _joined(conditions: Iterable[Condition], state: Programming) -> tuple[Condition, ...]:
    return tuple(state.condition() if one.type == "Programmed" and one.status else one for one in conditions)


@dataclass(frozen=True, slots=True)
class _Statuses:
    """Writes the statuses of one object."""

    item: Object
    controller: str
    since: Since | None

    def of(self, status: Status) -> Json:
        view: Json = {}
        if status.conditions:
            view["conditions"] = self._conditions("", status.conditions)
        if status.supported:
            view["supportedFeatures"] = [{"name": name} for name in status.supported]
        if status.addresses:
            view["addresses"] = [{"type": "IPAddress", "value": address} for address in status.addresses]
        if status.listener_sets:
            view["attachedListenerSets"] = status.listener_sets
        if status.listeners:
            view["listeners"] = [self._listener(one) for one in status.listeners]
        if status.parents:
            view["parents"] = [self._parent("parents", number, one) for number, one in enumerate(status.parents)]
        if status.ancestors:
            view["ancestors"] = [self._parent("ancestors", number, one) for number, one in enumerate(status.ancestors)]
        return view

    def _listener(self, listener: ListenerStatus) -> Json:
        return {
            "name": listener.name,
            "attachedRoutes": listener.attached_routes,
            "supportedKinds": [{"group": GATEWAY_GROUP, "kind": kind} for kind in listener.supported_kinds],
            "conditions": self._conditions(f"listeners/{listener.name}", listener.conditions),
        }

    def _parent(self, field: str, number: int, parent: ParentStatus) -> Json:
        ref: Json = {"group": parent.group, "kind": parent.kind, "namespace": parent.namespace, "name": parent.name}
        ref |= {"sectionName": parent.section} if parent.section else {}
        ref |= {"port": parent.port} if parent.port else {}
        return {
            {"parents": "parentRef", "ancestors": "ancestorRef"}[field]: ref,
            "controllerName": self.controller,
            "conditions": self._conditions(f"{field}/{number}", parent.conditions),
        }

    def _conditions(self, place: str, conditions: Iterable[Condition]) -> list[Json]:
        views = []
        for condition in conditions:
            view: Json = {"type": condition.type, "status": str(condition.status), "reason": condition.reason}
            view |= {"message": condition.message, "observedGeneration": self.item.meta.generation}
            if self.since is not None:
                view["lastTransitionTime"] = self.since(self.item.key, place, condition)
            views.append(view)
        return views
