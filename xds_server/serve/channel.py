"""One type on one stream: what the client has, what is on its way, what it refused, what it still lacks.

In: the wanted resources, requests already read, and the time. Out: the difference to send. One response at most is
unanswered at a time, so a slow client skips versions. Nothing is sent again in a version that was refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from xds_server.serve.differences import Difference, Differences, State
from xds_server.serve.on_demand import NO_ANSWERS, Answers, OnDemand
from xds_server.serve.subscription import NO_NAMES, Names, Subscription, with_names, without_names
from xds_server.snapshot.resource import Resource

DOUBTFUL = "?"
"""The version of a resource that was in a refused response: the client may have it or not."""
BEATS = 3
"""How often a client hears of a resource within its time to live."""


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

    version: str
    resources: tuple[Resource, ...]
    removed: tuple[str, ...]
    additions: frozenset[str] = frozenset()
    """Names that the client may lack altogether until it has taken this."""
    substitutes: frozenset[str] = frozenset()
    """Names whose resource here is an older version, because the client refused the wanted one."""
    news: frozenset[str] = frozenset()
    """Names that the client did not have for sure in this version."""
    answers: Answers = NO_ANSWERS
    """What the client hears of the hosts that it asked for."""
    beats: tuple[Resource, ...] = ()
    """Resources that the client has and only hears of, so that it does not drop them."""
    whole: bool = False
    """True if there was nothing else to say."""


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
    forced: Names = NO_NAMES
    """Names to send even in a version that the client has."""
    lingering: Names = NO_NAMES
    """Names that a returning client has and nobody wants: taken away only after nothing uses them."""
    unclear: tuple[Resource, ...] = ()
    """What is held back without being named in a refusal: sent again when any of it changes."""
    suspects: Names = NO_NAMES
    """Names of a refused response of which nobody was named: sent again `handful` at a time until the guilty is found."""
    handful: int = 0
    on_demand: OnDemand | None = None
    """Where the client asks for hosts and gets the virtual hosts that they belong to."""
    beats: dict[str, float] = field(default_factory=dict)
    """When the client last heard of a resource that it would drop else."""
    returning: bool = False
    """True while the client may have resources of an earlier stream that this one does not know."""
    repeatable: bool = False
    """True if the same request once more may ask for the same once more: what it belongs to was sent."""
    accepted: dict[str, Resource] = field(default_factory=dict)
    """What the client last took, by name; kept where every response holds everything."""
    in_flight: Sent | None = None
    nonce: str = ""
    """That of the last response."""
    sent_at: float = 0.0
    acknowledged: str = ""
    acknowledged_at: float = 0.0
    sent_version: str = ""
    refusal: Refusal | None = None
    differences: Differences = field(default_factory=Differences)
    settled: State | None = None
    """What was wanted when there was last nothing to say; None: anything may be different from what the client has."""
    touched: Names = NO_NAMES
    """Names that were sent or taken away since then."""

    def settle(self, wanted: State) -> None:
        """There is nothing to say now: next time only what has changed since is looked at."""
        if self.refused or self.suspects or self.lingering or self.on_demand is not None:
            self.unsettle()
            return
        self.settled = wanted
        self.touched = NO_NAMES

    def unsettle(self) -> None:
        """What the client has, or asks for, is not what it was: next time everything is looked at."""
        self.settled, self.touched = None, NO_NAMES

    def is_settled(self, wanted: State) -> bool:
        """True if nothing has changed since there was nothing to say."""
        return self.settled is wanted and not self.touched and not self.forced

    def open_names(self, wanted: State) -> Sequence[str] | None:
        """The names of which there may be something to say, in order; None: all."""
        if self.settled is None or self.refused or self.lingering:
            return None
        names = () if self.settled is wanted else self.differences.between(self.settled, wanted).names
        return sorted({*names, *self.touched, *self.forced}) if self.touched or self.forced else names

    def simple_change(self, wanted: State) -> Difference | None:
        """What has changed since the client had everything, if it is all that there is to say; None: look closer."""
        if self.settled is None or self.full or self.touched or self.forced or self.refused or self.lingering:
            return None
        found = self.differences.between(self.settled, wanted)
        if not found.simple:
            return None
        for name, had in found.had.items():
            if self.known.get(name) != had:
                return None
        return found

    def lacking(self, wanted: State) -> list[Resource]:
        """Subscribed resources that the client does not have in the wanted version and did not refuse in it."""
        names = self.open_names(wanted)
        looked = wanted.values() if names is None else [wanted[name] for name in names if name in wanted]
        return [one for one in looked if self.wants(one.name) and self.lacks(one)]

    def lacks(self, resource: Resource) -> bool:
        """True if the client does not have this version, or asked for it again, and it can be sent."""
        return (
            (resource.name in self.forced or self.known.get(resource.name) != resource.version)
            and not self.is_refused(resource)
            and not (resource.withheld and not self._must_send(resource))
        )

    def _must_send(self, resource: Resource) -> bool:
        """Left out of a response that holds everything, what the client has of an earlier stream would be deleted."""
        return self.full and self.returning and resource.name not in self.accepted

    def wants(self, name: str) -> bool:
        """True if the client subscribed to this resource. Of virtual hosts only those are looked at that it gets."""
        return self.on_demand is not None or self.subscription.wants(name)

    def is_refused(self, resource: Resource) -> bool:
        """True if the client refused this resource in this version."""
        return resource.version in self.refused.get(resource.name, ())

    def surplus(self, wanted: State) -> list[str]:
        """Names that the client must be told are not there: it has them, or it asked for them by name."""
        asked, names = self.subscription.names, self.open_names(wanted)
        looked = asked if names is None else asked.intersection(names)
        missing = {name for name in looked if self.known.get(name) != "" or name in self.forced}
        return sorted((missing - wanted.keys() - self.lingering) | self.gone(wanted))

    def gone(self, wanted: State) -> set[str]:
        """Names that the client has, or may have, and shall not."""
        names = self.open_names(wanted)
        return {
            name
            for name in (self.known if names is None else names)
            if name not in wanted and self.known.get(name) and name not in self.lingering and self.wants(name)
        }

    def everything(self, wanted: State) -> list[Resource]:
        """All subscribed resources; in place of a refused version the one that the client took before.

        If it may have one of an earlier stream, the refused version itself: left out, the older one would be deleted.
        """
        chosen = []
        for name, resource in wanted.items():
            if self.wants(name):
                usable = not self.is_refused(resource) and not resource.withheld
                if usable or (self.returning and name not in self.accepted):
                    chosen.append(resource)
                elif name in self.accepted:
                    chosen.append(self.accepted[name])
        return chosen

    def due_beats(self, wanted: State, now: float) -> tuple[Resource, ...]:
        """Resources with a time to live of which the client has not heard for a third of that."""
        return tuple(one for one, due in self._beats(wanted) if due <= now)

    def next_beat(self, wanted: State) -> float | None:
        """When `due_beats` has something to say; None if never, or if the client must answer first."""
        return min((due for _, due in self._beats(wanted)), default=None) if self.in_flight is None else None

    def _beats(self, wanted: State) -> Iterator[tuple[Resource, float]]:
        for name, heard in self.beats.items():
            one = wanted.get(name)
            if one is not None and one.ttl and self.known.get(name) == one.version:
                yield one, heard + one.ttl / BEATS

    def adds(self, resources: Iterable[Resource]) -> frozenset[str]:
        """The names of those that the client may lack altogether."""
        return frozenset(one.name for one in resources if self.known.get(one.name, "") in ("", DOUBTFUL))

    def reconsider(self, wanted: State) -> None:
        """Something else is wanted: if it was the unnamed cause of a refusal, the rest is innocent."""
        if any(one.name not in wanted or wanted[one.name].version != one.version for one in self.unclear):
            for one in self.unclear:
                self.refused.get(one.name, set()).discard(one.version)
            self.unclear = ()

    def forget(self, names: Iterable[str]) -> None:
        """The client unsubscribed: of what it does not want any more it keeps nothing."""
        unwanted = frozenset(name for name in names if not self.wants(name))
        if unwanted:
            self.unsettle()
            self.forced = without_names(self.forced, unwanted)
            self.lingering = without_names(self.lingering, unwanted)
        for name in unwanted:
            self.known.pop(name, None)
            self.refused.pop(name, None)

    def sent(self, response: Sent, nonce: str, now: float) -> None:
        """Note what was sent: it counts as had until the client says otherwise."""
        self.in_flight, self.nonce, self.sent_at, self.answered = response, nonce, now, True
        if not response.beats:
            self.sent_version = response.version
        for resource in response.resources:
            self.known[resource.name] = resource.version
            if resource.ttl:
                self.beats[resource.name] = now
        for name in response.removed:
            self.known[name] = ""
            self.beats.pop(name, None)
        for resource in response.beats:
            self.beats[resource.name] = now
        if self.forced or not response.whole:
            named = frozenset((*(one.name for one in response.resources), *response.removed))
            self.forced = without_names(self.forced, named)
            if self.settled is not None:
                self.touched = with_names(self.touched, named)
        if self.on_demand is not None:
            self.on_demand.answered(response.answers)

    def accept(self, now: float) -> tuple[Resource, ...]:
        """The client took the response in flight; the answer is what was new in it."""
        response, self.in_flight = self.in_flight, None
        if response is None or response.beats:
            return ()
        self.acknowledged, self.acknowledged_at = response.version, now
        for name in response.removed:
            if self.known.get(name) == "" and name not in self.subscription.names:
                del self.known[name]
        self.returning = False
        if self.suspects or self.refused:
            self.suspects = without_names(self.suspects, (resource.name for resource in response.resources))
            for resource in response.resources:
                if resource.name not in response.substitutes:
                    self.refused.pop(resource.name, None)
        if self.full:
            self.accepted = {resource.name: resource for resource in response.resources}
        if len(response.news) == len(response.resources):
            return response.resources
        return tuple(one for one in response.resources if one.name in response.news)

    def refuse(self, message: str, now: float) -> tuple[Resource, ...]:
        """The client refused the response in flight; the answer is what is guilty of it, empty if nobody knows yet.

        It may hold parts of it, so nothing new in it counts as known: the innocent resources are sent once more, the
        guilty ones in another version only. If nobody is named, fewer at a time are sent until it is clear. Where that
        cannot be (every response holds everything), or a refusal blames nothing new, or the rest cannot be sent without
        deleting what the client had before this stream, everything waits for a change.
        """
        response, self.in_flight = self.in_flight, None
        if response is None or response.beats:
            return ()
        self.unsettle()
        changed = tuple(one for one in response.resources if one.name in response.news)
        suspects = tuple(one for one in changed if one.name not in response.substitutes)
        if not self.full and len(suspects) > 1 and not named_in(message, suspects):
            return self._suspect(suspects, response, message, now)
        blamed = found = guilty(suspects or response.resources, message)
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
        self.suspects = without_names(self.suspects, (one.name for one in blamed))
        return found if useful else ()

    def _suspect(self, suspects: tuple[Resource, ...], response: Sent, message: str, now: float) -> tuple[()]:
        """Nobody is named: half of them next, then half of that."""
        self.refusal = Refusal(response.version, message, now, suspects)
        self.suspects = with_names(self.suspects, (one.name for one in suspects))
        self.handful = len(suspects) // 2
        self.known.update(dict.fromkeys((*(one.name for one in suspects), *response.removed), DOUBTFUL))
        return ()

    def portion(self, ready: list[Resource], limit: int) -> list[Resource]:
        """Of what is ready as much as goes into one response: `limit` bytes, and of suspects a handful by itself."""
        suspects = [one for one in ready if one.name in self.suspects]
        chosen = [one for one in ready if one.name not in self.suspects] if suspects else ready
        if not chosen:
            return suspects[: self.handful]
        size = 0
        for number, one in enumerate(chosen):
            size += len(one.body)
            if size > limit and number:
                return chosen[:number]
        return chosen

    def in_sync(self, wanted: State) -> bool:
        """True if there is nothing to send, nothing on its way and nothing refused."""
        return self.is_quiet(wanted) and not (self.requested and self.is_refusing(wanted))

    def is_quiet(self, wanted: State) -> bool:
        """True if there is nothing to send and nothing on its way."""
        if not self.requested:
            return True
        if self.in_flight is not None:
            return False
        if self.is_settled(wanted):
            return True
        if self.lacking(wanted):
            return False
        return not (self.removes and self.gone(wanted))

    def is_refusing(self, wanted: State) -> bool:
        """True while something that is wanted stands refused."""
        return self.refusal is not None and any(
            self.wants(one.name)
            and self.is_refused(one)
            and one.name in wanted
            and wanted[one.name].version == one.version
            for one in self.refusal.resources
        )
