"""What a client has subscribed to of one type: names, and whether it wants everything (wildcard).

In: the names of requests, in the words of either protocol. Out: whether a resource is wanted. Follows Envoy's xDS
protocol description, "Hints on which resources a client has subscribed to". It does no I/O and keeps no resource.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

WILDCARD = "*"
Names: TypeAlias = "set[str] | frozenset[str]"
"""Names of resources. Changed by `with_names` and `without_names` alone, since the empty set is one for all streams."""
NO_NAMES: Names = frozenset()
"""What most streams have of most sets of names."""


def with_names(names: Names, more: Iterable[str]) -> Names:
    """A set and more names, the same object if it can be: one more of a hundred thousand is no work."""
    if isinstance(names, frozenset):
        return {*names, *more} or NO_NAMES
    names.update(more)
    return names


def without_names(names: Names, gone: Iterable[str]) -> Names:
    """A set without some names, likewise."""
    if isinstance(names, set):
        names.difference_update(gone)
    return names or NO_NAMES


@dataclass(slots=True)
class Subscription:
    """The subscription of one stream to one type. `wildcard_type`: an empty first request means everything."""

    wildcard_type: bool
    wildcard: bool = False
    names: Names = NO_NAMES
    _named_once: bool = False
    _started: bool = False

    def wants(self, name: str) -> bool:
        """True if a resource of this name is subscribed to."""
        return self.wildcard or name in self.names

    def change(self, subscribe: Iterable[str], unsubscribe: Iterable[str]) -> None:
        """Apply a delta request."""
        subscribe, unsubscribe = frozenset(subscribe), frozenset(unsubscribe)
        if not self._started and not subscribe and not unsubscribe and self.wildcard_type:
            self.wildcard = True
        self._started = True
        if WILDCARD in subscribe:
            self.wildcard = True
        if WILDCARD in unsubscribe:
            self.wildcard = False
        self.names = without_names(with_names(self.names, subscribe - {WILDCARD}), unsubscribe)

    def replace(self, names: Iterable[str]) -> None:
        """Apply a state-of-the-world request, which says all names each time."""
        given = set(names)
        if given:
            self._named_once = True
            self.wildcard = WILDCARD in given
        else:
            # Empty means everything only to a client that never gave a name.
            self.wildcard = self.wildcard_type and not self._named_once
        self.names = given - {WILDCARD} or NO_NAMES
