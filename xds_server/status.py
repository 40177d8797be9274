"""The status of objects in Gateway API's form, as far as it follows from documents alone.

In: what `cells/` and `attach/` decided. Out: frozen values; `observe/` adds times and what Envoys acknowledged.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from xds_server.types import Condition


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

    `listener_sets` counts those that are attached to a Gateway.
    """

    conditions: tuple[Condition, ...] = ()
    parents: tuple[ParentStatus, ...] = ()
    ancestors: tuple[ParentStatus, ...] = ()
    listeners: tuple[ListenerStatus, ...] = ()
    listener_sets: int = 0
    addresses: tuple[str, ...] = ()


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
