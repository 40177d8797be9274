"""One type on one stream: what the client has, what is on its way, what it refused, what it still lacks.

In: the wanted resources, requests already read, and the time. Out: the difference to send. One response at most is
unanswered at a time, so a slow client skips versions. Nothing is sent again in a version that was refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from xds_server.serve.subscription import Subscription
from xds_server.snapshot.resource import Resource

DOUBTFUL = "?"
"""The version of a resource that was in a refused response: the client may have it or not."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A NACK: when, Envoy's words, and the guilty resources: those that the words name, else all of the response."""

    version: str
    message: str
    time: float
    resources: tuple[Resource, ...]


def guilty(resources: tuple[Resource, ...], message: str) -> tuple[Resource, ...]:
    """The resources that a message names; all if it names none."""
    return named_in(message, resources) or resources


def named_in(message: str, resources: tuple[Resource, ...]) -> tuple[Resource, ...]:
    """The resources that a message names as whole words, the longest names first."""
    found: list[Resource] = []
    for one in sorted(resources, key=lambda one: -len(one.name)):
        if one.name and one.name in message:
            rest = re.sub(rf"(?<![\w/-]){re.escape(one.name)}(?![\w/-])", "", message)
            found += [one] if rest != message else []
            message = rest
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Sent:
    """A response on its way. `removed` are names that it takes away."""

    nonce: str
    version: str
    time: float
    resources: tuple[Resource, ...]
    removed: tuple[str, ...]
    additions: frozenset[str] = frozenset()
    """Names that the client may lack altogether until it has taken this."""
    substitutes: frozenset[str] = frozenset()
    """Names whose resource here is an older version, because the client refused the wanted one."""
    news: frozenset[str] = frozenset()
    """Names that the client did not have for sure in this version."""


