"""`build_snapshot`: translated messages -> the `Snapshot` of one gateway, and what was left out of it.

In: named messages with their origins and needs, in any order, and a check for a single message. Out: the
snapshot and diagnostics. A message that Envoy would refuse is left out, and so is a listener whose route
configuration or secret is missing: for Envoy that is an outage, while a route to a missing cluster is a 500. A secret
that nothing refers to is not in a snapshot: nobody needs to know it.
It decides nothing else; two different messages of one type and name are a bug: `ValueError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from google.protobuf.message import Message

from xds_server.diagnostics import Diagnostic, diagnose, sort_key
from xds_server.memory import difference
from xds_server.parts import Parts, in_parts
from xds_server.snapshot.resource import (
    CLUSTER,
    ENDPOINTS,
    HOST,
    LISTENER,
    ROUTES,
    SCOPES,
    SECRET,
    Resource,
    Snapshot,
    content_version,
    snapshot_of,
    with_resources,
)
from xds_server.types import Origin

Check = Callable[[Message], str | None]
"""Why Envoy would refuse a message, or None (`Rules.check`)."""

_PREFIX = "type.googleapis.com/"
_WORDS = {
    SCOPES: "scope of routes",
    CLUSTER: "cluster",
    ENDPOINTS: "endpoints",
    LISTENER: "listener",
    ROUTES: "route configuration",
    SECRET: "secret",
    HOST: "virtual host",
}
_VITAL = frozenset({ROUTES, SECRET})
"""Without these a listener waits or answers nothing; without a cluster only some of its requests fail."""


class NamedMessage(Protocol):
    """What translation gives for each resource. A protocol, because this room knows nothing of that one."""

    @property
    def name(self) -> str: ...
    @property
    def message(self) -> Message: ...
    @property
    def origins(self) -> Sequence[Origin]: ...
    @property
    def needs(self) -> tuple[tuple[str, str], ...]: ...
    @property
    def ttl(self) -> float: ...
    @property
    def on_demand(self) -> bool: ...
    @property
    def aliases(self) -> tuple[str, ...]: ...
    @property
    def rest(self) -> tuple[tuple[bytes, bytes], ...]: ...
    @property
    def violation(self) -> str: ...


Name = tuple[str, str]
"""A type URL and a name."""


@dataclass(frozen=True, slots=True)
class _Made:
    """The resource of a message, and why Envoy would refuse it; empty if it would not."""

    item: NamedMessage
    resource: Resource
    violation: str


class Memory:
    """The last snapshot of one gateway, and what it was made from. Dropping it changes no result.

    `whole`: it has every message as a resource, and there is nothing to be said of any.
    """

    def __init__(self) -> None:
        self.made: dict[int, _Made] = {}
        self.snapshot: Snapshot | None = None
        self.problems: tuple[Diagnostic, ...] = ()
        self.whole = False
        self._messages: Sequence[NamedMessage] = ()

    def update(self, messages: Parts[NamedMessage], check: Check) -> tuple[dict[Name, _Made], dict[Name, _Made]] | None:
        """Make resources of messages. The answer is what has gone and what has come by name; None if names come twice."""
        now = difference(self._messages, messages)
        self._messages = messages
        gone = [self.made.pop(id(item)) for item in now.gone]
        old = {_key(one.resource): one for one in gone}
        new: dict[Name, _Made] = {}
        for item in now.came:
            name = (_PREFIX + item.message.DESCRIPTOR.full_name, item.name)
            resource = _resource(item, old.get(name))
            # It is kept alive here, so nothing else has this identity.
            new[name] = self.made[id(item)] = _Made(item, resource, item.violation or check(item.message) or "")
        return (old, new) if len(old) == len(now.gone) and len(new) == len(now.came) else None

    def resources(self) -> list[_Made]:
        """All resources in the order of their messages."""
        return [self.made[id(item)] for item in self._messages]


def build_snapshot(
    gateway: str, messages: Iterable[NamedMessage], check: Check, memory: Memory | None = None
) -> tuple[Snapshot, tuple[Diagnostic, ...]]:
    """The snapshot of one gateway, and a diagnostic for everything that is missing from it."""
    memory = memory or Memory()
    changed = memory.update(in_parts(messages), check)
    if memory.snapshot is not None and changed == ({}, {}):
        return memory.snapshot, memory.problems
    if memory.whole and memory.snapshot is not None and changed is not None:
        snapshot = _exchanged(memory.snapshot, *changed)
        if snapshot is not None:
            memory.snapshot = snapshot
            return snapshot, ()
    made = memory.resources()
    sound = [one.resource for one in made if not one.violation]
    refused = [one for one in made if one.violation]
    problems = [_problem("T120", one.resource, reason=one.violation) for one in refused]
    gone = {_key(one.resource) for one in refused}
    united = _united(sound)
    problems += _dangling(united, gone)
    there = {_key(resource) for resource in united}
    kept = []
    for resource in united:
        missing = [need for need in resource.needs if need[0] in _VITAL and need not in there]
        if resource.type_url == LISTENER and missing:
            problems.append(_problem("T122", resource, missing=", ".join(_text(*need) for need in missing)))
        else:
            kept.append(resource)
    used = {need for resource in kept for need in resource.needs}
    kept = [resource for resource in kept if resource.type_url != SECRET or _key(resource) in used]
    memory.snapshot = snapshot_of(gateway, kept)
    memory.problems = tuple(sorted(dict.fromkeys(problems), key=sort_key))
    memory.whole = not problems and len(kept) == len(made)
    return memory.snapshot, memory.problems


def _exchanged(snapshot: Snapshot, gone: Mapping[Name, _Made], came: Mapping[Name, _Made]) -> Snapshot | None:
    """A whole snapshot with other resources in the place of some; None where more than these may be different."""
    if gone.keys() != came.keys():
        return None
    if any(one.violation or one.resource.needs != gone[name].resource.needs for name, one in came.items()):
        return None
    return with_resources(snapshot, [one.resource for one in came.values()])


def merge_snapshots(name: str, snapshots: Iterable[Snapshot]) -> tuple[Snapshot, tuple[Diagnostic, ...]]:
    """The union of several gateways' snapshots, for Envoys that serve all of them. Equal resources appear once.

    A gateway that means something else by a name than those before it (in the order of their names) is left out.
    """
    known: dict[tuple[str, str], Resource] = {}
    problems = []
    for snapshot in sorted(snapshots, key=lambda one: one.gateway):
        own = {_key(one): one for named in snapshot.resources.values() for one in named.values()}
        clash = next((one for key, one in own.items() if key in known and known[key] != one), None)
        if clash is None:
            known = {_key(one): one for one in _united((*known.values(), *own.values()))}
        else:
            problems.append(_problem("T123", clash, gateway=snapshot.gateway, group=name))
    return snapshot_of(name, known.values()), tuple(problems)


def _resource(item: NamedMessage, before: _Made | None) -> Resource:
    """The resource of a message. `before` is what has had its name."""
    own = item.message.SerializeToString(deterministic=True)
    # Fields that come twice are joined by whoever reads them, so what was serialised apart can follow as it is.
    body = b"".join((own, *(data for data, _ in item.rest)))
    content = (own, b"".join(digest for _, digest in item.rest)) if item.rest else (own,)
    type_url = _PREFIX + item.message.DESCRIPTOR.full_name
    life = (str(item.ttl).encode(),) if item.ttl else ()
    same = before is not None and before.item.needs is item.needs
    return Resource(
        type_url,
        item.name,
        body,
        content_version(*content, *life),
        item.origins,
        before.resource.needs if before is not None and same else tuple(sorted(set(item.needs))),
        item.ttl,
        item.on_demand,
        item.aliases,
    )


def _united(resources: Iterable[Resource]) -> list[Resource]:
    """Each resource once, with the origins of all that are equal to it. Different ones of one name stay."""
    known: dict[tuple[str, str], Resource] = {}
    different: list[Resource] = []
    for resource in resources:
        twin = known.setdefault(_key(resource), resource)
        if twin is resource:
            continue
        if twin != resource:
            different.append(resource)
        elif twin.origins != resource.origins:
            origins = tuple(sorted({*twin.origins, *resource.origins}))
            known[_key(resource)] = replace(twin, origins=origins)
    return [*known.values(), *different]


def _dangling(resources: Iterable[Resource], gone: set[tuple[str, str]]) -> Iterator[Diagnostic]:
    """References to what nothing made. What was left out has a diagnostic already."""
    resources = list(resources)
    known = {_key(resource) for resource in resources} | gone
    for resource in resources:
        for need in resource.needs:
            if need not in known:
                yield _problem("T121", resource, missing=_text(*need))


def _key(resource: Resource) -> tuple[str, str]:
    return resource.type_url, resource.name


def _text(type_url: str, name: str) -> str:
    return f"{_WORDS.get(type_url, type_url.removeprefix(_PREFIX))} '{name}'"


def _problem(code: str, resource: Resource, **words: str) -> Diagnostic:
    """A diagnostic at the first document that made the resource."""
    origin = resource.origins[0] if resource.origins else None
    subject, span = (str(origin.key), origin.span) if origin else ("", None)
    return diagnose(code, span, subject=subject, what=_text(*_key(resource)), **words)


__all__ = ["Check", "Memory", "NamedMessage", "build_snapshot", "merge_snapshots"]
