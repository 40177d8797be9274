"""Load reports: how many requests Envoys that run elsewhere sent to each of their clusters.

In: reports, each of what was counted since the one before. Out: sums by gateway and cluster since this server started. Only
clusters that lead out of cells count, and of one gateway no more than it can have: what an Envoy makes up cannot fill the memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xds_server.serve.requests import Node

COUNTED = ("east|", "south|")
"""What the names of clusters begin with that lead out of a cell."""
MOST = 10_000
"""Clusters of one gateway that are counted."""


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
class Loads:
    """The sums of all reports."""

    by_gateway: dict[str, dict[str, Load]] = field(default_factory=dict)

    def add(self, gateway: str, report: LoadReport) -> None:
        """Count a report of one of a gateway's Envoys."""
        known = self.by_gateway.setdefault(gateway, {})
        for cluster, load in report.loads.items():
            if cluster.startswith(COUNTED) and (cluster in known or len(known) < MOST):
                known[cluster] = known.get(cluster, Load()).plus(load)

    def forget(self, gateway: str) -> None:
        """A gateway is gone."""
        self.by_gateway.pop(gateway, None)
