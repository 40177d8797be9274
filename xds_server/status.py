"""The status of objects in Gateway API's form, as far as it follows from documents alone.

In: what `cells/` and `attach/` decided. Out: frozen values; `observe/` adds times and what Envoys acknowledged.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from xds_server.types import Condition, Key


@dataclass(frozen=True, slots=True)
class ListenerStatus:
    """One listener of a Gateway: its conditions, how many routes are attached and which kinds it takes."""

    name: str
    conditions: tuple[Condition, ...]
    attached_routes: int = 0
    supported_kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ParentStatus:
    """A route's status for one parentRef, or a policy's for one ancestor (a Gateway or what it targets)."""

    group: str
    kind: str
    namespace: str
    name: str
    section: str = ""
    port: int = 0
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """All that is said of one object. Kinds use what Gateway API gives them: routes `parents`, policies `ancestors`.

    `listener_sets` counts those that are attached to a Gateway: admitted, and with a listener that can be served.
    `supported` are features of Gateway API, which GatewayClasses name.
    """

    conditions: tuple[Condition, ...] = ()
    parents: tuple[ParentStatus, ...] = ()
    ancestors: tuple[ParentStatus, ...] = ()
    listeners: tuple[ListenerStatus, ...] = ()
    listener_sets: int = 0
    addresses: tuple[str, ...] = ()
    supported: tuple[str, ...] = ()


_MOST_ANCESTORS = 16
"""What PolicyStatus of Gateway API holds."""


def aggregated(status: Status) -> Status:
    """A status with at most 16 ancestors: first those that refuse the policy, then those where it is overridden."""
    if len(status.ancestors) <= _MOST_ANCESTORS:
        return status
    kept = sorted(status.ancestors, key=_urgency)[:_MOST_ANCESTORS]
    message = f"{len(status.ancestors) - _MOST_ANCESTORS} more ancestors are not listed"
    extra = Condition("Aggregated", True, "Aggregated", message)
    kept[-1] = replace(kept[-1], conditions=(*kept[-1].conditions, extra))
    return replace(status, ancestors=tuple(kept))


def _urgency(place: ParentStatus) -> tuple[bool, bool, str, str, str]:
    accepted = all(one.status for one in place.conditions if one.type == "Accepted")
    overridden = any(one.status for one in place.conditions if one.type == "Overridden")
    return accepted, not overridden, place.namespace, place.name, place.section


def join_derived(
    attached: Mapping[Key, Status], lowered: Mapping[Key, Status], made: Mapping[Key, tuple[Key, ...]]
) -> dict[Key, Status]:
    """Statuses of one stage: what became of a derived object is said of the written one that it carries on."""
    statuses = {**attached, **lowered}
    for written, derived in made.items():
        found = [attached[key] for key in derived if key in attached]
        parents = tuple(parent for status in found for parent in status.parents)
        refused = next(
            (one for status in found for place in status.ancestors for one in place.conditions if not _is_good(one)),
            None,
        )
        known = lowered.get(written, Status())
        ancestors = known.ancestors
        if refused is not None:
            ancestors = tuple(replace(place, conditions=(refused,)) for place in ancestors)
        statuses[written] = replace(known, parents=parents or known.parents, ancestors=ancestors)
    return statuses


def join_stages(stages: Iterable[Mapping[Key, Status]], written: Collection[Key]) -> dict[Key, Status]:
    """Statuses of all stages: of written objects what is wrong in any of them, of derived ones what the first says."""
    first, *others = stages
    joined = dict(first)
    for statuses in others:
        for key, status in statuses.items():
            known = joined.setdefault(key, status)
            if known is not status and key in written:
                joined[key] = _joined(known, status)
    return all_aggregated(joined)


def all_aggregated(statuses: Mapping[Key, Status]) -> dict[Key, Status]:
    """The same statuses, none of which has too many ancestors."""
    long = {key: aggregated(status) for key, status in statuses.items() if len(status.ancestors) > _MOST_ANCESTORS}
    return {**statuses, **long}


def _joined(one: Status, other: Status) -> Status:
    """Two stages' words about one object."""
    conditions = {condition.type: condition for condition in one.conditions}
    for condition in other.conditions:
        known = conditions.setdefault(condition.type, condition)
        if _outweighs(condition, known):
            conditions[condition.type] = condition
    return replace(
        one,
        conditions=tuple(conditions.values()),
        parents=_places(one.parents, other.parents),
        ancestors=_places(one.ancestors, other.ancestors),
    )


def _places(one: tuple[ParentStatus, ...], other: tuple[ParentStatus, ...]) -> tuple[ParentStatus, ...]:
    """The places of both; where both speak of one, what is wrong counts."""
    places = {replace(place, conditions=()): place for place in one}
    for place in other:
        head = replace(place, conditions=())
        known = places.setdefault(head, place)
        if any(_is_good(two) and not _is_good(a) for a in place.conditions for two in known.conditions):
            places[head] = place
    return tuple(places.values())


def _outweighs(condition: Condition, known: Condition) -> bool:
    """What is wrong counts; but a cell is bound if any stage binds it."""
    if condition.type == "Bound":
        return condition.status and not known.status
    return known.status and not condition.status


def _is_good(condition: Condition) -> bool:
    return condition.type != "Accepted" or condition.status


def with_programmed(statuses: Mapping[Key, Status], found: Iterable[tuple[Key, Condition]]) -> dict[Key, Status]:
    """The statuses, where the Programmed condition of some objects is known; of several for one, a bad one counts."""
    worst: dict[Key, Condition] = {}
    for key, condition in found:
        if key not in worst or worst[key].status:
            worst[key] = condition
    joined = dict(statuses)
    for key, condition in worst.items():
        if (status := joined.get(key)) is not None:
            ancestors = (replace(one, conditions=(*one.conditions, condition)) for one in status.ancestors)
            joined[key] = replace(status, ancestors=tuple(ancestors))
    return joined
