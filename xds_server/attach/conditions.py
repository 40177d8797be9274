"""Statuses in Gateway API's words: Gateways and listeners, routes by parent, policies by target.

In: what attachment found. Out: `Status` values. `Programmed` says here only whether there is something to program;
`observe/` joins what Envoys acknowledged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from xds_server.attach.gateways import GatewayState
from xds_server.attach.index import Index
from xds_server.attach.listener_sets import SetState
from xds_server.attach.listeners import ListenerState
from xds_server.attach.parents import Parent
from xds_server.attach.policies import PolicyTable, Scope
from xds_server.attach.rules import Rule
from xds_server.attach.supported import SUPPORTED
from xds_server.attach.unresolved import Unresolved
from xds_server.model.gateways import GatewayClassSpec
from xds_server.model.object import Object
from xds_server.status import ListenerStatus, ParentStatus, Status
from xds_server.types import ENVOY_GATEWAY_GROUP, GATEWAY_GROUP, Condition, Key

_ACCEPTED = Condition("Accepted", True, "Accepted")


def gateway_statuses(
    states: Iterable[GatewayState], sets: Iterable[SetState], attached: Mapping[tuple[Key, int], set[Key]]
) -> dict[Key, Status]:
    """The status of every Gateway and of every ListenerSet."""
    statuses: dict[Key, Status] = {}
    by_key = {state.key: state for state in states}
    for state in by_key.values():
        accepted, programmed = _served(state, state.listeners_of(state.key))
        conditions = {one.type: one for one in (accepted, programmed, *state.notes) if one.type != "Programmed"}
        worse = next((one for one in state.notes if one.type == "Programmed"), None)
        conditions["Programmed"] = worse or programmed
        statuses[state.key] = Status(
            tuple(conditions.values()),
            listeners=_listeners(state, state.key, attached),
            addresses=state.addresses,
            listener_sets=sum(_served(state, state.listeners_of(one.item.key))[0].status for one in state.sets),
        )
    for one in sets:
        gateway = by_key.get(one.gateway)
        if gateway is None or not one.accepted.status:
            why = Condition("Programmed", False, one.accepted.reason, one.accepted.message)
            statuses[one.item.key] = Status((one.accepted, why))
        else:
            accepted, programmed = _served(gateway, gateway.listeners_of(one.item.key))
            if not accepted.status:
                programmed = Condition("Programmed", False, accepted.reason, accepted.message)
            listeners = _listeners(gateway, one.item.key, attached)
            statuses[one.item.key] = Status((accepted, programmed), listeners=listeners)
    return statuses


def _served(state: GatewayState, listeners: Sequence[ListenerState]) -> tuple[Condition, Condition]:
    """Accepted and Programmed of a Gateway or a ListenerSet with these listeners."""
    bad = [one for one in listeners if one.problem]
    served = len(bad) < len(listeners) and state.problem is None and bool(state.addresses)
    accepted = state.problem or _ACCEPTED
    if bad and not state.problem:
        names = ", ".join(one.spec.name for one in bad)
        some = len(bad) < len(listeners)
        accepted = Condition("Accepted", some, "ListenersNotValid", f"listeners that cannot be served: {names}")
    return accepted, Condition("Programmed", served, "Programmed" if served else "Invalid")


def _listeners(
    state: GatewayState, owner: Key, attached: Mapping[tuple[Key, int], set[Key]]
) -> tuple[ListenerStatus, ...]:
    found = state.listeners_of(owner)
    return tuple(_listener(one, len(attached.get((state.key, one.number), ()))) for one in found)


def _listener(state: ListenerState, routes: int) -> ListenerStatus:
    conditions = {
        "Accepted": _ACCEPTED,
        "Programmed": Condition("Programmed", True, "Programmed"),
        "ResolvedRefs": Condition("ResolvedRefs", True, "ResolvedRefs"),
        "Conflicted": Condition("Conflicted", False, "NoConflicts"),
    }
    conditions |= {note.type: note for note in state.notes}
    if state.problem is not None:
        conditions[state.problem.type] = state.problem
        conflicting = state.problem.type == "Conflicted"
        reason = state.problem.reason if conflicting else "Invalid"
        conditions["Programmed"] = Condition("Programmed", False, reason, state.problem.message)
        if conflicting:
            conditions["Accepted"] = Condition("Accepted", False, reason, state.problem.message)
    return ListenerStatus(state.spec.name, tuple(conditions.values()), routes, state.kinds)


def route_status(route: Object, parents: Sequence[Parent], rules: Sequence[Rule]) -> Status:
    """The status of a route for each of its parents."""
    resolved = resolved_refs([one for rule in rules for one in rule.unresolved])
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


def resolved_refs(unresolved: Sequence[Unresolved]) -> Condition:
    """Whether all references of a route lead somewhere."""
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
    nearer: dict[str, dict[Key, list[tuple[str, Key]]]] = defaultdict(lambda: defaultdict(list))
    for (kind, (aim, part)), policy in table.attached.items():
        nearer[kind][aim].append((part, policy.item.key))
    statuses = {}
    for key, results in table.accepted.items():
        ancestors = []
        for scope, condition in results:
            conditions = [condition]
            found = _overriders(scope, nearer[key.kind], below.get(scope, ())) if condition.status else ()
            overriders = sorted(str(one) for one in found if (one, key) not in table.merging.made)
            if overriders:
                message = "overridden for parts of its target by: " + ", ".join(overriders)
                conditions.append(Condition("Overridden", True, "Overridden", message))
            if condition.status and (merged := _merged(key, table)):
                conditions.append(Condition("Merged", True, "Merged", merged))
            target, section = scope
            place = (target.group, target.kind, target.namespace, target.name, section)
            ancestors.append(ParentStatus(*place, conditions=tuple(conditions)))
        statuses[key] = Status(ancestors=tuple(ancestors))
    return statuses


def _merged(key: Key, table: PolicyTable) -> str:
    """What a policy was merged with, or who was merged into it."""
    parents = sorted(str(parent) for child, parent in table.merging.made if child == key)
    children = sorted(str(child) for child, parent in table.merging.made if parent == key)
    said = [f"merged with {', '.join(parents)}"] if parents else []
    said += [f"merged into by {', '.join(children)}"] if children else []
    return "; ".join(said)


def _routes_below(
    states: Iterable[GatewayState], attached: Mapping[tuple[Key, int], set[Key]]
) -> dict[Scope, list[set[Key]]]:
    """The routes attached to each Gateway, and to each of its listeners, by listener."""
    below: dict[Scope, list[set[Key]]] = defaultdict(list)
    for state in states:
        for listener in state.listeners:
            if routes := attached.get((state.key, listener.number)):
                for scope in listener.scopes(state.key):
                    below[scope].append(routes)
    return below


def _overriders(
    scope: Scope, policies: Mapping[Key, Sequence[tuple[str, Key]]], routes: Collection[set[Key]]
) -> Iterator[Key]:
    """Policies, by their target, that are nearer: at a section of this one, or at one of the routes below it."""
    target, section = scope
    for part, policy in policies.get(target, ()) if not section else ():
        if part and not any(target in some for some in routes):
            yield policy
    for place in policies if routes else ():
        if any(place in some for some in routes):
            yield from (policy for _, policy in policies[place])


def simple_statuses(index: Index, controllers: tuple[str, ...]) -> dict[Key, Status]:
    """GatewayClasses that are ours, and Backends."""
    statuses = {}
    for item in index.of_kind(GATEWAY_GROUP, "GatewayClass"):
        if isinstance(item.spec, GatewayClassSpec) and item.spec.controller_name in controllers:
            bad = item.spec.parameters_ref is not None
            message = "parametersRef has no meaning here"
            refused = Condition("Accepted", False, "InvalidParameters", message)
            statuses[item.key] = Status((refused if bad else _ACCEPTED,), supported=SUPPORTED)
    for item in index.of_kind(ENVOY_GATEWAY_GROUP, "Backend"):
        statuses[item.key] = Status((_ACCEPTED,))
    return statuses
