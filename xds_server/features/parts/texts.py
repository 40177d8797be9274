"""A text that stands in the policy itself or in a ConfigMap.

In: `{type: Inline, inline}` or `{type: ValueRef, valueRef: {name}}`. Out: the text, or a reported problem: a field
that does not fit the type, a ConfigMap that is not there or empty.
"""

from __future__ import annotations

from typing import Literal

from xds_server.features.contract import Context
from xds_server.spec import ObjectName, Spec


class TextRefSpec(Spec):
    """A ConfigMap in the namespace of the object that refers to it."""

    group: Literal[""] = ""
    kind: Literal["ConfigMap"] = "ConfigMap"
    name: ObjectName


class TextSpec(Spec):
    """The text, or where it is."""

    type: Literal["Inline", "ValueRef"] = "Inline"
    inline: str | None = None
    value_ref: TextRefSpec | None = None


def resolve_text(spec: TextSpec, key: str, context: Context, *path: str | int) -> str | None:
    """The text of a spec at `path`. Of a ConfigMap it is the value of `key`, or the first one. None: reported."""
    wanted, other = (spec.inline, spec.value_ref) if spec.type == "Inline" else (spec.value_ref, spec.inline)
    if wanted is None or other is not None:
        context.problem("F103", *path, reason=f"type {spec.type} needs its own field and no other")
        return None
    if spec.value_ref is None:
        return spec.inline
    data = context.config_map(spec.value_ref.name, None, *path, "valueRef")
    if data is None:
        return None
    text = data.get(key, next(iter(data.values()), None))
    if text is None:
        context.problem("F103", *path, "valueRef", reason=f"ConfigMap {spec.value_ref.name} holds no text")
    return text
