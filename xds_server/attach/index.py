"""All objects by identity and kind, oldest first, and the references that are permitted between namespaces.

In: lowered objects. Out: look-ups, the same whatever order the objects came in. It decides nothing but which
of two objects of one identity counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from xds_server.attach.reach import Reach
from xds_server.diagnostics import Diagnostic, diagnose
from xds_server.memory import EVERY, Ranking, Read, Watched, changes, difference
from xds_server.model.namespaces import LabelSelector, ReferenceGrantSpec
from xds_server.model.object import Object
from xds_server.model.policies import Targets
from xds_server.parts import in_parts
from xds_server.types import CORE_GROUP, DISCOVERY_GROUP, GATEWAY_GROUP, CodeFile, Fetched, Key

SERVICE_NAME_LABEL = "kubernetes.io/service-name"


def age(item: Object) -> tuple[str, str, str]:
    """Sort key, oldest first. Without a creation time objects are equally old, and names decide."""
    return (item.meta.created or "9999", item.namespace, item.name)


def identity(item: Object) -> tuple[str, str, str, str]:
    """Sort key by API group, kind, namespace and name."""
    key = item.key
    return (key.group, key.kind, key.namespace, key.name)


def _place(item: Object) -> tuple[str | int, ...]:
    """Sort key by identity, then by file and line."""
    start = item.source.positions.start
    return (*identity(item), start.file, start.line, start.column)


class Unique:
    """One object for each identity, kept from call to call."""

    def __init__(self) -> None:
        self._given: Sequence[Object] = ()
        self._ranking: Ranking[Object] = Ranking(_place)
        self._keys: set[Key] = set()
        self._found: tuple[Sequence[Object], tuple[Diagnostic, ...]] = (), ()

    @property
    def keys(self) -> Collection[Key]:
        """The identities of all objects of the last call."""
        return self._keys

    def update(self, objects: Iterable[Object]) -> tuple[Sequence[Object], tuple[Diagnostic, ...]]:
        """The one written first by file and line, in the order of identities. The others are reported."""
        given = in_parts(objects)
        now = difference(self._given, given)
        self._given = given
        if not now.gone and not now.came and len(given) == len(self._found[0]):
            return self._found
        self._keys.difference_update([item.key for item in now.gone])
        self._keys.update([item.key for item in now.came])
        if not self._found[1] and len(self._keys) == len(given):
            self._ranking.change(now.gone, now.came)
            self._found = self._ranking.items, ()
        else:
            self._found = unique(given)
            self._ranking.fill(self._found[0])
            self._keys = {item.key for item in self._found[0]}
        return self._found


def unique(objects: Iterable[Object]) -> tuple[tuple[Object, ...], tuple[Diagnostic, ...]]:
    """One object for each identity: the one written first by file and line. The others are reported."""
    chosen: dict[Key, Object] = {}
    problems = []
    for item in sorted(objects, key=_place):
        known = chosen.setdefault(item.key, item)
        if known is not item:
            place = item.source.value("metadata", "name")
            first = known.source.positions.start
            problems.append(diagnose("A101", place, subject=str(item.key), name=item.key, first=first))
    return tuple(chosen.values()), tuple(problems)


@dataclass(frozen=True, slots=True)
class Outside:
    """What is known beside objects: documents of the web by URL, files that tell where addresses are, folders, modules."""

    fetched: Mapping[str, Fetched]
    databases: Mapping[str, str]
    log_folders: tuple[str, ...] = ()
    extenders: tuple[str, ...] = ()
    module_folders: tuple[str, ...] = ()
    code_files: Mapping[str, CodeFile] = field(default_factory=dict)
    reach: Reach = field(default_factory=Reach)


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
    by_kind: Mapping[tuple[str, str], Sequence[Object]]
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
    extenders: tuple[str, ...] = ()
    """Namespaces whose policies may run code in Envoys and patch what they are served; `*`: all."""
    module_folders: tuple[str, ...] = ()
    """Folders right in which native modules may be."""
    code_files: Mapping[str, CodeFile] = field(default_factory=dict)
    """Modules of WebAssembly beside policies, by name."""
    reach: Reach = field(default_factory=Reach)
    """Where backends may lead."""
    wanted: set[str] = field(default_factory=set)
    """The URLs of those that were looked for, known or not: filled while features read their specs."""

    def of_kind(self, group: str, kind: str) -> Sequence[Object]:
        """All objects of a kind, oldest first."""
        return self.by_kind.get((group, kind), ())

    def get(self, group: str, kind: str, namespace: str, name: str) -> Object | None:
        """One object."""
        return self.by_key.get(Key(group, kind, namespace, name))

    def may_extend(self, namespace: str) -> bool:
        """True if policies of this namespace may run code in Envoys, and patch what they are served."""
        return "*" in self.extenders or namespace in self.extenders

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


class Indexed:
    """The index of some objects, made from the one of the objects before, which is over then, and from what is different."""

    def __init__(self) -> None:
        self.index = Index({}, {}, {}, {})
        self._objects: Sequence[Object] = ()
        self._by_key: dict[Key, Object] = {}
        self._by_kind: dict[tuple[str, str], Sequence[Object]] = {}
        self._kinds: dict[tuple[str, str], Ranking[Object]] = {}

    def update(self, objects: Iterable[Object], given: Outside | None = None) -> set[Read]:
        """Index objects of different identities, and documents of the web; the answer is which look-ups have changed."""
        every = in_parts(objects)
        last, now = self.index, difference(self._objects, every)
        self._objects = every
        by_key, by_kind = self._by_key, self._by_kind
        for item in now.gone:
            del by_key[item.key]
        by_key |= {item.key: item for item in now.came}
        changed: dict[tuple[str, str], tuple[list[Object], list[Object]]] = defaultdict(lambda: ([], []))
        for place, items in enumerate((now.gone, now.came)):
            for item in items:
                changed[item.key.group, item.key.kind][place].append(item)
        for kind, (gone, came) in changed.items():
            ranking = self._kinds.setdefault(kind, Ranking(age))
            ranking.change(gone, came)
            by_kind[kind] = ranking.items
        slices, tls_policies = last.slices, last.tls_policies
        if _SLICES in changed:
            slices = _same_tuples(last.slices, _slices(by_kind[_SLICES]))
        if _TLS_POLICIES in changed:
            tls_policies = _tls_policies(by_kind[_TLS_POLICIES])
        fetched, databases = (given.fetched, given.databases) if given else ({}, {})
        folders = given.log_folders if given else ()
        extenders, modules = (given.extenders, given.module_folders) if given else ((), ())
        code = given.code_files if given else {}
        reach = given.reach if given else Reach()
        beside = fetched, databases, folders, extenders, modules, code, reach
        self.index = Index(by_key, by_kind, slices, tls_policies, *beside)
        found: set[Read] = {(_OBJECTS, item.key) for item in (*now.gone, *now.came)}
        found |= {(_OBJECTS, EVERY)} if found else set()
        found |= {(_KINDS, kind) for kind in changed}
        found |= changes(_SERVICES, last.slices, slices) | changes(_TLS, last.tls_policies, tls_policies)
        found |= changes(_FETCHED, last.fetched, fetched) | changes(_DATABASES, last.databases, databases)
        found |= changes(_CODE, last.code_files, code)
        return found


_OBJECTS, _KINDS, _SERVICES, _TLS, _FETCHED, _DATABASES = "object", "kind", "slices", "tls", "fetched", "databases"
_CODE = "code"
_SLICES = (DISCOVERY_GROUP, "EndpointSlice")
_TLS_POLICIES = (GATEWAY_GROUP, "BackendTLSPolicy")


def watched(index: Index, reads: set[Read]) -> Index:
    """The index, noting every look-up. What is wanted of the web is noted apart from all others."""
    return Index(
        Watched(_OBJECTS, index.by_key, reads),
        Watched(_KINDS, index.by_kind, reads),
        Watched(_SERVICES, index.slices, reads),
        Watched(_TLS, index.tls_policies, reads),
        Watched(_FETCHED, index.fetched, reads),
        Watched(_DATABASES, index.databases, reads),
        index.log_folders,
        index.extenders,
        index.module_folders,
        Watched(_CODE, index.code_files, reads),
        index.reach,
    )


def about(key: Key) -> Read:
    """The look-up of one object."""
    return _OBJECTS, key


def changed_objects(reads: Iterable[Read]) -> Iterator[Key]:
    """The objects that have come, gone or changed, of changed look-ups."""
    return (key for table, key in reads if table == _OBJECTS and isinstance(key, Key))


def build_index(objects: Iterable[Object], given: Outside | None = None) -> Index:
    """Index objects of different identities, and documents of the web."""
    indexed = Indexed()
    indexed.update(tuple(objects), given)
    return indexed.index


def _same_tuples(
    last: Mapping[tuple[str, str], tuple[Object, ...]], now: Mapping[tuple[str, str], tuple[Object, ...]]
) -> dict[tuple[str, str], tuple[Object, ...]]:
    """The new tuples, where the old one holds the same objects that one."""
    return {
        name: known if (known := last.get(name)) is not None and known == items else items
        for name, items in now.items()
    }


def _slices(items: Iterable[Object]) -> dict[tuple[str, str], tuple[Object, ...]]:
    found: dict[tuple[str, str], list[Object]] = defaultdict(list)
    for item in items:
        found[item.namespace, item.meta.labels.get(SERVICE_NAME_LABEL, "")].append(item)
    return {service: tuple(pieces) for service, pieces in found.items()}


def _tls_policies(items: Iterable[Object]) -> dict[tuple[Key, str], Object]:
    found: dict[tuple[Key, str], Object] = {}
    for item in items:
        assert isinstance(item.spec, Targets)
        for target in item.spec.targets:
            key = Key(target.group, target.kind, item.namespace, target.name)
            place = (key, target.section_name or "")
            if place not in found or (item.derived and not found[place].derived):
                found[place] = item
    return found
