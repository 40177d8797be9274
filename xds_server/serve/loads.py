"""Load reports: how many requests Envoys that run elsewhere sent to each of their clusters.

In: reports, each of what was counted since the one before. Out: sums by gateway and cluster since this server started. Only
clusters count that lead out of cells and that the gateway was sent: what an Envoy makes up cannot fill the memory. Nor may it
report all the time.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field

from xds_server.serve.requests import Node

COUNTED = ("east|", "south|")
"""What the names of clusters begin with that lead out of a cell."""
MOST = 10_000
"""Clusters of one gateway that are counted."""
_AHEAD = 20
"""Reports of one stream that may come at once, such as those that waited for a server that was busy."""


@dataclass(frozen=True, slots=True)
class Load:
    """Requests that were answered, and those of them that failed: with a status of 5xx, or with none."""

    requests: int = 0
    failed: int = 0

    def plus(self, other: Load) -> Load:
        """Both together."""
        return Load(self.requests + other.requests, self.failed + other.failed)


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What an Envoy reports: who it is, if it says so, and a load for each cluster."""

    node: Node | None
    loads: Mapping[str, Load]


@dataclass(slots=True)
class Pace:
    """How often one stream reports: twice as often as it was asked to is well, and for a while much more."""

    every: float
    """Seconds between reports, as asked for."""
    _due: float = -math.inf

    def keeps(self, now: float) -> bool:
        """Whether a report that comes now is not too much."""
        step = self.every / 2
        self._due = max(self._due, now) + step
        return self._due <= now + _AHEAD * step


@dataclass(slots=True)
class Loads:
    """The sums of all reports."""

    by_gateway: dict[str, dict[str, Load]] = field(default_factory=dict)

    def add(self, gateway: str, report: LoadReport, clusters: Container[str]) -> None:
        """Count a report of one of a gateway's Envoys. `clusters` are those that the gateway has."""
        wanted = ((one, load) for one, load in report.loads.items() if one.startswith(COUNTED) and one in clusters)
        self._count(gateway, wanted)

    def _count(self, gateway: str, loads: Iterable[tuple[str, Load]]) -> None:
        known = self.by_gateway.setdefault(gateway, {})
        for cluster, load in loads:
            if cluster in known or len(known) < MOST:
                known[cluster] = known.get(cluster, Load()).plus(load)

    def take(self) -> dict[str, dict[str, Load]]:
        """The sums, which begin anew."""
        taken, self.by_gateway = self.by_gateway, {}
        return taken

    def join(self, taken: Mapping[str, Mapping[str, Load]]) -> None:
        """Another process counted these."""
        for gateway, loads in taken.items():
            self._count(gateway, loads.items())

    def forget(self, gateway: str) -> None:
        """A gateway is gone."""
        self.by_gateway.pop(gateway, None)
