"""Which virtual host of a route table a host name belongs to.

In: the names of virtual hosts, `TABLE/PATTERN`, where a pattern is a host, `*.example.com` or `*`. Out: for a name
that a client asks for (`TABLE/HOST`) the virtual host that answers it, and for a virtual host with wildcards the more
specific ones beneath it: a client that has only the wider one would not ask for them. Plain data, no message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

_LONGEST = 261
"""Characters of the longest host name, and of a port."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """`owners`: the name of the virtual host by each of its names; `patterns`: the names of each virtual host."""

    owners: Mapping[str, str] = field(default_factory=dict)
    patterns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def owner(self, asked: str) -> str | None:
        """The virtual host for `TABLE/HOST`, with or without a port: the host itself, its longest wildcard, or `*`."""
        table, _, host = asked.rpartition("/")
        if len(host) > _LONGEST:
            return None
        host = _without_port(host.lower())
        return next((self.owners[name] for name in _candidates(table, host) if name in self.owners), None)

    def beneath(self, name: str) -> Iterator[str]:
        """The virtual hosts that have names which a wildcard of this one covers, too."""
        for pattern in self.patterns.get(name, ()):
            table, _, host = pattern.rpartition("/")
            if host.startswith("*"):
                for other, owner in self.owners.items():
                    if owner != name and other.startswith(f"{table}/") and other.endswith(host[1:]):
                        yield owner


def index_hosts(virtual_hosts: Iterable[tuple[str, ...]]) -> Hosts:
    """From all names of each virtual host, its own first."""
    patterns = {names[0]: names for names in virtual_hosts}
    return Hosts({one: names[0] for names in patterns.values() for one in names}, patterns) if patterns else NO_HOSTS


def _candidates(table: str, host: str) -> Iterator[str]:
    yield f"{table}/{host}"
    rest = host
    while "." in rest:
        rest = rest.partition(".")[2]
        yield f"{table}/*.{rest}"
    yield f"{table}/*"


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() and not name.endswith(":") else host


NO_HOSTS = Hosts()