@dataclass(slots=True)
class Channel:
    """The state of one type on one stream. `known` maps names to the version the client has; "" stands for absent."""

    type_url: str
    subscription: Subscription
    full: bool
    """True if every response must hold all resources (state of the world, CDS and LDS)."""
    removes: bool = True
    """True if a response can take resources away (all but EDS, RDS and SDS in the state of the world)."""
    requested: bool = False
    answered: bool = False
    known: dict[str, str] = field(default_factory=dict)
    refused: dict[str, set[str]] = field(default_factory=dict)
    """The versions of each name that the client refused since it last took a wanted one."""
    forced: set[str] = field(default_factory=set)
    """Names to send even in a version that the client has."""
    lingering: set[str] = field(default_factory=set)
    """Names that a returning client has and nobody wants: taken away only after nothing uses them."""
    unclear: tuple[Resource, ...] = ()
    """What is held back without being named in a refusal: sent again when any of it changes."""
    returning: bool = False
    """True while the client may have resources of an earlier stream that this one does not know."""
    repeatable: bool = False
    """True if the same request once more may ask for the same once more: what it belongs to was sent."""
    accepted: dict[str, Resource] = field(default_factory=dict)
    """What the client last took, by name; kept where every response holds everything."""
    in_flight: Sent | None = None
    acknowledged: str = ""
    acknowledged_at: float = 0.0
    sent_version: str = ""
    refusal: Refusal | None = None

    def lacking(self, wanted: Mapping[str, Resource]) -> list[Resource]:
        """Subscribed resources that the client does not have in the wanted version and did not refuse in it."""
        return [
            resource
            for name, resource in wanted.items()
            if self.subscription.wants(name)
            and (name in self.forced or self.known.get(name) != resource.version)
            and not self.is_refused(resource)
        ]

    def is_refused(self, resource: Resource) -> bool:
        """True if the client refused this resource in this version."""
        return resource.version in self.refused.get(resource.name, ())

    def surplus(self, wanted: Mapping[str, Resource]) -> list[str]:
        """Names that the client must be told are not there: it has them, or it asked for them by name."""
        asked = {name for name in self.subscription.names if self.known.get(name) != "" or name in self.forced}
        return sorted((asked - set(wanted) - self.lingering) | self.gone(wanted))

    def gone(self, wanted: Mapping[str, Resource]) -> set[str]:
        """Names that the client has, or may have, and shall not."""
        return {
            name
            for name, version in self.known.items()
            if version and name not in wanted and name not in self.lingering and self.subscription.wants(name)
        }

    def everything(self, wanted: Mapping[str, Resource]) -> list[Resource]:
        """All subscribed resources; in place of a refused version the one that the client took before.

        If it may have one of an earlier stream, the refused version itself: left out, the older one would be deleted.
        """
        chosen = []
        for name, resource in wanted.items():
            if self.subscription.wants(name):
                if not self.is_refused(resource) or (self.returning and name not in self.accepted):
                    chosen.append(resource)
                elif name in self.accepted:
                    chosen.append(self.accepted[name])
        return chosen

    def adds(self, resources: Iterable[Resource]) -> frozenset[str]:
        """The names of those that the client may lack altogether."""
        return frozenset(one.name for one in resources if self.known.get(one.name, "") in ("", DOUBTFUL))

    def reconsider(self, wanted: Mapping[str, Resource]) -> None:
        """Something else is wanted: if it was the unnamed cause of a refusal, the rest is innocent."""
        if any(one.name not in wanted or wanted[one.name].version != one.version for one in self.unclear):
            for one in self.unclear:
                self.refused.get(one.name, set()).discard(one.version)
            self.unclear = ()

    def forget(self, names: Iterable[str]) -> None:
        """The client unsubscribed: of what it does not want any more it keeps nothing."""
        for name in names:
            if not self.subscription.wants(name):
                self.known.pop(name, None)
                self.refused.pop(name, None)
                self.forced.discard(name)
                self.lingering.discard(name)

    def sent(self, response: Sent) -> None:
        """Note what was sent: it counts as had until the client says otherwise."""
        self.in_flight, self.sent_version, self.answered = response, response.version, True
        for resource in response.resources:
            self.known[resource.name] = resource.version
            self.forced.discard(resource.name)
        for name in response.removed:
            self.known[name] = ""
            self.forced.discard(name)

    def accept(self, now: float) -> Sent | None:
        """The client took the response in flight."""
        response, self.in_flight = self.in_flight, None
        if response is not None:
            self.acknowledged, self.acknowledged_at = response.version, now
            self.returning = False
            for resource in response.resources:
                if resource.name not in response.substitutes:
                    self.refused.pop(resource.name, None)
            if self.full:
                self.accepted = {resource.name: resource for resource in response.resources}
        return response

    def refuse(self, message: str, now: float) -> None:
        """The client refused the response in flight.

        It may hold parts of it, so nothing new in it counts as known: the innocent resources are sent once more, the
        guilty ones in another version only. If nobody is named, or a refusal blames nothing new, or the rest cannot be
        sent without deleting what the client had before this stream, everything waits for a change.
        """
        response, self.in_flight = self.in_flight, None
        if response is None:
            return
        changed = tuple(one for one in response.resources if one.name in response.news)
        suspects = tuple(one for one in changed if one.name not in response.substitutes)
        blamed = guilty(suspects or response.resources, message)
        useful = any(not self.is_refused(one) for one in blamed)
        self.refusal = Refusal(response.version, message, now, blamed if useful else response.resources)
        if not useful or (self.full and self.returning and any(one.name not in self.accepted for one in blamed)):
            blamed = response.resources
        if len(blamed) > 1 and not set(blamed) <= set(named_in(message, blamed)):
            self.unclear += blamed
        for resource in changed:
            self.known[resource.name] = DOUBTFUL
        for resource in blamed:
            self.refused.setdefault(resource.name, set()).add(resource.version)
        for name in response.removed:
            self.known[name] = DOUBTFUL if useful else ""

    def in_sync(self, wanted: Mapping[str, Resource]) -> bool:
        """True if there is nothing to send, nothing on its way and nothing refused."""
        return self.is_quiet(wanted) and not (self.requested and self.is_refusing(wanted))

    def is_quiet(self, wanted: Mapping[str, Resource]) -> bool:
        """True if there is nothing to send and nothing on its way."""
        if not self.requested:
            return True
        if self.in_flight is not None or self.lacking(wanted):
            return False
        return not (self.removes and self.gone(wanted))

    def is_refusing(self, wanted: Mapping[str, Resource]) -> bool:
        """True while something that is wanted stands refused."""
        return self.refusal is not None and any(
            self.subscription.wants(one.name)
            and self.is_refused(one)
            and one.name in wanted
            and wanted[one.name].version == one.version
            for one in self.refusal.resources
        )
