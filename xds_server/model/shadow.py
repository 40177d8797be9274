"""Shadows: objects that are read and checked, but are not in force (label `cellway.dev/shadow`).

In: objects. Out: those in force and the shadows. A shadow may have the name of an object in force: it is then what shall
take its place one day.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from xds_server.diagnostics import Diagnostic, diagnose
from xds_server.memory import difference
from xds_server.model.object import Object
from xds_server.parts import in_parts

SHADOW_LABEL = "cellway.dev/shadow"


class Labels:
    """The objects that carry the label, kept from call to call."""

    def __init__(self) -> None:
        self._objects: Sequence[Object] = ()
        self._labelled: dict[int, Object] = {}

    def divide(self, objects: Iterable[Object]) -> tuple[Sequence[Object], tuple[Object, ...], tuple[Diagnostic, ...]]:
        """Objects in force, shadows, and what is wrong with labels: objects with such a one are in force."""
        every = in_parts(objects)
        now = difference(self._objects, every)
        self._objects = every
        for item in now.gone:
            self._labelled.pop(id(item), None)
        self._labelled |= {id(item): item for item in now.came if SHADOW_LABEL in item.meta.labels}
        if not self._labelled:
            return every, (), ()
        shadows = tuple(item for item in every if is_shadow(item))
        active = tuple(item for item in every if not is_shadow(item)) if shadows else every
        return active, shadows, tuple(_problem(item) for item in active if not _is_clear(item))


def is_shadow(item: Object) -> bool:
    """Whether an object is not in force."""
    return item.meta.labels.get(SHADOW_LABEL) == "true"


def _is_clear(item: Object) -> bool:
    return item.meta.labels.get(SHADOW_LABEL, "false") in ("true", "false")


def _problem(item: Object) -> Diagnostic:
    """A label that says neither true nor false."""
    at = item.source.value("metadata", "labels", SHADOW_LABEL)
    return diagnose("A161", at, subject=str(item.key), value=item.meta.labels[SHADOW_LABEL])
