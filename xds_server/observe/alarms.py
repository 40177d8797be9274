"""What an operator has to hear of, once each: refusals, and Envoys that leave an update unanswered.

In: the records of all streams, and the time. Out: events with their details, for the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from xds_server.observe.resources_view import short_type
from xds_server.serve.records import ProxyRecord

PATIENCE = 20.0
"""Seconds after which an unanswered update is late: Envoy warms a cluster for up to 15."""
_LENGTH = 2000


@dataclass(slots=True)
class Alarms:
    """Remembers what was said. What ended may be said again when it comes back."""

    _said: set[tuple[object, ...]] = field(default_factory=set)

    def look(self, records: Iterable[ProxyRecord], now: float) -> Iterator[tuple[str, dict[str, Any]]]:
        """New events. `now` is of the clock of the records."""
        found = dict(_events(records, now))
        for key, event in found.items():
            if key not in self._said:
                yield event
        self._said = set(found)


def _events(
    records: Iterable[ProxyRecord], now: float
) -> Iterator[tuple[tuple[object, ...], tuple[str, dict[str, Any]]]]:
    for record in records:
        for one in record.types:
            kind = short_type(one.type_url)
            for refusal in (*one.standing, *((one.refusal,) if one.refusal is not None else ())):
                words = {"node": refusal.node, "type": kind, "message": refusal.message[:_LENGTH]}
                made = [str(origin) for origin in refusal.origins]
                yield (kind, refusal.node, refusal.version, refusal.resources), ("refused", {**words, "made_by": made})
            if one.waiting_since and now - one.waiting_since > PATIENCE:
                words = {"node": record.node_id, "type": kind, "seconds": round(now - one.waiting_since)}
                yield (kind, record.node_id, one.sent), ("an update is not acknowledged", words)
