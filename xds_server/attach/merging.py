"""Policies of routes that are merged into the policy of their listener or Gateway (`mergeType`).

In: two policies of one kind. Out: one policy with the fields of both, where the nearer has the last word: objects are
joined field by field, lists are replaced, and the rules of rate limits are kept side by side. What only one of them
says keeps its own meaning, references in its own namespace included. If either is broken, so is the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from xds_server.attach.context import Reading
from xds_server.attach.index import Index
from xds_server.diagnostics import Diagnostic
from xds_server.features.contract import AnyFeature
from xds_server.graph import Setting
from xds_server.model.object import Object
from xds_server.spec import Spec
from xds_server.types import Key

_SIDE_BY_SIDE = {("rateLimit", "local", "rules"), ("rateLimit", "global", "rules")}
_BY_NAME = {("extAuth", "contextExtensions")}


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """One policy with the settings it means. `broken` says what is wrong with it; empty if nothing is."""

    item: Object
    settings: tuple[Setting, ...]
    broken: str = ""

    @property
    def merges(self) -> bool:
        """True if it is merged into the policy of the listener or Gateway above it."""
        return not self.item.broken and getattr(self.item.spec, "merge_type", None) is not None


@dataclass(slots=True)
class Merging:
    """Merges each pair of policies once, and remembers what was wrong."""

    features: Sequence[AnyFeature]
    index: Index
    made: dict[tuple[Key, Key], Policy] = field(default_factory=dict)
    problems: list[Diagnostic] = field(default_factory=list)

    def merge(self, child: Policy, parent: Policy) -> Policy:
        """The policy that counts where `child` is nearer than `parent`."""
        key = (child.item.key, parent.item.key)
        if key not in self.made:
            self.made[key] = self._merge(child, parent)
        return self.made[key]

    def _merge(self, child: Policy, parent: Policy) -> Policy:
        if child.broken or parent.broken:
            return Policy(child.item, (), child.broken or f"{parent.item.key}, which it is merged into, has errors")
        settings: list[Setting] = []
        failed: list[Diagnostic] = []
        for feature in self.features:
            fields = [one for kind, one in feature.carriers if kind == child.item.key.kind]
            own, theirs = (any(_written(policy, one) is not None for one in fields) for policy in (child, parent))
            if own and theirs:
                found, problems = self._joined(feature, fields, child, parent)
                settings += found
                failed += problems
            else:
                policy = child if own else parent
                settings += [one for one in policy.settings if one.feature == feature.name]
        self.problems += failed
        return Policy(child.item, tuple(settings), "; ".join(one.message for one in failed))

    def _joined(
        self, feature: AnyFeature, fields: list[str], child: Policy, parent: Policy
    ) -> tuple[list[Setting], list[Diagnostic]]:
        """The settings of a feature of which both say something."""
        origins = (*child.item.origins, *parent.item.origins)
        settings = []
        for name in fields:
            written = _join(_written(child, name), _written(parent, name), (name,))
            reading = Reading(child.item, (name,), self.index)
            spec = _parsed(child.item, name, written)
            if isinstance(spec, str):
                reading.problem("F103", reason=f"merged with {parent.item.key} it means nothing: {spec}")
            elif (value := feature.resolve(spec, reading)) is not None:
                settings.append(Setting(feature.name, value, origins))
            if reading.failed:
                return [], reading.problems
        return settings, []


def _written(policy: Policy, name: str) -> Any:
    return policy.item.document["spec"].get(name)


def _parsed(item: Object, name: str, written: Any) -> Spec | str:
    """One field of the kind's spec, or why it cannot be read."""
    kind = type(item.spec)
    targets = {key: value for key, value in item.document["spec"].items() if key in ("targetRef", "targetRefs")}
    try:
        whole = kind.model_validate({**targets, name: written})
    except ValidationError as error:
        return error.errors()[0]["msg"]
    attribute = next(key for key, info in kind.model_fields.items() if (info.alias or key) == name)
    value = getattr(whole, attribute)
    assert value is not None
    return value  # type: ignore[no-any-return]


def _join(own: Any, theirs: Any, path: tuple[str, ...]) -> Any:
    """JSON values, of which `own` is nearer."""
    if own is None or theirs is None:
        return theirs if own is None else own
    if path in _SIDE_BY_SIDE:
        return [*own, *theirs]
    if path in _BY_NAME:
        names = {one.get("name") for one in own}
        return [*own, *(one for one in theirs if one.get("name") not in names)]
    if isinstance(own, Mapping) and isinstance(theirs, Mapping):
        return {key: _join(own.get(key), theirs.get(key), (*path, key)) for key in {**theirs, **own}}
    return own
