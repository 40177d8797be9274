"""What an operator has to hear of, once each: refusals, Envoys that leave an update unanswered, certificates that end.

In: the records of all streams, when certificates end, and the time. Out: events with their details, for the log.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from xds_server.observe.resources_view import short_type
from xds_server.serve.records import ProxyRecord

PATIENCE = 20.0
"""Seconds after which an unanswered update is late: Envoy warms a cluster for up to 15."""
SOON = 7 * 24 * 3600.0
"""Seconds before its end at which a certificate is told of; of one that lives a short time only the last third."""
_LENGTH = 2000
_Event = tuple[tuple[object, ...], tuple[str, dict[str, Any]]]


@dataclass(slots=True)
class Alarms:
    """Remembers what was said. What ended may be said again when it comes back."""

    _said: set[tuple[object, ...]] = field(default_factory=set)

    def look(
        self,
        records: Iterable[ProxyRecord],
        now: float,
        valid: Mapping[str, tuple[float, float]] = MappingProxyType({}),
        today: float = 0.0,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """New events. `now` is of the clock of the records; when certificates are `valid` and `today`: since the epoch."""
        found = dict((*_events(records, now), *_endings(valid, today)))
        for key, event in found.items():
            if key not in self._said:
                yield event
        self._said = set(found)


def _endings(valid: Mapping[str, tuple[float, float]], today: float) -> Iterator[_Event]:
    """Envoy serves an expired certificate without a word."""
    for name, (begins, ends) in valid.items():
        words = {"certificate": name, "ends": datetime.datetime.fromtimestamp(ends, datetime.UTC).isoformat()}
        if today >= ends:
            yield (name, "over"), ("a certificate has expired", words)
        elif ends - today < min(SOON, (ends - begins) / 3):
            yield (name, "soon"), ("a certificate ends soon", words)
        elif today < begins:
            yield (name, "early"), ("a certificate is not valid yet", words)


def _events(records: Iterable[ProxyRecord], now: float) -> Iterator[_Event]:
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
