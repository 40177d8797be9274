"""Policies of routes that are merged into the policy of their listener or Gateway (`mergeType`).

In: two policies of one kind. Out: one policy with the fields of both, where the nearer has the last word: objects are
joined field by field, lists and references are replaced, and the rules of rate limits are kept side by side. Whoever
wrote a reference, it is looked up in their namespace and with their permissions. If either is broken, so is the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from xds_server.attach.context import Written
from xds_server.attach.index import Index
from xds_server.attach.memory import Recall
from xds_server.attach.settings import settings_of
from xds_server.diagnostics import Diagnostic
from xds_server.features.contract import AnyFeature
from xds_server.graph import Setting
from xds_server.memory import Slot
from xds_server.model.object import Object
from xds_server.model.policies import MergingTargets, Targets
from xds_server.spec import Spec
from xds_server.types import Key, Path

_SIDE_BY_SIDE = {("rateLimit", "local", "rules"), ("rateLimit", "global", "rules")}
_ATTACHED_BY = frozenset(info.alias or name for name, info in MergingTargets.model_fields.items())
_BY_NAME = {("extAuth", "contextExtensions")}
_REFERENCE = {"group", "kind", "namespace", "name", "port", "weight", "fallback"}
"""What refers to one object is one value: half of each of two references would lead to a third object."""


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """One policy with the settings it means. `broken` says what is wrong with it; empty if nothing is."""

    item: Object
    settings: tuple[Setting, ...]
    broken: str = ""

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields that it sets."""
        written = self.item.document.get("spec")
        return tuple(name for name in written if name not in _ATTACHED_BY) if isinstance(written, Mapping) else ()

    @property
    def merges(self) -> bool:
        """True if it is merged into the policy of the listener or Gateway above it."""
        return not self.item.broken and getattr(self.item.spec, "merge_type", None) is not None


@dataclass(slots=True)
class Merging:
    """Merges each pair of policies once, and remembers what was wrong."""

    features: Sequence[AnyFeature]
    index: Index
    recall: Recall
    made: set[tuple[Key, Key]] = field(default_factory=set)
    """The child and the parent of each pair."""
    done: dict[Slot, Policy] = field(default_factory=dict)
    problems: list[Diagnostic] = field(default_factory=list)
    asked: list[tuple[Policy, Policy, Policy]] = field(default_factory=list)
    """Child, parent and result of each time that somebody asked, for who remembers what he did with it."""

    def merge(self, child: Policy, parent: Policy) -> Policy:
        """The policy that counts where `child` is nearer than `parent`."""
        pair = (child.item.key, parent.item.key)
        slot = ("merged", *pair, child.broken, parent.broken)
        if slot not in self.done:
            given = (child.item, child.settings, parent.item, parent.settings)
            merged, problems = self.recall(slot, given, lambda seen: _Merging(self.features, seen).both(child, parent))
            self.done[slot] = merged
            self.made.add(pair)
            self.problems += problems
        self.asked.append((child, parent, self.done[slot]))
        return self.done[slot]


@dataclass(slots=True)
class _Merging:
    """One pair of policies."""

    features: Sequence[AnyFeature]
    index: Index
    problems: list[Diagnostic] = field(default_factory=list)

    def both(self, child: Policy, parent: Policy) -> tuple[Policy, tuple[Diagnostic, ...]]:
        """The policy that counts, and what is wrong with it."""
        return self._merge(child, parent), tuple(self.problems)

    def _merge(self, child: Policy, parent: Policy) -> Policy:
        if child.broken or parent.broken:
            return Policy(child.item, (), child.broken or f"{parent.item.key}, which it is merged into, has errors")
        kind = child.item.key.kind
        own, theirs = _written(child), _written(parent)
        both = own.keys() & theirs.keys()
        joining = _Joining()
        joined = {name: joining.join(own[name], theirs[name], (name,)) for name in both}
        spec = _parsed(child.item, joined)
        if isinstance(spec, str):
            problem = child.item.diagnose("F103", reason=f"merged with {parent.item.key} it means nothing: {spec}")
            self.problems.append(problem)
            return Policy(child.item, (), problem.message)
        whole = _parsed(child.item, {**theirs, **own, **joined})
        for _, reason in whole.conflicts() if isinstance(whole, Targets) else ():
            problem = child.item.diagnose("F103", reason=f"merged with {parent.item.key}: {reason}")
            self.problems.append(problem)
            return Policy(child.item, (), problem.message)
        shared = [one for one in self.features if any((kind, name) in one.carriers for name in both)]
        written = Written(child.item, {path: (parent.item, place) for path, place in joining.theirs.items()})
        found, problems, failed = settings_of(written, kind, spec, (), shared, self.index)
        if failed:
            self.problems += problems
            return Policy(child.item, (), "; ".join(one.message for one in problems))
        origins = (*child.item.origins, *parent.item.origins)
        names = {one.name for one in shared}
        settings = [replace(one, origins=origins) for one in found]
        settings += [one for policy in (child, parent) for one in policy.settings if one.feature not in names]
        return Policy(child.item, tuple(settings))


def _written(policy: Policy) -> dict[str, Any]:
    """The fields of a policy's spec that say something, without what it is attached to."""
    spec = policy.item.document["spec"]
    return {name: value for name, value in spec.items() if value is not None and name not in _ATTACHED_BY}


def _parsed(item: Object, fields: Mapping[str, Any]) -> Spec | str:
    """These fields as the spec of a policy with the targets of `item`, or why they cannot be read."""
    targets = {name: value for name, value in item.document["spec"].items() if name in _ATTACHED_BY}
    try:
        return type(item.spec).model_validate({**targets, **fields})
    except ValidationError as error:
        return error.errors()[0]["msg"]


@dataclass(slots=True)
class _Joining:
    """JSON values of two policies, joined. `theirs`: what only the farther one wrote, with its place there."""

    theirs: dict[Path, Path] = field(default_factory=dict)

    def join(self, own: Any, theirs: Any, path: Path) -> Any:
        """What both say at a path, of which `own` is nearer."""
        if own is None:
            self.theirs[path] = path
            return theirs
        if theirs is None:
            return own
        if path in _SIDE_BY_SIDE:
            return self._append(own, theirs, range(len(theirs)), path)
        if path in _BY_NAME:
            names = {one.get("name") for one in own}
            return self._append(own, theirs, [n for n, one in enumerate(theirs) if one.get("name") not in names], path)
        if isinstance(own, Mapping) and isinstance(theirs, Mapping) and not {*own, *theirs} <= _REFERENCE:
            return {key: self.join(own.get(key), theirs.get(key), (*path, key)) for key in {**theirs, **own}}
        return own

    def _append(self, own: Any, theirs: Any, numbers: Iterable[int], path: Path) -> list[Any]:
        joined = list(own)
        for number in numbers:
            self.theirs[*path, len(joined)] = (*path, number)
            joined.append(theirs[number])
        return joined
