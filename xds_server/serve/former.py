"""Which scopes, and tables under them, the last streams of Envoys in the state of the world had: these do not say it.

In: what a stream leaves, and until when connections may need it. Out: that, for the next stream of the same Envoy. Names of
Envoys are their own words, so only so many are remembered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xds_server.snapshot.resource import Resource

Left = Mapping[str, Mapping[str, Resource]]
"""Scopes and tables, by type and name."""
LIMIT = 1000


@dataclass(slots=True)
class Former:
    """By gateway and Envoy, what its last stream left."""

    _left: dict[tuple[str, str], tuple[float, Left]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._left)

    def keep(self, key: tuple[str, str], left: Left, now: float, seconds: float) -> None:
        """A stream ended. What it left is the newest; nothing is also an answer."""
        self._left = {one: kept for one, kept in self._left.items() if one != key and kept[0] > now}
        if left:
            if len(self._left) >= LIMIT:
                del self._left[next(iter(self._left))]
            self._left[key] = (now + seconds, left)

    def take(self, key: tuple[str, str], now: float) -> Left:
        """The next stream begins; empty if nothing is left that anybody may need."""
        due, left = self._left.pop(key, (now, {}))
        return left if due > now else {}

    def forget(self, gateway: str) -> None:
        """There is no such gateway any more."""
        self._left = {key: kept for key, kept in self._left.items() if key[0] != gateway}
