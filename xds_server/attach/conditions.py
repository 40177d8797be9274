"""Statuses in Gateway API's words: Gateways and listeners, routes by parent, policies by target.

In: what attachment found. Out: `Status` values. `Programmed` says here only whether there is something to program;
`observe/` joins what Envoys acknowledged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from xds_server.attach.gateways import GatewayState, ListenerState
from xds_server.attach.index import Index
from xds_server.attach.parents import Parent
from xds_server.attach.policies import PolicyTable, Scope
from xds_server.attach.rules import Rule
from xds_server.model.gateways import GatewayClassSpec
from xds_server.model.object import Object
from xds_server.status import ListenerStatus, ParentStatus, Status
from xds_server.types import ENVOY_GATEWAY_GROUP, GATEWAY_GROUP, Condition, Key

_ACCEPTED = Condition("Accepted", True, "Accepted")


def gateway_statuses(states: Iterable[GatewayState], attached: Mapping[tuple[Key, int], set[Key]]) -> dict[Key, Status]:
    """The status of every Gateway."""
    statuses = {}
    for state in states:
        listeners = tuple(_listener(one, len(attached.get((state.key, one.number), ()))) for one in state.listeners)
        bad = [one for one in state.listeners if one.problem]
        served = len(bad) < len(state.listeners) and state.problem is None
        accepted = state.problem or _ACCEPTED
        if bad and not state.problem:
            names = ", ".join(one.spec.name for one in bad)
            accepted = Condition("Accepted", served, "ListenersNotValid", f"listeners that cannot be served: {names}")
        programmed = (
            Condition("Programmed", True, "Programmed") if served else Condition("Programmed", False, "Invalid")
        )
        statuses[state.key] = Status((accepted, programmed), listeners=listeners, addresses=state.addresses)
    return statuses


def _listener(state: ListenerState, routes: int) -> ListenerStatus:
    conditions = {
        "Accepted": _ACCEPTED,
        "Programmed": Condition("Programmed", True, "Programmed"),
        "ResolvedRefs": Condition("ResolvedRefs", True, "ResolvedRefs"),
        "Conflicted": Condition("Conflicted", False, "NoConflicts"),
    }
    if state.bad_kinds:
        message = "a kind in allowedRoutes is not served"
        conditions["ResolvedRefs"] = Condition("ResolvedRefs", False, "InvalidRouteKinds", message)
    if state.problem is not None:
        conditions[state.problem.type] = state.problem
        conditions["Programmed"] = Condition("Programmed", False, "Invalid", state.problem.message)
        if state.problem.type == "Conflicted":
            conditions["Accepted"] = Condition("Accepted", False, state.problem.reason, state.problem.message)
    return ListenerStatus(state.spec.name, tuple(conditions.values()), routes, state.kinds)


def route_status(route: Object, parents: Sequence[Parent], rules: Sequence[Rule]) -> Status:
    """The status of a route for each of its parents."""
    resolved = _resolved_refs(rules)
    extra = _partially_invalid(rules)
    idle = _backends_available(rules)
    found = []
    for parent in parents:
        accepted = parent.accepted
        if accepted.status and extra and all(rule.dropped for rule in rules):
            accepted = Condition("Accepted", False, "UnsupportedValue", extra.message)
        conditions = (accepted, resolved, *idle, *((extra,) if extra and accepted.status else ()))
        ref = parent.ref
        place = (ref.group, ref.kind, ref.namespace or route.namespace, ref.name, ref.section_name or "", ref.port or 0)
        found.append(ParentStatus(*place, conditions=conditions))
    return Status(parents=tuple(found))


def _resolved_refs(rules: Sequence[Rule]) -> Condition:
    unresolved = [one for rule in rules for one in rule.unresolved]
    if not unresolved:
        return Condition("ResolvedRefs", True, "ResolvedRefs")
    reasons = ",".join(sorted({one.reason for one in unresolved}))
    return Condition("ResolvedRefs", False, reasons, "; ".join(dict.fromkeys(one.message for one in unresolved)))


def _backends_available(rules: Sequence[Rule]) -> tuple[Condition, ...]:
    """Envoy Gateway's condition for routes with a backend that has no ready endpoint."""
    names = sorted({name for rule in rules for name in rule.idle})
    if not names:
        return ()
    return (Condition("BackendsAvailable", False, "EndpointsNotFound", f"no ready endpoint: {', '.join(names)}"),)


def _partially_invalid(rules: Sequence[Rule]) -> Condition | None:
    dropped = [rule for rule in rules if rule.dropped]
    if not dropped:
        return None
    names = ", ".join(str(rule.spec.name or rule.number) for rule in dropped)
    reasons = "; ".join(dict.fromkeys(rule.dropped for rule in dropped))
    return Condition("PartiallyInvalid", True, "UnsupportedValue", f"Dropped Rule(s) [{names}]: {reasons}")


def policy_statuses(
    table: PolicyTable, states: Iterable[GatewayState], attached: Mapping[tuple[Key, int], set[Key]]
) -> dict[Key, Status]:
    """The status of every policy, one ancestor for each target; Overridden where a nearer policy replaces it."""
    below = _routes_below(states, attached)
    statuses = {}
    for key, results in table.accepted.items():
        ancestors = []
        for scope, condition in results:
            conditions = [condition]
            overriders = _overriders(key, scope, table, below) if condition.status else []
            if overriders:
                message = "overridden for parts of its target by: " + ", ".join(overriders)
                conditions.append(Condition("Overridden", True, "Overridden", message))
            target, section = scope
            place = (target.group, target.kind, target.namespace, target.name, section)
            ancestors.append(ParentStatus(*place, conditions=tuple(conditions)))
        statuses[key] = Status(ancestors=tuple(ancestors))
    return statuses


def _routes_below(
    states: Iterable[GatewayState], attached: Mapping[tuple[Key, int], set[Key]]
) -> dict[Scope, set[Key]]:
    """The routes attached to each Gateway, and to each of its listeners."""
    below: dict[Scope, set[Key]] = {}
    for state in states:
        for listener in state.listeners:
            routes = attached.get((state.key, listener.number), set())
            below[state.key, listener.spec.name] = routes
            below.setdefault((state.key, ""), set()).update(routes)
    return below


def _overriders(policy: Key, scope: Scope, table: PolicyTable, below: Mapping[Scope, set[Key]]) -> list[str]:
    """Policies of the same kind that are nearer: at a section of this one's target, or at a route below it."""
    target, section = scope
    routes = below.get(scope, set())
    return sorted(
        str(other.item.key)
        for (kind, (place, part)), other in table.attached.items()
        if kind == policy.kind and (place in routes or (place == target and part and not section))
    )


def simple_statuses(index: Index, controllers: tuple[str, ...]) -> dict[Key, Status]:
    """GatewayClasses that are ours, and Backends."""
    statuses = {}
    for item in index.of_kind(GATEWAY_GROUP, "GatewayClass"):
        if isinstance(item.spec, GatewayClassSpec) and item.spec.controller_name in controllers:
            statuses[item.key] = Status((_ACCEPTED,))
    for item in index.of_kind(ENVOY_GATEWAY_GROUP, "Backend"):
        statuses[item.key] = Status((_ACCEPTED,))
    return statuses
