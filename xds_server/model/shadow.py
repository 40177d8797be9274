"""Shadows: objects that are read and checked, but are not in force (label `cellway.dev/shadow`).

In: objects. Out: those in force and the shadows. A shadow may have the name of an object in force: it is then what shall
take its place one day.
"""

from __future__ import annotations

from collections.abc import Iterable

from xds_server.diagnostics import Diagnostic, diagnose
from xds_server.model.object import Object

SHADOW_LABEL = "cellway.dev/shadow"


def divide(objects: Iterable[Object]) -> tuple[tuple[Object, ...], tuple[Object, ...]]:
    """Objects in force, and shadows."""
    every = tuple(objects)
    shadows = tuple(item for item in every if is_shadow(item))
    return (tuple(item for item in every if not is_shadow(item)) if shadows else every), shadows


def is_shadow(item: Object) -> bool:
    """Whether an object is not in force."""
    return item.meta.labels.get(SHADOW_LABEL) == "true"


def labels_checked(objects: Iterable[Object]) -> list[Diagnostic]:
    """Labels that say neither true nor false; such objects are in force."""
    return [
        diagnose("A161", item.source.value("metadata", "labels", SHADOW_LABEL), subject=str(item.key), value=value)
        for item in objects
        if (value := item.meta.labels.get(SHADOW_LABEL, "false")) not in ("true", "false")
    ]
