"""What differs between two sets of documents: objects that came, went or changed, leaf by leaf.

In: documents with their places, before and after. Out: `ObjectChange`s in the order of objects. Files, comments, the order of
keys and documents, and what only a cluster writes (`status`) make no difference. Of objects that are written twice the first
counts, as it does when they are compiled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from xds_server.changes.leaves import ABSENT, Leaf, compare
from xds_server.changes.secrets import Hasher
from xds_server.diagnostics import Path, Span
from xds_server.load.document import Document
from xds_server.types import DEFAULT_NAMESPACE

What = Literal["added", "removed", "changed"]
_WRITTEN_BY_CLUSTERS = ("generation", "resourceVersion", "uid", "managedFields", "selfLink")


@dataclass(frozen=True, slots=True)
class Change:
    """A leaf, with its places in the files."""

    leaf: Leaf
    old_place: Span | None
    new_place: Span | None


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """One object. `name` is `KIND NAMESPACE/NAME`; a place is None where the object is not there."""

    name: str
    what: What
    old_place: Span | None = None
    new_place: Span | None = None
    changes: tuple[Change, ...] = ()


def object_changes(old: Iterable[Document], new: Iterable[Document], hasher: Hasher) -> tuple[ObjectChange, ...]:
    """All objects that differ."""
    before, after = _by_identity(old), _by_identity(new)
    found = []
    for key in sorted(before.keys() | after.keys()):
        one, other = before.get(key), after.get(key)
        if one is None or other is None:
            found.append(_alone(_name(key), one, other))
        elif one.value != other.value:
            leaves = compare(hasher.document(_meant(one.value)), hasher.document(_meant(other.value)))
            changes = tuple(
                Change(leaf, _at(one, leaf.old, leaf.old_at), _at(other, leaf.new, leaf.new_at)) for leaf in leaves
            )
            if changes:
                places = one.positions.start, other.positions.start
                found.append(ObjectChange(_name(key), "changed", *places, changes))
    return tuple(found)


Identity = tuple[str, str, str, str]


def _alone(name: str, old: Document | None, new: Document | None) -> ObjectChange:
    if old is not None:
        return ObjectChange(name, "removed", old.positions.start)
    assert new is not None
    return ObjectChange(name, "added", None, new.positions.start)


def _by_identity(documents: Iterable[Document]) -> dict[Identity, Document]:
    found: dict[Identity, Document] = {}
    for one in sorted(documents, key=lambda document: document.positions.start):
        found.setdefault(_identity(one.value), one)
    return found


def _identity(value: Mapping[str, Any]) -> Identity:
    metadata = value.get("metadata")
    meta: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else {}
    group = str(value.get("apiVersion", "")).rpartition("/")[0]
    namespace = str(meta.get("namespace") or DEFAULT_NAMESPACE)
    return str(value.get("kind", "")), namespace, str(meta.get("name", "")), group


def _name(key: Identity) -> str:
    kind, namespace, name, group = key
    cluster_wide = group == "cellway.dev" or kind in ("GatewayClass", "Namespace")
    return f"{kind} {name}" if cluster_wide else f"{kind} {namespace}/{name}"


def _meant(value: Mapping[str, Any]) -> dict[str, Any]:
    meant = {name: one for name, one in value.items() if name != "status"}
    metadata = meant.get("metadata")
    if isinstance(metadata, Mapping):
        kept = {name: one for name, one in metadata.items() if name not in _WRITTEN_BY_CLUSTERS}
        if kept.get("namespace") == DEFAULT_NAMESPACE:
            del kept["namespace"]
        meant["metadata"] = kept
    return meant


def _at(document: Document, value: Any, path: Path) -> Span | None:
    return None if value is ABSENT else document.positions.value(path)
