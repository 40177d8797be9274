"""HTTPRoutes and GRPCRoutes on their listeners: what each host of each listener answers, and the routes' statuses.

In: the index, and what is known before routes are attached. Out: `Placing`, kept from call to call: a route that neither
changed nor looked up anything that did is not looked at again. The order in which routes come changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from operator import is_

from xds_server.attach.answers import Answers
from xds_server.attach.clients import Clients
from xds_server.attach.conditions import route_status
from xds_server.attach.exclusive import KINDS, Claims, exclusive
from xds_server.attach.gateways import GatewayState
from xds_server.attach.guards import lost_guards
from xds_server.attach.idle import idle_settings
from xds_server.attach.index import Index, age, changed_objects
from xds_server.attach.memory import Remembered
from xds_server.attach.merging import Policy
from xds_server.attach.parents import Attachment, Parent, attach_route
from xds_server.attach.policies import PolicyTable, Scope
from xds_server.attach.routes import SortKey, effective, routes_of, scopes_of
from xds_server.attach.rules import Rule, read_rules
from xds_server.attach.strangers import credulous
from xds_server.diagnostics import Diagnostic
from xds_server.features.contract import AnyFeature
from xds_server.graph import Route, Setting
from xds_server.memory import Read, Watched, changes
from xds_server.model.object import Object
from xds_server.parts import Layers
from xds_server.status import Status
from xds_server.types import GATEWAY_GROUP, Key

Place = tuple[Key, int]
"""A Gateway and the number of one of its listeners."""
_POLICIES, _LISTENERS = "policies", "listeners"


@dataclass(frozen=True, slots=True)
class Around:
    """What there is before routes are attached. Of `states`, which are found by ListenerSets too, and `foreign` the same
    objects mean the same."""

    features: Sequence[AnyFeature]
    states: Mapping[Key, GatewayState]
    foreign: frozenset[Key]
    policies: PolicyTable
    clients: Clients


@dataclass(frozen=True, slots=True, eq=False)
class _Written:
    """A route by itself: its parents, before others are asked, and its rules."""

    parents: tuple[Parent, ...]
    rules: tuple[Rule, ...]
    problems: tuple[Diagnostic, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Placed:
    """Where a route is, and what it does there. `merged` are the policies that were merged for it."""

    listeners: frozenset[Place]
    routes: tuple[tuple[Place, str, tuple[tuple[SortKey, Route], ...]], ...]
    status: Status | None
    problems: tuple[Diagnostic, ...]
    warnings: tuple[tuple[tuple[Key, Key], Diagnostic], ...]
    merged: tuple[tuple[Policy, Policy, Policy], ...]


@dataclass(frozen=True, slots=True)
class _Listener:
    """What a listener means to its routes: settings that shape clusters, and whether clients' names may be made up."""

    shaping: tuple[Setting, ...] = ()
    strangers: bool = False


