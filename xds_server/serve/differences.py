"""What differs between two states of one type: found once, for all streams that go from the one to the other.

In: two mappings of resources by name that never change. Out: names, in order, and what streams that had all of the first
are told. What nobody asked for between two publications is forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xds_server.snapshot.resource import Resource, Snapshot

_PAIRS = 1024
State = Mapping[str, Resource]


@dataclass(frozen=True, slots=True)
class Difference:
    """Two states; the names of which the second holds something else or nothing, and those that only the first holds.

    `simple`: nothing goes away, and nothing is withheld. `had`: the version of each name in the first state, if any.
    `told`: what streams were told, by what they need. It belongs to those who ask.
    """

    before: State
    after: State
    names: tuple[str, ...]
    gone: tuple[str, ...]
    simple: bool
    had: Mapping[str, str | None]
    told: dict[object, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Differences:
    """The differences between the states that are on their way now."""

    _pairs: dict[tuple[int, int], Difference] = field(default_factory=dict)
    _before: dict[tuple[int, int], Difference] = field(default_factory=dict)
    _snapshots: dict[tuple[int, int], tuple[Snapshot, Snapshot, Mapping[str, list[Resource]]]] = field(
        default_factory=dict
    )
    _merged: dict[tuple[int, tuple[tuple[str, int], ...]], tuple[State, State, State]] = field(default_factory=dict)
    _versions: dict[int, tuple[State, dict[str, str], tuple[Resource, ...]]] = field(default_factory=dict)

    def turn(self) -> None:
        """Something new is published: what nobody asked for since the last time is forgotten."""
        self._before, self._pairs = self._pairs, {}
        self._snapshots.clear()
        self._versions.clear()
        self._merged.clear()

    def between(self, before: State, after: State) -> Difference:
        """What differs. The mappings are known by what they are, not by what they hold: comparing is what this saves."""
        key = (id(before), id(after))
        found = self._pairs.get(key)
        if found is None:
            if len(self._pairs) >= _PAIRS:
                self.turn()
            found = self._pairs[key] = self._before.get(key) or _difference(before, after)
        return found

    def with_held(self, held: State, current: State) -> State:
        """A state with what is held beside it: always the same one, so that what differs from it is found once."""
        key = (id(current), tuple((name, id(one)) for name, one in sorted(held.items())))
        found = self._merged.get(key)
        if found is None:
            if len(self._merged) >= _PAIRS:
                self._merged.clear()
            found = self._merged[key] = (current, dict(held), {**held, **current})
        return found[2]

    def versions(self, state: State) -> dict[str, str]:
        """The version of each name, by which a client that comes back says what it has."""
        found = self._versions.get(id(state))
        if found is None:
            if len(self._versions) >= _PAIRS:
                self._versions.clear()
            versions = {name: one.version for name, one in state.items() if not one.withheld}
            found = self._versions[id(state)] = (state, versions, tuple(state.values()))
        return found[1]

    def all_of(self, state: State) -> tuple[Resource, ...]:
        """All resources, always the same tuple."""
        self.versions(state)
        return self._versions[id(state)][2]

    def gone(self, before: Snapshot, after: Snapshot, types: tuple[str, ...]) -> Mapping[str, list[Resource]]:
        """What only the first of two snapshots holds, of these types."""
        key = (id(before), id(after))
        found = self._snapshots.get(key)
        if found is None:
            if len(self._snapshots) >= _PAIRS:
                self._snapshots.clear()
            lost: dict[str, list[Resource]] = {}
            for type_url in types:
                was, new = before.get(type_url), after.get(type_url)
                if was is not new and (names := self.between(was, new).gone):
                    lost[type_url] = [was[name] for name in names]
            found = self._snapshots[key] = (before, after, lost)
        return found[2]


def _difference(before: State, after: State) -> Difference:
    gone = tuple(name for name in before if name not in after)
    others = [one for name, one in after.items() if _is_other(before.get(name), one)]
    simple = not gone and not any(one.withheld for one in others)
    had = {one.name: before[one.name].version if one.name in before else None for one in others}
    return Difference(before, after, tuple(sorted((*had, *gone))), gone, simple, had)


def _is_other(before: Resource | None, after: Resource) -> bool:
    return before is not after and (
        before is None or before.version != after.version or before.withheld != after.withheld
    )
