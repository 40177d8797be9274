"""What is said about namespaces: labels and selectors of them, ReferenceGrant, Namespace.

In: what is written. Out: frozen models. Which namespaces there are is not known here.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from xds_server.spec import GroupName, KindName, NamespaceName, ObjectName, Spec
from xds_server.types import Key


class LabelRequirement(Spec):
    """One expression of a label selector."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _values_fit(self) -> LabelRequirement:
        if bool(self.values) != (self.operator in ("In", "NotIn")):
            raise ValueError(f"operator {self.operator} {'takes no' if self.values else 'needs'} 'values'")
        return self


class LabelSelector(Spec):
    """Labels and expressions, all of which must hold."""

    match_labels: dict[str, str] = {}
    match_expressions: tuple[LabelRequirement, ...] = ()

    def matches(self, labels: dict[str, str]) -> bool:
        """True if an object with these labels is selected."""
        for requirement in self.match_expressions:
            present = requirement.key in labels
            listed = labels.get(requirement.key) in requirement.values
            verdict = {"In": listed, "NotIn": not listed, "Exists": present, "DoesNotExist": not present}
            if not verdict[requirement.operator]:
                return False
        return all(labels.get(key) == value for key, value in self.match_labels.items())


class GrantFrom(Spec):
    """Who may refer."""

    group: GroupName
    kind: KindName
    namespace: NamespaceName


class GrantTo(Spec):
    """What may be referred to; without a name, every object of the kind."""

    group: GroupName
    kind: KindName
    name: ObjectName | None = None


class ReferenceGrantSpec(Spec):
    """Permits references into the namespace of the grant."""

    from_: Annotated[tuple[GrantFrom, ...], Field(alias="from", min_length=1, max_length=16)]
    to: Annotated[tuple[GrantTo, ...], Field(min_length=1, max_length=16)]

    def permits(self, source: Key, target: Key) -> bool:
        """True if `source` may refer to `target`, which is in the grant's namespace."""
        return any(
            (who.group, who.kind, who.namespace) == (source.group, source.kind, source.namespace) for who in self.from_
        ) and any(
            (what.group, what.kind) == (target.group, target.kind) and what.name in (None, target.name)
            for what in self.to
        )


class NamespaceSpec(Spec):
    """A Namespace says nothing but its labels."""
