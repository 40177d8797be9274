"""Former scopes of each listener, oldest first: of more than `GENERATIONS` the oldest go before their time.

In: snapshots that give way to others, and what the client has. Out: names of scopes. Those of the listener that is in force
are never among what goes. It knows no time.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from xds_server.serve.channel import Channel
from xds_server.snapshot.resource import LISTENER, SCOPES, Snapshot

GENERATIONS = 8
"""Each costs an Envoy a whole set of route tables: who changes filters every few seconds shall not fill its memory."""


@dataclass(slots=True)
class Generations:
    """By listener, the scopes that it needed before, and those that it needed when the client last had it as wanted."""

    _former: dict[str, list[frozenset[str]]] = field(default_factory=dict)
    _in_force: dict[str, frozenset[str]] = field(default_factory=dict)

    def replace(self, before: Snapshot, gone: Collection[str], listeners: Channel, scopes: Channel) -> set[str]:
        """Scopes go with a snapshot. The answer is those of them that the client was never told of, nor their listener."""
        unsent: set[str] = set()
        for name, one in before.get(LISTENER).items():
            needed = frozenset(need for kind, need in one.needs if kind == SCOPES)
            leaving = needed.intersection(gone)
            if not leaving:
                continue
            has = listeners.known.get(name) == one.version
            if has and listeners.in_flight is None:
                self._in_force[name] = needed
            if has or not listeners.requested or any(scopes.known.get(scope) for scope in leaving):
                former = [other for other in self._former.get(name, ()) if other != leaving]
                self._former[name] = [*former, leaving]
            else:
                unsent |= leaving
        return unsent

    def surplus(self, held: Collection[str]) -> set[str]:
        """Of the scopes that are held, those of too old generations."""
        found: set[str] = set()
        for name, former in list(self._former.items()):
            rest = [one for one in (former_one.intersection(held) for former_one in former) if one]
            in_force = self._in_force.get(name, frozenset())
            old = [one for one in rest if not one & in_force][: max(0, len(rest) - GENERATIONS)]
            kept = self._former[name] = [one for one in rest if one not in old]
            found |= frozenset().union(*old) - frozenset().union(*kept)
            if not kept:
                del self._former[name]
        return found
