"""Releases: a cell with all that is attached to it, as it was once. They are content: whoever has one has all of it.

In: objects. Out: what belongs to a release and what it is called. Which stage has which release is told, not decided
here; nothing is read or written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from xds_server.diagnostics import Diagnostic
from xds_server.model.cell_kinds import WORKING_COPY, CellBindingSpec
from xds_server.model.gateway_api import RouteSpec
from xds_server.model.object import Object
from xds_server.model.policies import Targets
from xds_server.types import CELLWAY_GROUP, CORE_GROUP, ENVOY_GATEWAY_GROUP, Key

_ATTACHED = {(ENVOY_GATEWAY_GROUP, "HTTPRouteFilter"), (ENVOY_GATEWAY_GROUP, "Backend"), (CORE_GROUP, "ConfigMap")}
_DIGITS = 7


@dataclass(frozen=True, slots=True)
class Releases:
    """Stored releases by name, and what each stage has of each cell: a release's name by stage and cell.

    `problems`: what is wrong with stored releases, by name. Each was fine once, but perhaps not for this version of Cellway.
    `digests`: the whole hash of the content of each, of which its name has the beginning.
    """

    stored: Mapping[str, tuple[Object, ...]] = field(default_factory=dict)
    live: Mapping[tuple[str, str], str] = field(default_factory=dict)
    problems: Mapping[str, tuple[Diagnostic, ...]] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)

    def has(self, name: str | None, cell: str) -> bool:
        """Whether there is a release of this name and it is one of this cell."""
        return name is not None and any(item.key == cell_key(cell) for item in self.stored.get(name, ()))

    def of(self, spec: CellBindingSpec, *, first: bool) -> str:
        """The release that a binding means; empty for the working copy, and where there is none."""
        if spec.release == WORKING_COPY or (spec.release is None and first):
            return ""
        live = self.live.get((spec.stage, spec.cell))
        return next((name for name in (spec.release, live) if name and self.has(name, spec.cell)), "")


NO_RELEASES = Releases()


def cell_key(name: str) -> Key:
    """The identity of a cell."""
    return Key(CELLWAY_GROUP, "Cell", "", name)


def is_released(item: Object, cell: str) -> bool:
    """True for what belongs to a release of a cell.

    That is the Cell and, in its namespace, routes, policies, filters, backends and ConfigMaps. Secrets and addresses
    (Services, say) belong to a stage.
    """
    if item.key == cell_key(cell):
        return True
    kind = (item.key.group, item.key.kind)
    return item.namespace == cell and (kind in _ATTACHED or isinstance(item.spec, RouteSpec | Targets))


def release_of(objects: Iterable[Object], cell: str) -> tuple[Object, ...]:
    """What a release of a cell would hold, in the order of identities; empty if there is no such cell."""
    found = sorted((item for item in objects if is_released(item, cell)), key=lambda item: item.key)
    return tuple(found) if any(item.key == cell_key(cell) for item in found) else ()


def release_name(release: Iterable[Object], cell: str, known: Releases = NO_RELEASES) -> str:
    """`<cell>-<hash>`: the same for the same content, wherever and in whatever order it is written.

    Where a known release of another content has the name, there is more of the hash in it.
    """
    digest = digest_of(map(released_document, release))
    names = (f"{cell}-{digest[:digits]}" for digits in range(_DIGITS, len(digest)))
    return next((name for name in names if known.digests.get(name, digest) == digest), f"{cell}-{digest}")


def name_of(documents: Iterable[Mapping[str, Any]], cell: str) -> str:
    """The name of a release with these documents, where no other one has it."""
    return f"{cell}-{digest_of(documents)[:_DIGITS]}"


def digest_of(documents: Iterable[Mapping[str, Any]]) -> str:
    """The hash of documents, whatever their order."""
    texts = sorted(json.dumps(one, sort_keys=True, ensure_ascii=False, separators=(",", ":")) for one in documents)
    return hashlib.sha256(chr(0).join(texts).encode()).hexdigest()


def released_document(item: Object) -> dict[str, Any]:
    """An object as a release has it: without status and generation, which say nothing of what it means."""
    metadata: dict[str, Any] = {"name": item.name}
    metadata |= {"namespace": item.namespace} if item.namespace else {}
    metadata |= {"labels": dict(item.meta.labels)} if item.meta.labels else {}
    metadata |= {"annotations": dict(item.meta.annotations)} if item.meta.annotations else {}
    metadata |= {"creationTimestamp": item.meta.created} if item.meta.created else {}
    dropped = ("apiVersion", "kind", "metadata", "status")
    rest = {key: value for key, value in item.document.items() if key not in dropped}
    return {"apiVersion": item.document.get("apiVersion"), "kind": item.key.kind, "metadata": metadata, **rest}
