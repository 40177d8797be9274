"""Whether what the running server explains of a request is what its Envoys do with it, over as many gateways as it passes.

In: answers of the admin API, and of Envoys. Out: what may come of a request: statuses, and the addresses that may answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Outcome:
    """What may come of a request. `surely`: nobody behind the gateways gets it."""

    statuses: set[int] = field(default_factory=set)
    endpoints: set[str] = field(default_factory=set)

    def add(self, other: Outcome) -> None:
        """What may come of it, too."""
        self.statuses |= other.statuses
        self.endpoints |= other.endpoints


def outcome(answer: dict[str, Any]) -> Outcome:
    """What one gateway makes of it."""
    found = Outcome()
    if answer["refusal"]:
        found.statuses.add(answer["status"])
    for route in answer["routes"]:
        found.statuses |= {one["status"] for one in route["decisions"] if one["decision"] == "mayAnswer"}
        if route["answered"]:
            found.statuses.add(route["answered"])
        elif "responds" in route:
            found.statuses.add(route["responds"]["status"])
        elif "redirects" in route:
            found.statuses.add(route["redirects"]["status"])
        for cluster in route.get("forwards", {}).get("clusters", ()) if not route["answered"] else ():
            for behind in cluster.get("next", ()):
                found.add(outcome(behind))
            found.endpoints |= set() if cluster.get("next") else set(cluster["endpoints"])
    return found
