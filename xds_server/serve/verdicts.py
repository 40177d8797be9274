"""What the Envoys of one gateway said of the wanted resources, and what each of them is served because of that.

In: the wanted snapshot, ACKs and NACKs. Out: the snapshot that an Envoy is served. A version that somebody refused and
nobody accepted is withdrawn for all: in its place stands the version last accepted, with all that it refers to; where
nobody ever accepted any, it is withheld, which neither sends nor removes it. A version that others accepted is
withdrawn only for those who refused it. Everything else goes on.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

from xds_server.snapshot.resource import LISTENER, ROUTES, SECRET, TYPES, Resource, Snapshot, snapshot_of

Name = tuple[str, str]
"""The type URL and name of a resource."""
_WITNESSES = 1000
"""So many Envoys are remembered to have refused a version; their names are their own words."""
_PAST = 8
"""So many versions of a name are known to have been wanted, one after the other."""
_VARIANTS = 16
"""So many different snapshots are kept for Envoys that refused different things."""
_UNWANTED = 1000
"""Of so many names that nobody wants any more it is remembered what was accepted: Envoys may still use it."""
_HEARD = 64
_VITAL = (ROUTES, SECRET)
"""What a listener must have: without it a listener that starts waits, and then serves nothing."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A NACK that stands: the wanted version of `resource` was refused by `node`."""

    node: str
    resource: Resource
    response: str
    message: str
    time: float


