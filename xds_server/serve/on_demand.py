"""Virtual hosts for those who ask for one of their hosts: what one client asked for, and what it gets because of that.

In: the names in requests (`TABLE/HOST`), the virtual hosts of the snapshot, and what the client has. Out: those of them
that it shall have, and the answers to what it asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from xds_server.snapshot.hosts import Hosts
from xds_server.snapshot.resource import Resource

ABSENT_LIMIT = 10_000
"""Of so many hosts without a virtual host it is remembered that a client asked for them; it asks again if need be."""


@dataclass(slots=True)
class OnDemand:
    """The hosts that one client asked for: not answered yet, and answered with nothing."""

    asked: dict[str, None] = field(default_factory=dict)
    absent: dict[str, None] = field(default_factory=dict)

    def ask(self, names: Iterable[str], had: Mapping[str, str], hosts: Hosts) -> None:
        """The client waits for these hosts, unless it already has what they belong to."""
        for name in names:
            if hosts.owner(name) not in had:
                self.asked[name] = None
                self.absent.pop(name, None)

    def forget(self, names: Iterable[str]) -> None:
        """The client no longer wants these."""
        for name in names:
            self.asked.pop(name, None)
            self.absent.pop(name, None)

    def served(self, wanted: Mapping[str, Resource], known: Mapping[str, str], hosts: Hosts) -> Mapping[str, Resource]:
        """Of all virtual hosts those that this client gets.

        Those that are not on demand, that it has, that it asked for, and what lies beneath their wildcards: a client
        that has only the wider virtual host would never ask for a narrower one.
        """
        if not any(one.on_demand for one in wanted.values()):
            return wanted
        chosen = {name for name, one in wanted.items() if not one.on_demand}
        chosen.update(name for name, version in known.items() if version and name in wanted)
        chosen |= self.owners((*self.asked, *self.absent), wanted, hosts)
        for name in list(chosen):
            chosen.update(other for other in hosts.beneath(name) if other in wanted)
        return {name: one for name, one in wanted.items() if name in chosen}

    @staticmethod
    def owners(names: Iterable[str], wanted: Mapping[str, Resource], hosts: Hosts) -> set[str]:
        """The virtual hosts that these hosts belong to."""
        return {owner for name in names if (owner := hosts.owner(name)) and owner in wanted}

    def answers(self, coming: Mapping[str, Resource], hopeless: Iterable[str], hosts: Hosts) -> Answers:
        """What can be answered now: `coming` are the virtual hosts that are sent, `hopeless` those that cannot be."""
        never = set(hopeless)
        found: dict[str, list[str]] = {}
        absent = []
        for name in self.asked:
            owner = hosts.owner(name)
            if owner is None or owner in never:
                absent.append(name)
            elif owner in coming:
                found.setdefault(owner, []).append(name)
        return Answers({name: tuple(names) for name, names in found.items()}, tuple(absent))

    def answered(self, answers: Answers) -> None:
        """These were sent."""
        for names in answers.aliases.values():
            self.forget(names)
        for name in answers.absent:
            self.asked.pop(name, None)
            self.absent[name] = None
        while len(self.absent) > ABSENT_LIMIT:
            del self.absent[next(iter(self.absent))]


@dataclass(frozen=True, slots=True)
class Answers:
    """`aliases`: by virtual host, the names by which the client asked for it; `absent`: names that nothing answers."""

    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    absent: tuple[str, ...] = ()


NO_ANSWERS = Answers()
