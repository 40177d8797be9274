"""All objects by identity and kind, oldest first, and the references that are permitted between namespaces.

In: lowered objects. Out: look-ups, the same whatever order the objects came in. It decides nothing but which
of two objects of one identity counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from xds_server.diagnostics import Diagnostic, diagnose
from xds_server.model.namespaces import LabelSelector, ReferenceGrantSpec
from xds_server.model.object import Object
from xds_server.model.policies import Targets
from xds_server.types import CORE_GROUP, DISCOVERY_GROUP, GATEWAY_GROUP, Fetched, Key

SERVICE_NAME_LABEL = "kubernetes.io/service-name"


def age(item: Object) -> tuple[str, str, str]:
    """Sort key, oldest first. Without a creation time objects are equally old, and names decide."""
    return (item.meta.created or "9999", item.namespace, item.name)


def unique(objects: Iterable[Object]) -> tuple[tuple[Object, ...], tuple[Diagnostic, ...]]:
    """One object for each identity: the one written first by file and line. The others are reported."""
    chosen: dict[Key, Object] = {}
    problems = []
    for item in sorted(objects, key=lambda item: (item.key, item.source.positions.start)):
        known = chosen.setdefault(item.key, item)
        if known is not item:
            place = item.source.value("metadata", "name")
            first = known.source.positions.start
            problems.append(diagnose("A101", place, subject=str(item.key), name=item.key, first=first))
    return tuple(chosen.values()), tuple(problems)


@dataclass(frozen=True, slots=True)
class Outside:
    """What is known beside objects: documents of the web by URL, files that tell where addresses are, folders for logs."""

    fetched: Mapping[str, Fetched]
    databases: Mapping[str, str]
    log_folders: tuple[str, ...] = ()


class Namespaces(Protocol):
    """Which namespaces are meant: `All`, `Same`, those of a `Selector`, or None of them."""

    @property
    def from_(self) -> str: ...
    @property
    def selector(self) -> LabelSelector | None: ...


@dataclass(frozen=True, slots=True)
class Index:
    """Look-ups over one set of objects."""

    by_key: Mapping[Key, Object]
    by_kind: Mapping[tuple[str, str], tuple[Object, ...]]
    slices: Mapping[tuple[str, str], tuple[Object, ...]]
    """EndpointSlices by namespace and name of their Service."""
    tls_policies: Mapping[tuple[Key, str], Object]
    """The oldest BackendTLSPolicy of each target and section (a port; empty for the whole of it), a cell's own first."""
    fetched: Mapping[str, Fetched] = field(default_factory=dict)
    """Documents of the web by URL."""
    databases: Mapping[str, str] = field(default_factory=dict)
    """Files that tell where addresses are, by what they tell."""
    log_folders: tuple[str, ...] = ()
    """Folders in which access logs may be written."""
    wanted: set[str] = field(default_factory=set)
    """The URLs of those that were looked for, known or not: filled while features read their specs."""

    def of_kind(self, group: str, kind: str) -> tuple[Object, ...]:
        """All objects of a kind, oldest first."""
        return self.by_kind.get((group, kind), ())

    def get(self, group: str, kind: str, namespace: str, name: str) -> Object | None:
        """One object."""
        return self.by_key.get(Key(group, kind, namespace, name))

    def labels_of_namespace(self, name: str) -> dict[str, str]:
        """A namespace's labels; the one with its name is always there, as in Kubernetes."""
        item = self.get(CORE_GROUP, "Namespace", "", name)
        return {"kubernetes.io/metadata.name": name, **(item.meta.labels if item else {})}

    def selects(self, where: Namespaces, namespace: str, own: str) -> bool:
        """True if `where`, written in the namespace `own`, means this namespace."""
        if where.from_ == "Selector":
            return where.selector is not None and where.selector.matches(self.labels_of_namespace(namespace))
        return where.from_ == "All" or (where.from_ == "Same" and namespace == own)

    def permitted(self, source: Key, target: Key) -> bool:
        """True if `source` may refer to `target`: same namespace, or a ReferenceGrant in the target's."""
        if source.namespace == target.namespace:
            return True
        return any(
            grant.spec.permits(source, target)
            for grant in self.of_kind(GATEWAY_GROUP, "ReferenceGrant")
            if grant.namespace == target.namespace and isinstance(grant.spec, ReferenceGrantSpec)
        )


def build_index(objects: Iterable[Object], given: Outside | None = None) -> Index:
    """Index objects of different identities, and documents of the web."""
    by_kind: dict[tuple[str, str], list[Object]] = defaultdict(list)
    slices: dict[tuple[str, str], list[Object]] = defaultdict(list)
    tls_policies: dict[tuple[Key, str], Object] = {}
    ordered = sorted(objects, key=age)
    for item in ordered:
        by_kind[item.key.group, item.key.kind].append(item)
        if (item.key.group, item.key.kind) == (DISCOVERY_GROUP, "EndpointSlice"):
            slices[item.namespace, item.meta.labels.get(SERVICE_NAME_LABEL, "")].append(item)
        if (item.key.group, item.key.kind) == (GATEWAY_GROUP, "BackendTLSPolicy"):
            assert isinstance(item.spec, Targets)
            for target in item.spec.targets:
                key = Key(target.group, target.kind, item.namespace, target.name)
                place = (key, target.section_name or "")
                if place not in tls_policies or (item.derived and not tls_policies[place].derived):
                    tls_policies[place] = item
    return Index(
        {item.key: item for item in ordered},
        {kind: tuple(items) for kind, items in by_kind.items()},
        {service: tuple(items) for service, items in slices.items()},
        tls_policies,
        given.fetched if given else {},
        given.databases if given else {},
        given.log_folders if given else (),
    )
