"""Two states of everything, compared: what was written, and what Envoys would get.

In: documents and compilations, before and after, and a hasher. Out: a view as JSON. It reads nothing and knows no server.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xds_server.changes.objects import object_changes
from xds_server.changes.resources import resource_changes
from xds_server.changes.secrets import Hasher
from xds_server.changes.view import objects_view, resources_view
from xds_server.compile import Compiled
from xds_server.load.document import Document
from xds_server.load.objects import key_of
from xds_server.model.shadow import SHADOW_LABEL
from xds_server.snapshot.resource import Snapshot

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Side:
    """What is written, and what it compiles to."""

    documents: tuple[Document, ...]
    compiled: Compiled

    @property
    def snapshots(self) -> dict[str, Snapshot]:
        """What each gateway gets; groups of gateways get nothing of their own."""
        return _snapshots(self.compiled)


def compared(old: Side, new: Side, hasher: Hasher, *, xds: bool) -> Json:
    """What differs between two sides."""
    view: Json = {"objects": objects_view(object_changes(old.documents, new.documents, hasher))}
    if xds:
        view["resources"] = resources_view(resource_changes(old.snapshots, new.snapshots, hasher))
    return {"same": not any(view.values()), **view}


def shadowed(side: Side, hasher: Hasher, *, xds: bool) -> Json:
    """What shadows would change, were they in force."""
    shadows = [one for one in side.documents if _is_shadow(one)]
    active = [one for one in side.documents if not _is_shadow(one)]
    names = {key_of(one.value) for one in shadows}
    replaced = [one for one in active if key_of(one.value) in names]
    view: Json = {"objects": objects_view(object_changes(replaced, shadows, hasher))}
    if xds:
        after = _snapshots(side.compiled.would) if side.compiled.would is not None else side.snapshots
        view["resources"] = resources_view(resource_changes(side.snapshots, after, hasher))
    return {"same": not any(view.values()), **view}


def _is_shadow(document: Document) -> bool:
    metadata = document.value.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    return isinstance(labels, dict) and labels.get(SHADOW_LABEL) == "true"


def _snapshots(compiled: Compiled) -> dict[str, Snapshot]:
    return {one.name: compiled.snapshots[one.name] for one in compiled.gateways if one.name in compiled.snapshots}
