"""Who set what: for every leaf of a section's settings the layer that counts there, and those that lost.

In: the layers of a section, the weakest first, and the overrides of its classes. Out: `SectionSettings`, and what a
class took away from policies and bindings. Nothing is merged here; that a leaf counts follows from the same layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xds_server.cells.merge import Layer, Merged
from xds_server.diagnostics import Path, Span
from xds_server.types import Key


@dataclass(frozen=True, slots=True)
class Setter:
    """One that sets a leaf. `layer` is `class default`, `policy on cell`, `policy on section`, `binding` and the like."""

    layer: str
    key: Key
    span: Span
    value: Any

    def __str__(self) -> str:
        return f"{self.layer}: {self.key} ({self.span})"


@dataclass(frozen=True, slots=True)
class Leaf:
    """One value that counts, who set it, and whose value of it does not count: the weakest first."""

    path: Path
    setter: Setter
    overridden: tuple[Setter, ...] = ()

    @property
    def value(self) -> Any:
        """The value that counts."""
        return self.setter.value


@dataclass(frozen=True, slots=True)
class SectionSettings:
    """What counts in one section of a cell for one field (`traffic`, `security`).

    `closed_by` is the broken policy for which its routes answer 500; None if there is none.
    """

    cell: str
    stage: str
    section: str
    field: str
    leaves: tuple[Leaf, ...]
    closed_by: Key | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """A leaf of an object that the overrides of a class take away."""

    path: Path
    setter: Setter
    by: Setter


def trace(merged: Merged, weak: Sequence[Layer], strong: Sequence[Layer]) -> tuple[Leaf, ...]:
    """The leaves of a merged value. `weak` and `strong` are the layers it was merged of."""
    found = []
    for path, _ in leaves(merged.value):
        setters = [setter for layer in (*weak, *strong) for setter in _setters(layer, path)]
        winner = max(range(len(setters)), key=lambda place: (setters[place].exact, place))
        others = tuple(one.setter for place, one in enumerate(setters) if place != winner)
        found.append(Leaf(path, setters[winner].setter, others))
    return tuple(found)


def taken(merged: Merged, weak: Iterable[Layer], strong: Sequence[Layer], *, whole: bool) -> Iterator[Taken]:
    """What layers of a cell say and a class says otherwise. `whole`: a class owns the whole of a field that it sets."""
    for layer in weak:
        for path, value in leaves(layer.value):
            by = [one for top in strong for one in _owner(top, path, whole=whole)]
            if by and _at(merged.value, path) != (True, value):
                yield Taken(path, _setter(layer, path, value), by[-1])


def leaves(value: Mapping[str, Any], path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every leaf with its path: what is no mapping, and mappings with nothing in them."""
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from leaves(item, (*path, key))
        else:
            yield (*path, key), item


@dataclass(frozen=True, slots=True)
class _Said:
    """A setter, and whether it says something of exactly this leaf."""

    setter: Setter
    exact: bool


def _setter(layer: Layer, path: Path, value: Any) -> Setter:
    return Setter(layer.name, layer.origin.key, layer.positions.value((*layer.path, *path)), value)


def _setters(layer: Layer, path: Path) -> Iterator[_Said]:
    """What a layer says of a leaf, or of one in whose place the leaf or its mapping stands."""
    for depth in range(1, len(path) + 1):
        there, value = _at(layer.value, path[:depth])
        if there and (depth == len(path) or not isinstance(value, Mapping)):
            yield _Said(_setter(layer, path[:depth], value), depth == len(path))


def _owner(layer: Layer, path: Path, *, whole: bool) -> Iterator[Setter]:
    """The setter in an override because of which a weaker leaf at `path` does not count."""
    if whole and path[0] in layer.value:
        yield _setter(layer, path[:1], layer.value[str(path[0])])
        return
    for depth in range(1, len(path) + 1):
        there, value = _at(layer.value, path[:depth])
        if there and (depth == len(path) or not isinstance(value, Mapping)):
            yield _setter(layer, path[:depth], value)


def _at(value: Any, path: Path) -> tuple[bool, Any]:
    for step in path:
        if not isinstance(value, Mapping) or step not in value:
            return False, None
        value = value[str(step)]
    return True, value