@dataclass(slots=True)
class Verdicts:
    """The verdicts on the wanted snapshot of one gateway. They outlive the streams on which they were said."""

    wanted: Snapshot
    _refusals: dict[Name, dict[str, Verdict]] = field(default_factory=dict)
    _approved: set[Name] = field(default_factory=set)
    """Names whose wanted version somebody accepted."""
    _taken: dict[Name, Resource] = field(default_factory=dict)
    """The newest version of each name that somebody accepted; newer is what was wanted later."""
    _before: dict[Name, Resource] = field(default_factory=dict)
    """What was accepted before that: for those who refuse what others accept."""
    _past: dict[Name, tuple[str, ...]] = field(default_factory=dict)
    """The versions that were wanted before, oldest first."""
    _heard: dict[int, tuple[Resource, ...]] = field(default_factory=dict)
    """What was accepted since anything was refused or wanted anew: others may accept the same without any effect."""
    _told: set[tuple[str, str, str]] = field(default_factory=set)
    """By type, name and version, what was news since then."""
    _served: dict[frozenset[Name], Snapshot] = field(default_factory=dict)

    def replace(self, wanted: Snapshot) -> list[Resource]:
        """Something else is wanted. What was said of other versions is over, and may be tried again one day.

        The answer is what is not wanted any more.
        """
        before, changed = self.wanted, _changed(self.wanted, wanted)
        gone = [one for type_url, name in changed if (one := before.get(type_url).get(name)) is not None]
        for one in gone:
            past = self._past.get((one.type_url, one.name), ())
            self._past[one.type_url, one.name] = (*(old for old in past if old != one.version), one.version)[-_PAST:]
        self.wanted = wanted
        self._heard.clear()
        self._told.clear()
        self._served.clear()
        for name, by in list(self._refusals.items()):
            version = self._version(name)
            kept = {node: verdict for node, verdict in by.items() if verdict.resource.version == version}
            if kept:
                self._refusals[name] = kept
            else:
                del self._refusals[name]
        for name in changed:
            accepted = (self._taken.get(name), self._before.get(name))
            if any(one is not None and one.version == self._version(name) for one in accepted):
                self._approved.add(name)
            else:
                self._approved.discard(name)
        if len(self._past) > len(self._taken) + _UNWANTED or any(not self._version(name) for name in changed):
            self._forget()
        return gone

    def accept(self, node: str, resources: Iterable[Resource]) -> bool:
        """An Envoy took these. True if somebody may be served something else now."""
        if id(resources) in self._heard:
            return False  # most ACKs say what another Envoy has said before
        changed = False
        for one in resources:
            name = (one.type_url, one.name)
            self._remember(name, one)
            if one.version == self._version(name):
                self._approved.add(name)
                by = self._refusals.get(name)
                if by is not None:
                    changed = True
                    by.pop(node, None)
                    if not by:
                        del self._refusals[name]
        if changed:
            self._served.clear()
        elif isinstance(resources, tuple):
            self._hear(resources)
        return changed

    def is_news(self, node: str, resources: Iterable[Resource]) -> bool:
        """Whether `accept` would change anything. A resource is news only once, unless it stands refused."""
        if id(resources) in self._heard:
            return False
        news = [one for one in resources if self._is_news(node, one)]
        told = {(one.type_url, one.name, one.version) for one in news if (one.type_url, one.name) not in self._refusals}
        if len(told) < len(news) or not told <= self._told:
            self._told |= told
            return True
        settled = not news and all((one.type_url, one.name) not in self._refusals for one in resources)
        if settled and isinstance(resources, tuple):
            self._hear(resources)
        return False

    def _is_news(self, node: str, one: Resource) -> bool:
        name, taken = (one.type_url, one.name), self._taken.get((one.type_url, one.name))
        if taken is None or name not in self._approved or node in self._refusals.get(name, ()):
            return True
        return taken.version != one.version and (
            (before := self._before.get(name)) is None or before.version != one.version
        )

    def _hear(self, resources: tuple[Resource, ...]) -> None:
        if len(self._heard) >= _HEARD:
            self._heard.clear()
        self._heard[id(resources)] = resources

    def kept(self) -> Verdicts:
        """The same without what only this process can use."""
        return replace(self, _heard={}, _told=set(), _served={})

    def _remember(self, name: Name, one: Resource) -> None:
        """Keep the two newest versions that were accepted: ACKs of older ones may come late."""
        last = self._taken.get(name)
        if last is None or last.version == one.version or self._rank(name, one) > self._rank(name, last):
            if last is not None and last.version != one.version:
                self._before[name] = last
            self._taken[name] = one
        elif name not in self._before or self._rank(name, one) > self._rank(name, self._before[name]):
            self._before[name] = one

    def _rank(self, name: Name, one: Resource) -> int:
        if one.version == self._version(name):
            return _PAST
        past = self._past.get(name, ())
        return past.index(one.version) if one.version in past else -1

    def refuse(self, verdicts: Iterable[Verdict]) -> bool:
        """An Envoy refused these. True if others may be served something else now, too."""
        changed = False
        self._heard.clear()
        self._told.clear()
        for verdict in verdicts:
            name = (verdict.resource.type_url, verdict.resource.name)
            by = self._refusals.setdefault(name, {}) if verdict.resource.version == self._version(name) else None
            if by is not None and (verdict.node in by or len(by) < _WITNESSES):
                changed = changed or (not by and name not in self._approved)
                by[verdict.node] = verdict
        return changed

    def refused_by(self, node: str) -> frozenset[Name]:
        """What an Envoy refused of what is wanted."""
        return frozenset(name for name, by in self._refusals.items() if node in by)

    def standing(self, node: str) -> dict[str, tuple[Verdict, ...]]:
        """By type, the verdicts that keep an Envoy from having what is wanted: its own first, then those of others."""
        found: dict[str, list[Verdict]] = {}
        for name, by in self._refusals.items():
            if node in by or name not in self._approved:
                verdicts = sorted(by.values(), key=lambda one: (one.node != node, one.time))
                found.setdefault(name[0], []).append(verdicts[0])
        return {type_url: tuple(verdicts) for type_url, verdicts in found.items()}

    def served(self, node: str, retried: AbstractSet[Name] = frozenset()) -> Snapshot:
        """What an Envoy is served. `retried`: what it refused on an earlier stream and is sent once more."""
        if not self._refusals:
            return self.wanted
        bad = frozenset(
            name
            for name, by in self._refusals.items()
            if (name not in retried and (node in by or name not in self._approved))
        )
        if not bad:
            return self.wanted
        if bad not in self._served:
            if len(self._served) >= _VARIANTS:
                self._served.clear()
            self._served[bad] = self._without(bad)
        return self._served[bad]

    def _version(self, name: Name) -> str:
        one = self.wanted.get(name[0]).get(name[1])
        return one.version if one is not None else ""

    def _without(self, bad: frozenset[Name]) -> Snapshot:
        """The wanted snapshot with older versions of what is bad, and with all that those refer to."""
        resources = {(type_url, name): one for type_url in TYPES for name, one in self.wanted.get(type_url).items()}
        for name in bad:
            self._step_back(name, resources)
        for name, one in list(resources.items()):
            if one.type_url == LISTENER and self._lacks(one, resources):
                self._step_back(name, resources)
                if self._lacks(resources[name], resources):
                    resources[name] = replace(one, withheld=True)
        return replace(snapshot_of(self.wanted.gateway, resources.values()), drain=self.wanted.drain)

    def _step_back(self, name: Name, resources: dict[Name, Resource]) -> None:
        refused = resources[name].version
        accepted = (self._taken.get(name), self._before.get(name))
        older = next((one for one in accepted if one is not None and one.version != refused), None)
        if older is None:
            resources[name] = replace(resources[name], withheld=True)
            return
        resources[name] = older
        missing = list(older.needs)
        while missing:
            need = missing.pop()
            if need not in resources and need in self._taken:
                resources[need] = self._taken[need]
                missing += self._taken[need].needs

    @staticmethod
    def _lacks(one: Resource, resources: dict[Name, Resource]) -> bool:
        needs = (resources.get(need) for need in one.needs if need[0] in _VITAL)
        return not one.withheld and any(need is None or need.withheld for need in needs)

    def _forget(self) -> None:
        """Keep of what was accepted what is wanted still or was until lately, and what older versions of that refer to."""
        kept: set[Name] = set()
        pending = [name for name in self._taken if self._version(name)]
        pending += [name for name in self._taken if not self._version(name)][-_UNWANTED:]
        while pending:
            name = pending.pop()
            if name not in kept:
                kept.add(name)
                accepted = (self._taken.get(name), self._before.get(name))
                pending += [
                    need for one in accepted if one and one.version != self._version(name) for need in one.needs
                ]
        self._taken = {name: one for name, one in self._taken.items() if name in kept}
        self._before = {name: one for name, one in self._before.items() if name in kept}
        self._past = {name: past for name, past in self._past.items() if name in kept}


def _changed(before: Snapshot, after: Snapshot) -> list[Name]:
    """The names that have another version in one of two snapshots, or are in one only."""
    found = []
    for type_url in before.resources.keys() | after.resources.keys():
        was, new = before.get(type_url), after.get(type_url)
        if was is new:
            continue
        found += [(type_url, name) for name, one in was.items() if _is_other(one, new.get(name))]
        found += [(type_url, name) for name in new if name not in was]
    return found


def _is_other(one: Resource, other: Resource | None) -> bool:
    return one is not other and (other is None or one.version != other.version)
