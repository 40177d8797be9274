"""Policies -> what applies where: targets, conflicts, precedence, and the settings of their features.

In: policy objects, the Gateways and routes they may target, and the features. Out: a `PolicyTable` that names the
one policy of a kind that counts for a rule of a route on a listener. The nearest policy replaces all farther ones.
A policy with errors stays in the table as broken, so that what it covers can be closed.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from xds_server.attach.index import Index, changed_objects
from xds_server.attach.memory import Remembered
from xds_server.attach.merging import Merging, Policy
from xds_server.attach.misfits import misfits
from xds_server.attach.settings import settings_of
from xds_server.diagnostics import Diagnostic, Path
from xds_server.features.contract import AnyFeature
from xds_server.graph import Covering
from xds_server.model.gateway_api import HttpRouteSpec
from xds_server.model.gateways import GatewaySpec, ListenerSetSpec
from xds_server.model.grpc_route import GrpcRouteSpec
from xds_server.model.object import Object
from xds_server.model.policies import Targets
from xds_server.model.stream_routes import StreamRouteSpec
from xds_server.spec import Spec
from xds_server.types import CELLWAY_GROUP, ENVOY_GATEWAY_GROUP, GATEWAY_GROUP, Condition, Key

TARGETS: Mapping[str, tuple[str, ...]] = {
    "SecurityPolicy": ("Gateway", "ListenerSet", "HTTPRoute", "GRPCRoute", "TCPRoute"),
    "BackendTrafficPolicy": (
        "Gateway",
        "ListenerSet",
        "HTTPRoute",
        "GRPCRoute",
        "TCPRoute",
        "TLSRoute",
        "UDPRoute",
    ),
    "EnvoyExtensionPolicy": ("Gateway", "ListenerSet", "HTTPRoute", "GRPCRoute"),
    "ClientTrafficPolicy": ("Gateway", "ListenerSet"),
}
ROUTE_POLICIES = ("SecurityPolicy", "BackendTrafficPolicy", "EnvoyExtensionPolicy")
Scope = tuple[Key, str]
"""A target and its section, empty for the whole of it."""


@dataclass(frozen=True, slots=True)
class PolicyTable:
    """Which policy is attached to which target, where it says so, and the Accepted condition of each such pair."""

    attached: Mapping[tuple[str, Scope], Policy]
    places: Mapping[tuple[Key, Scope], Path]
    accepted: Mapping[Key, tuple[tuple[Scope, Condition], ...]]
    merging: Merging

    def nearest(self, kind: str, scopes: Iterable[Scope]) -> tuple[Policy, Scope] | None:
        """The policy of a kind that counts, given the scopes from the nearest to the farthest."""
        for scope in scopes:
            if (found := self.attached.get((kind, scope))) is not None:
                return found, scope
        return None

    def counting(
        self, kind: str, scopes: Sequence[Scope], above: Collection[Scope]
    ) -> tuple[tuple[Policy, Scope], ...]:
        """What counts of a kind: the nearest policy, merged into the nearest of those `above` routes if it says so.

        The other one then comes without settings of its own, for its place and its scope.
        """
        found = self.nearest(kind, scopes)
        if found is None:
            return ()
        policy, scope = found
        parent = self.nearest(kind, [one for one in scopes if one in above])
        if not policy.merges or scope in above or parent is None:
            return (found,)
        return (self.merging.merge(policy, parent[0]), scope), (Policy(parent[0].item, ()), parent[1])

    def coverings(
        self, kinds: Iterable[str], scopes: Sequence[Scope], counting: Iterable[tuple[Policy, Scope]]
    ) -> tuple[Covering, ...]:
        """All policies of these kinds at these scopes, the nearest of each first, and which of them count."""
        known = {(policy.item.key, scope): policy.broken for policy, scope in counting}
        there = ((scope, self.attached.get((kind, scope))) for kind in kinds for scope in scopes)
        return tuple(
            Covering(
                policy.item.key,
                f"{scope[0]}{f', section {scope[1]}' if scope[1] else ''}",
                (policy.item.key, scope) in known,
                policy.fields,
                known.get((policy.item.key, scope), policy.broken),
                policy.item.origins,
            )
            for scope, policy in there
            if policy is not None
        )


@dataclass(frozen=True, slots=True)
class _Aim:
    """One target of a policy: the policy as it counts there, where that is written, and why it is not attached."""

    scope: Scope
    path: Path
    policy: Policy
    missing: str
    hint: str

    def is_as(self, other: _Aim) -> bool:
        """True if it is the same with the same settings."""
        one, two = self.policy, other.policy
        same = one.item is two.item and one.settings is two.settings and one.broken == two.broken
        mine, theirs = (
            (self.scope, self.path, self.missing, self.hint),
            (other.scope, other.path, other.missing, other.hint),
        )
        return same and mine == theirs


@dataclass(frozen=True, slots=True, eq=False)
class _Reading:
    """One policy by itself."""

    item: Object
    aims: tuple[_Aim, ...]
    places: Mapping[tuple[Key, Scope], Path]
    problems: tuple[Diagnostic, ...]

    def is_as(self, other: _Reading) -> bool:
        """True if it says the same."""
        same = self.item is other.item and len(self.aims) == len(other.aims)
        same = same and all(map(_Aim.is_as, self.aims, other.aims))
        return same and (self.places, self.problems) == (other.places, other.problems)


@dataclass(frozen=True, slots=True)
class _Joined:
    """All policies together, as `PolicyTable` has them, and what is wrong with them."""

    attached: Mapping[tuple[str, Scope], Policy]
    places: Mapping[tuple[Key, Scope], Path]
    accepted: Mapping[Key, tuple[tuple[Scope, Condition], ...]]
    problems: tuple[Diagnostic, ...]


class Policies:
    """All policies, kept from call to call: their table has the same parts as long as every policy is the same."""

    def __init__(self) -> None:
        self._readings: dict[Key, _Reading] = {}
        self._foreign: frozenset[Key] | None = None
        self._joined = _joined(())

    def read(
        self, index: Index, features: Sequence[AnyFeature], foreign: frozenset[Key], memory: Remembered
    ) -> tuple[PolicyTable, tuple[Diagnostic, ...]]:
        """All policies, oldest first: of two for one target the older counts, but what a cell means comes before all."""
        changed = any(_is_policy(key) for key in changed_objects(memory.changed))
        if changed or foreign is not self._foreign:
            kinds = [index.of_kind(ENVOY_GATEWAY_GROUP, kind) for kind in TARGETS]
            items = [item for some in kinds for item in sorted(some, key=lambda one: not one.derived)]
            readings = {item.key: self._reading(item, features, foreign, memory) for item in items}
        else:
            dropped = {key for slot in memory.dropped if slot[0] in _SLOTS for key in slot[1:]}
            asked = {key: self._readings[key] for key in dropped if isinstance(key, Key) and key in self._readings}
            again = {key: self._reading(one.item, features, foreign, memory) for key, one in asked.items()}
            readings = {**self._readings, **again} if again else self._readings
        if readings is not self._readings and list(readings.values()) != list(self._readings.values()):
            self._joined = _joined(readings.values())
        self._readings, self._foreign = readings, foreign
        all_ = self._joined
        merging = Merging(features, index, memory.recall)
        return PolicyTable(all_.attached, all_.places, all_.accepted, merging), all_.problems

    def _reading(
        self, item: Object, features: Sequence[AnyFeature], foreign: frozenset[Key], memory: Remembered
    ) -> _Reading:
        """One policy; what was read of it before if that says the same."""
        kind, settings, aims = item.key.kind, (_SLOTS[0], item.key), (_SLOTS[1], item.key)
        read = memory.recall(settings, (item,), partial(_read, item, kind, features))
        found = memory.recall(aims, (read, foreign), partial(_read_aims, read, features, foreign))
        last = self._readings.get(item.key)
        return last if last is not None and found.is_as(last) else found


_SLOTS = ("policy settings", "policy aims")


def _is_policy(key: Key) -> bool:
    return key.group == ENVOY_GATEWAY_GROUP and key.kind in TARGETS


def _read_aims(
    read: tuple[Policy, tuple[Diagnostic, ...]], features: Sequence[AnyFeature], foreign: frozenset[Key], index: Index
) -> _Reading:
    policy, problems = read
    item, kind = policy.item, policy.item.key.kind
    written, found = _aims(item, kind, index)
    problems += found
    aims = []
    for scope, path in written.items():
        if scope[0] in foreign:
            continue
        unfit = misfits(item, kind, scope, features, index)
        here = replace(policy, broken=policy.broken or "; ".join(one.message for one in unfit))
        problems += unfit
        aims.append(_Aim(scope, path, here, *_missing(scope, kind, index)))
    places = {(item.key, scope): path for scope, path in written.items()}
    return _Reading(item, tuple(aims), places, problems)


def _joined(readings: Iterable[_Reading]) -> _Joined:
    attached: dict[tuple[str, Scope], Policy] = {}
    accepted: dict[Key, tuple[tuple[Scope, Condition], ...]] = {}
    places: dict[tuple[Key, Scope], Path] = {}
    problems: list[Diagnostic] = []
    for reading in readings:
        places.update(reading.places)
        problems += reading.problems
        results = []
        for aim in reading.aims:
            condition, found = _attach(aim, attached)
            problems += found
            results.append((aim.scope, condition))
        accepted[reading.item.key] = tuple(results)
    return _Joined(attached, places, accepted, tuple(problems))


def _aims(item: Object, kind: str, index: Index) -> tuple[dict[Scope, Path], tuple[Diagnostic, ...]]:
    """What a policy is for, with the places that say so: what it selects by label, oldest first, then what it names."""
    assert isinstance(item.spec, Targets)
    aims: dict[Scope, Path] = {}
    problems = []
    for number, selector in enumerate(item.spec.target_selectors):
        path: Path = ("targetSelectors", number)
        labelled = [
            one for one in index.of_kind(selector.group, selector.kind) if selector.matches(dict(one.meta.labels))
        ]
        found = [one.key for one in labelled if index.selects(selector.namespaces, one.namespace, item.namespace)]
        granted = [key for key in found if index.permitted(item.key, key)]
        # What cells mean was selected before: there the policy is one of several layers.
        aims.update({(key, ""): path for key in granted if not index.by_key[key].derived})
        if not granted:
            reason = f": no ReferenceGrant in {found[0].namespace} permits it" if found else ""
            problems.append(item.diagnose("A123", *path, kind=selector.kind, reason=reason))
    for number, target in enumerate(item.spec.targets):
        scope = (Key(target.group, target.kind, item.namespace, target.name), target.section_name or "")
        aims.setdefault(scope, item.spec.target_path(number))
    return aims, tuple(problems)


def _read(
    item: Object, kind: str, features: Sequence[AnyFeature], index: Index
) -> tuple[Policy, tuple[Diagnostic, ...]]:
    if item.broken:
        return Policy(item, (), "it has errors"), ()
    settings, problems, failed = settings_of(item, kind, item.spec, (), features, index)
    assert isinstance(item.spec, Targets)
    conflicts = tuple(item.diagnose("F103", *path, reason=reason) for path, reason in item.spec.conflicts())
    problems, failed = (*problems, *conflicts), failed or bool(conflicts)
    reasons = "; ".join(problem.message for problem in problems) if failed else ""
    return Policy(item, settings, reasons), problems


def _attach(aim: _Aim, attached: dict[tuple[str, Scope], Policy]) -> tuple[Condition, tuple[Diagnostic, ...]]:
    policy, scope, path = aim.policy, aim.scope, aim.path
    item = policy.item
    if aim.missing:
        problem = item.diagnose("A120", *path, hint=aim.hint, reason=aim.missing)
        return Condition("Accepted", False, "TargetNotFound", aim.missing), (problem,)
    known = attached.setdefault((item.key.kind, scope), policy)
    if known is not policy:
        message = f"{known.item.key} is older and already attached to {_words(scope)}"
        problem = item.diagnose("A121", *path, reason=message)
        return Condition("Accepted", False, "Conflicted", message), (problem,)
    if policy.broken:
        return Condition("Accepted", False, "Invalid", policy.broken), ()
    return Condition("Accepted", True, "Accepted"), ()


def _words(scope: Scope) -> str:
    return f"{scope[0]}, section {scope[1]}" if scope[1] else str(scope[0])


def _missing(scope: Scope, kind: str, index: Index) -> tuple[str, str]:
    """Why a target is not there, and a hint; empty if it is."""
    target, section = scope
    if target.group == CELLWAY_GROUP:
        return f"there is no section of a cell like {_words(scope)}", ""
    if target.group != GATEWAY_GROUP or target.kind not in TARGETS[kind]:
        return f"a {kind} attaches to {' or '.join(TARGETS[kind])}, not to {target.kind} of '{target.group}'", ""
    found = index.by_key.get(target)
    if found is None:
        names = [item.name for item in index.of_kind(target.group, target.kind) if item.namespace == target.namespace]
        return f"there is no {target}", _did_you_mean(target.name, names)
    names = _sections(found.spec)
    if section and section not in names:
        return f"{target} has no section '{section}'", _did_you_mean(section, names)
    return "", ""


def _did_you_mean(wrong: str, names: list[str]) -> str:
    close = difflib.get_close_matches(wrong, names, n=1)
    return f"did you mean '{close[0]}'?" if close else ""


def _sections(spec: Spec) -> list[str]:
    if isinstance(spec, GatewaySpec | ListenerSetSpec):
        return [listener.name for listener in spec.listeners]
    assert isinstance(spec, HttpRouteSpec | GrpcRouteSpec | StreamRouteSpec)
    return [rule.name for rule in spec.rules if rule.name]
