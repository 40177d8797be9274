"""Layers of written JSON -> one value in which every leaf knows the place that set it.

In: layers, weakest first, each with the positions of its document. Out: the merged value and its positions. Mappings
are merged key by key; anything else, lists too, replaces what was there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from xds_server.diagnostics import Path, Positions, Span
from xds_server.model.object import Object
from xds_server.types import Origin


@dataclass(frozen=True, slots=True)
class Layer:
    """A piece of a document: the value, where it stands in it, and what kind of layer it is (`class default`)."""

    value: Mapping[str, Any]
    positions: Positions
    path: Path
    origin: Origin
    name: str = ""


@dataclass(slots=True)
class Merged:
    """The result: the value, the places of its nodes, and whose documents are in it."""

    value: dict[str, Any] = field(default_factory=dict)
    values: dict[Path, Span] = field(default_factory=dict)
    keys: dict[Path, Span] = field(default_factory=dict)
    origins: dict[Origin, None] = field(default_factory=dict)

    def remove(self, path: tuple[str | int, ...]) -> None:
        """Take out what stands at a path, if it is there."""
        holder: Any = self.value
        for step in path[:-1]:
            holder = holder.get(step) if isinstance(holder, dict) else None
        if isinstance(holder, dict):
            holder.pop(path[-1], None)
            _forget(self, path)


def piece(item: Object, path: Path, name: str = "") -> Layer:
    """What an object sets at a path, as a layer; empty if it sets nothing there."""
    value: Any = item.document
    for step in path:
        value = value.get(step, {}) if isinstance(value, Mapping) else {}
    origin = Origin(item.key, item.source.value(*path))
    return Layer(value if isinstance(value, Mapping) else {}, item.source.positions, path, origin, name)


def merge_layers(layers: Iterable[Layer]) -> Merged:
    """Merge layers, the weakest first."""
    merged = Merged()
    for layer in layers:
        if layer.value:
            merged.origins[layer.origin] = None
        _merge(merged, merged.value, layer.value, (), layer)
    return merged


def override_layers(merged: Merged, layers: Iterable[Layer], *, whole: bool) -> None:
    """Merge layers over a result. With `whole`, a field that they set is theirs alone: nothing weaker is left in it."""
    strong = [layer for layer in layers if layer.value]
    for field_name in dict.fromkeys(key for layer in strong for key in layer.value) if whole else ():
        merged.value.pop(field_name, None)
        _forget(merged, (field_name,))
    for layer in strong:
        merged.origins[layer.origin] = None
        _merge(merged, merged.value, layer.value, (), layer)


def put_over(merged: Merged, strong: Merged) -> None:
    """Merge a result over another."""
    origin = next(iter(strong.origins), None)
    if origin is not None:
        positions = Positions(origin.span, strong.values, strong.keys)
        _merge(merged, merged.value, strong.value, (), Layer(strong.value, positions, (), origin))
    merged.origins |= strong.origins


def _merge(merged: Merged, target: dict[str, Any], value: Mapping[str, Any], path: Path, layer: Layer) -> None:
    for key, item in value.items():
        here = (*path, key)
        known = target.get(key)
        if isinstance(item, Mapping) and isinstance(known, dict):
            _merge(merged, known, item, here, layer)
            continue
        if key in target:
            _forget(merged, here)
        target[key] = _copy(item)
        _place(merged, item, here, layer)


def _forget(merged: Merged, path: Path) -> None:
    """What is replaced leaves no places behind: a field that the new value lacks is missing there, not here."""
    for places in (merged.values, merged.keys):
        for known in [one for one in places if one[: len(path)] == path]:
            del places[known]


def _copy(value: Any) -> Any:
    """Own mappings and lists, since later layers are merged into them."""
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list | tuple) else value


def _place(merged: Merged, value: Any, path: Path, layer: Layer) -> None:
    source = (*layer.path, *path)
    merged.values[path] = layer.positions.value(source)
    merged.keys[path] = layer.positions.key(source)
    if isinstance(value, Mapping):
        for key, item in value.items():
            _place(merged, item, (*path, key), layer)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            _place(merged, item, (*path, number), layer)
