"""In which order changes reach one Envoy: additions before what uses them, removals after nothing uses them.

In: the snapshot that is wanted and the one before, and the state of the stream's channels. Out: which resources count
as wanted now, and whether a type has to wait. Clusters, then endpoints, then secrets, listeners and routes; a cluster
that goes away stays until listeners and routes without it were acknowledged, and a while longer for requests in flight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xds_server.serve.channel import Channel
from xds_server.snapshot.resource import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET, Resource, Snapshot

WARMING_LIMIT = 20.0
"""Seconds that routes wait for the acknowledgement of new clusters; Envoy warms a cluster for up to 15."""
HELD = (CLUSTER, ENDPOINTS, SECRET, ROUTES)
"""The types of which nothing is taken away before listeners and routes stopped using it."""
_USERS = (LISTENER, ROUTES)


@dataclass(slots=True)
class Order:
    """The order of delivery on one stream."""

    drain_delay: float
    snapshot: Snapshot | None = None
    held: dict[str, dict[str, Resource]] = field(default_factory=lambda: {type_url: {} for type_url in HELD})
    release_at: float | None = None

    def replace(self, snapshot: Snapshot, channels: Mapping[str, Channel]) -> None:
        """A newer snapshot is wanted. What it no longer holds, and the client may have, is held for a while."""
        before, self.snapshot = self.snapshot, snapshot
        self.release_at = None
        for type_url in HELD:
            new, held = snapshot.get(type_url), self.held[type_url]
            for name in [name for name in held if name in new]:
                del held[name]
            if before is not None and channels[type_url].requested:
                held.update({name: one for name, one in before.get(type_url).items() if name not in new})

    def wanted(self, type_url: str) -> Mapping[str, Resource]:
        """What the client shall have of a type now."""
        assert self.snapshot is not None
        current = self.snapshot.get(type_url)
        held = self.held.get(type_url)
        return {**held, **current} if held else current

    def ready(
        self, type_url: str, lacking: list[Resource], channels: Mapping[str, Channel], now: float
    ) -> list[Resource]:
        """Those of the lacking resources that need not wait for new clusters to be acknowledged."""
        if not self._clusters_are_awaited(type_url, channels, now):
            return lacking
        routes = channels[ROUTES]
        if type_url != ROUTES or routes.resumed:
            return []
        # A listener that was sent waits for a route table that it never had: the table may not wait in turn.
        return [one for one in lacking if one.name not in routes.known]

    def _clusters_are_awaited(self, type_url: str, channels: Mapping[str, Channel], now: float) -> bool:
        clusters = channels[CLUSTER]
        if type_url not in _USERS or not clusters.requested:
            return False
        sent = clusters.in_flight
        if sent is not None and sent.additions and now - sent.time < WARMING_LIMIT:
            return True
        return sent is None and bool(clusters.lacking(self.wanted(CLUSTER)))

    def release(self, channels: Mapping[str, Channel], now: float) -> bool:
        """Let go of held resources once nothing uses them and the delay has passed; True if any was let go."""
        if not any(self.held.values()) and not any(channels[type_url].lingering for type_url in HELD):
            return False
        if not all(self._is_settled(channels[type_url]) for type_url in _USERS):
            self.release_at = None
            return False
        if self.release_at is None:
            self.release_at = now + self.drain_delay
        if now < self.release_at:
            return False
        for type_url, held in self.held.items():
            held.clear()
            channels[type_url].lingering.clear()
        self.release_at = None
        return True

    def _is_settled(self, user: Channel) -> bool:
        """True if the client took all of a type; a refused resource that is only held any more does not count."""
        assert self.snapshot is not None
        return user.is_quiet(self.wanted(user.type_url)) and not user.is_refusing(self.snapshot.get(user.type_url))

    def wake_at(self, channels: Mapping[str, Channel]) -> float | None:
        """When `release` or `ready` may change by time alone; None if never."""
        times = [self.release_at] if self.release_at is not None else []
        sent = channels[CLUSTER].in_flight
        if sent is not None and sent.additions:
            times.append(sent.time + WARMING_LIMIT)
        return min(times, default=None)