@dataclass(slots=True)
class Placing:
    """All routes. `hosts` is what listeners answer, `attached` their routes; `statuses` are those of routes."""

    hosts: dict[Place, dict[str, Answers]] = field(default_factory=lambda: defaultdict(dict))
    statuses: Layers[Key, Status] = field(default_factory=Layers)
    touched: dict[Place, set[str]] = field(default_factory=lambda: defaultdict(set))
    """The hosts of listeners that answer something else since the last call."""
    moved: object = field(default_factory=object)
    """Another one as soon as a listener has another set of routes."""
    attached: dict[Place, set[Key]] = field(default_factory=lambda: defaultdict(set))
    _routes: dict[Place, dict[str, dict[Key, tuple[tuple[SortKey, Route], ...]]]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    _written: dict[Key, _Written] = field(default_factory=dict)
    _parents: dict[Key, tuple[Parent, ...]] = field(default_factory=dict)
    _placed: dict[Key, _Placed] = field(default_factory=dict)
    _with_problems: dict[Key, tuple[Diagnostic, ...]] = field(default_factory=dict)
    _with_warnings: set[Key] = field(default_factory=set)
    _with_merged: set[Key] = field(default_factory=set)
    _unproven: set[Key] = field(default_factory=set)
    _conflicts: tuple[Diagnostic, ...] = ()
    _around: Around | None = None
    _listeners: dict[Place, _Listener] = field(default_factory=dict)
    _mixed: bool = False
    _claims: Claims = field(default_factory=Claims)
    renewed: set[Key] = field(default_factory=set)
    """The routes that were looked at in the last call."""

    def update(self, around: Around, memory: Remembered) -> None:
        """Attach all routes of the index that are not as they were."""
        self.touched = defaultdict(set)
        memory.forget(self._differences(around))
        last, self._around = self._around, around
        index = memory.index
        if last is None or last.states is not around.states or last.foreign is not around.foreign:
            routes = [one.key for kind in KINDS for one in index.of_kind(GATEWAY_GROUP, kind)]
            wanted = {*routes, *self._written}
        else:
            wanted = {
                key for key in changed_objects(memory.changed) if key.kind in KINDS and key.group == GATEWAY_GROUP
            }
            wanted |= {key for what, key in _by_key(memory) if what == "route"}
        for key in wanted:
            self._write(key, memory)
        self._place_all(wanted | {key for what, key in _by_key(memory) if what == "placed"}, memory)
        self._rank()

    def problems(self, index: Index) -> list[Diagnostic]:
        """What is wrong with routes. Where several say the same of two policies, the youngest is heard."""
        found = [problem for problems in self._with_problems.values() for problem in problems]
        found += [problem for key in self._unproven for problem in self._placed[key].problems]
        items = [index.by_key[key] for key in self._with_warnings]
        said: dict[tuple[Key, Key], Diagnostic] = {}
        for item in sorted(items, key=lambda one: (KINDS.index(one.key.kind), *age(one))):
            said |= self._placed[item.key].warnings
        return [*found, *self._conflicts, *said.values()]

    # -- what is different -----------------------------------------------------------------------------------

    def _differences(self, around: Around) -> set[Read]:
        """The look-ups in policies and listeners' settings that have another answer than the last time."""
        by_name = {feature.name: feature for feature in around.features}
        listeners = {}
        for place, client in around.clients.listeners.items():
            shaping = tuple(one for one in client.settings if by_name[one.feature].touches_cluster(one.value))
            now, known = _Listener(shaping, client.strangers), self._listeners.get(place)
            listeners[place] = known if known is not None and _is_same(known, now) else now
        last = self._around.policies.attached if self._around is not None else {}
        found = changes(_POLICIES, last, around.policies.attached) | changes(_LISTENERS, self._listeners, listeners)
        self._listeners = listeners
        return found

    # -- one route by itself ---------------------------------------------------------------------------------

    def _write(self, key: Key, memory: Remembered) -> None:
        route, around = memory.index.by_key.get(key), self._around
        assert around is not None
        if route is None:
            self._written.pop(key, None)
            self._parents.pop(key, None)
            self._with_problems.pop(key, None)
            return
        given = (route, around.states, around.foreign)
        found = memory.recall(("route", key), given, partial(_read, route, around))
        self._written[key] = found
        if found.problems:
            self._with_problems[key] = found.problems
        else:
            self._with_problems.pop(key, None)

    # -- routes among each other -----------------------------------------------------------------------------

    def _place_all(self, wanted: set[Key], memory: Remembered) -> None:
        """Put routes where they belong: these, those that lost or won a host, and those with another merged policy."""
        index, around = memory.index, self._around
        assert around is not None
        mixed = all(index.of_kind(GATEWAY_GROUP, kind) for kind in KINDS)
        if (mixed or self._mixed) and self._meet(wanted, index, mixed=mixed):
            routes = [one for kind in KINDS for one in index.of_kind(GATEWAY_GROUP, kind)]
            kept, self._conflicts = exclusive([(one, self._written[one.key].parents) for one in routes])
            parents = {route.key: found for route, found in kept}
            wanted |= {key for key, found in parents.items() if not _all_same(found, self._parents.get(key))}
        else:
            parents = {key: self._written[key].parents for key in wanted if key in self._written}
            self._conflicts = self._conflicts if mixed else ()
        self._mixed = mixed
        for key, found in parents.items():
            if not _all_same(found, self._parents.get(key)):
                self._parents[key] = found
        for key in self._with_merged - wanted:
            again = [around.policies.merging.merge(child, parent) for child, parent, _ in self._placed[key].merged]
            if not all(map(is_, again, (one for *_, one in self._placed[key].merged))):
                memory.results.drop(("placed", key))
                wanted.add(key)
        for key in wanted:
            self._place(key, memory)
        self.renewed = wanted
        came = {key: status for key in wanted if (one := self._placed.get(key)) and (status := one.status) is not None}
        self.statuses = self.statuses.with_changes(wanted - came.keys(), came)

    def _meet(self, wanted: set[Key], index: Index, *, mixed: bool) -> bool:
        """Whether routes of different kinds may have to be told apart anew: these meet others, or met some."""
        if mixed and self._mixed:
            met = [self._claims.change(key, self._claimed(key)) for key in wanted]
            return any(met)
        self._claims = Claims()
        for key in (one.key for kind in KINDS for one in (index.of_kind(GATEWAY_GROUP, kind) if mixed else ())):
            self._claims.change(key, self._claimed(key))
        return True

    def _claimed(self, key: Key) -> tuple[Parent, ...]:
        return self._written[key].parents if key in self._written else ()

    def _place(self, key: Key, memory: Remembered) -> None:
        route, last = memory.index.by_key.get(key), self._placed.get(key)
        placed = None
        if route is not None:
            parents, written = self._parents[key], self._written[key]
            attach = partial(self._attach, route, parents, written.rules)
            placed = memory.results.recall(("placed", key), (route, parents, written), attach)
        if placed is last:
            return
        if last is None or placed is None or last.listeners != placed.listeners:
            self.moved = object()
        if last is not None:
            self._remove(key, last)
        if placed is not None:
            self._add(key, placed)
        else:
            memory.results.drop(("placed", key))

    def _attach(self, route: Object, parents: tuple[Parent, ...], rules: tuple[Rule, ...], reads: set[Read]) -> _Placed:
        """Where a route is, with the policies that count there."""
        around = self._around
        assert around is not None
        by_name = {feature.name: feature for feature in around.features}
        merging = replace(around.policies.merging, asked=[])
        policies = replace(
            around.policies, attached=Watched(_POLICIES, around.policies.attached, reads), merging=merging
        )
        listeners = Watched(_LISTENERS, self._listeners, reads)
        found: list[tuple[Place, str, tuple[tuple[SortKey, Route], ...]]] = []
        warnings: dict[tuple[Key, Key], Diagnostic] = {}
        problems: list[Diagnostic] = []
        for attachment in (one for parent in parents for one in parent.attachments):
            place, above = _place_of(attachment), attachment.listener.scopes(attachment.gateway.key)
            listener = listeners.get(place, _Listener())
            for rule in rules:
                scopes: tuple[Scope, ...] = scopes_of(route, rule.spec.name, attachment)
                counting = effective(scopes, attachment, policies, by_name)
                counting = replace(counting, listener=listener.shaping, proxy=attachment.gateway.proxy)
                problems += idle_settings(counting, attachment.gateway.key)
                if listener.strangers and (unproven := credulous(route, rule, counting, attachment.listener)):
                    problems += unproven
                    counting = replace(counting, closed=True)
                found += [
                    (place, hostname, tuple(routes_of(route, rule, attachment, hostname, counting)))
                    for hostname in attachment.hostnames
                ]
                lost = lost_guards(scopes, above, policies, around.features)
                warnings |= [lost] if lost else []
        everywhere = (one for parent in parents for one in (*parent.unserved, *parent.attachments))
        return _Placed(
            frozenset(_place_of(one) for one in everywhere),
            tuple(found),
            route_status(route, parents, rules) if parents else None,
            tuple(problems),
            tuple(warnings.items()),
            tuple(merging.asked),
        )

    # -- all together ----------------------------------------------------------------------------------------

    def _remove(self, key: Key, placed: _Placed) -> None:
        del self._placed[key]
        for place in placed.listeners:
            self.attached[place].discard(key)
        for place, hostname, _ in placed.routes:
            self._routes[place].get(hostname, {}).pop(key, None)
            self.touched[place].add(hostname)
        self._with_warnings.discard(key)
        self._with_merged.discard(key)
        self._unproven.discard(key)

    def _add(self, key: Key, placed: _Placed) -> None:
        self._placed[key] = placed
        for place in placed.listeners:
            self.attached[place].add(key)
        for place, hostname, routes in placed.routes:
            host = self._routes[place].setdefault(hostname, {})
            host[key] = (*host.get(key, ()), *routes)
            self.touched[place].add(hostname)
        if placed.warnings:
            self._with_warnings.add(key)
        if placed.merged:
            self._with_merged.add(key)
        if placed.problems:
            self._unproven.add(key)

    def _rank(self) -> None:
        """Bring the routes of every host that changed into their order."""
        for place, hostname in [(place, one) for place, names in self.touched.items() for one in names]:
            routes = self._routes[place][hostname]
            if routes:
                self.hosts[place][hostname] = Answers(item for items in routes.values() for item in items)
            else:
                del self._routes[place][hostname]
                self.hosts[place].pop(hostname, None)


def _read(route: Object, around: Around, index: Index) -> _Written:
    assert index.by_key.get(route.key) is route
    parents, problems = attach_route(route, around.states, around.foreign, index)
    rules = read_rules(route, around.features, index)
    return _Written(parents, rules, (*problems, *(problem for rule in rules for problem in rule.problems)))


def _by_key(memory: Remembered) -> Iterable[tuple[str, Key]]:
    """The slots of routes whose results were dropped."""
    return ((str(slot[0]), key) for slot in memory.dropped for key in slot[1:] if isinstance(key, Key))


def _place_of(attachment: Attachment) -> Place:
    return attachment.gateway.key, attachment.listener.number


def _all_same(one: Sequence[object], other: Sequence[object] | None) -> bool:
    return other is not None and len(one) == len(other) and all(map(is_, one, other))


def _is_same(one: _Listener, other: _Listener) -> bool:
    """True if they are equal, and come from the same documents, too."""
    return one == other and all(a.origins == b.origins for a, b in zip(one.shaping, other.shaping, strict=True))
