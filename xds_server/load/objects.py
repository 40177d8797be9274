"""Documents -> objects, with the last good form of what is wrong now.

In: all documents, and what this returned the last time. Out: objects, what is wrong, and which objects stand in for a
document that cannot be read as one any more. A policy with mistakes is not replaced by its last good form: it comes
back marked broken, and closes what it covers. So does an Organization or HTTPRoute that has no last good form. Documents that
were seen before are not parsed again. An object's generation counts the changes of its spec since the start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import Any

from xds_server.diagnostics import Diagnostic
from xds_server.load.document import Document
from xds_server.memory import difference
from xds_server.model.kinds import KINDS
from xds_server.model.object import Object
from xds_server.model.parse import parse_object
from xds_server.model.policies import Targets
from xds_server.model.readable import readable_part
from xds_server.parts import Layers, Parts, in_parts
from xds_server.types import CELLWAY_GROUP, DEFAULT_NAMESPACE, Key

SUPPRESS = "cellway.dev/suppress"
"""An annotation: warnings about this document that are meant (`suppress`)."""


@dataclass(frozen=True, slots=True)
class _Parsed:
    document: Document
    item: Object | None
    problems: tuple[Diagnostic, ...]

    @property
    def plain(self) -> bool:
        """True for a document that is an object without errors, which counts whatever else there is."""
        return self.item is not None and not self.item.broken

    @property
    def told(self) -> bool:
        """True if something is to be said of it."""
        return bool(self.problems) or self.marked

    @property
    def marked(self) -> bool:
        """True if it has the annotation."""
        metadata = self.document.value.get("metadata")
        annotations = metadata.get("annotations") if isinstance(metadata, Mapping) else None
        return isinstance(annotations, Mapping) and SUPPRESS in annotations


@dataclass(frozen=True, slots=True)
class Objects:
    """All objects and what is wrong with documents. `kept` are those that are in their last good form."""

    objects: Sequence[Object] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    kept: tuple[Key, ...] = ()
    memory: Layers[int, _Parsed] = field(default_factory=Layers, repr=False)
    """What each document was parsed to, by the identity of the document (which this keeps alive)."""
    marked: tuple[Document, ...] = ()
    """The documents that have the annotation `SUPPRESS`."""
    documents: Parts[Document] = field(default_factory=Parts, repr=False)
    by_key: Layers[Key, Object] = field(default_factory=Layers, repr=False)
    """The objects by identity if all documents are plain and no two of one identity; else empty. If they are, `objects`
    has a part for each of `documents`."""
    told: tuple[_Parsed, ...] = field(default=(), repr=False)
    """The documents of which something is to be said."""


def parse_documents_of(
    documents: Iterable[Document], broken: Iterable[Document] = (), before: Objects | None = None
) -> Objects:
    """The objects of all documents, given what came out the last time.

    `broken` are documents of which only parts could be read: a policy among them closes what it covers.
    """
    documents, broken = in_parts(documents), tuple(broken)
    if before is not None and before.by_key and not broken:
        same = _plain(documents, before)
        if same is not None:
            return same
    known: Mapping[int, _Parsed] = before.memory if before else {}
    earlier = _counting(before.objects) if before else {}
    memory = {id(document): known.get(id(document)) or _counted(_parse(document), earlier) for document in documents}
    memory |= {
        id(document): known.get(id(document)) or _counted(_parse_broken(document), earlier) for document in broken
    }
    good = {parsed.item.key: parsed.item for parsed in memory.values() if parsed.item is not None and _counts(parsed)}
    last = {item.key: item for item in before.objects if not item.broken} if before else {}
    objects, kept = [], []
    for parsed in memory.values():
        key = key_of(parsed.document.value)
        if parsed.item is not None and _counts(parsed):
            objects.append(parsed.item)
        elif key is not None and key not in good and key in last:
            good[key] = last[key]
            objects.append(last[key])
            kept.append(key)
        elif parsed.item is not None and parsed.item.key not in good:
            good[parsed.item.key] = parsed.item
            objects.append(parsed.item)
    told = tuple(parsed for parsed in memory.values() if parsed.told)
    plain = not broken and all(parsed.plain for parsed in memory.values()) and len(good) == len(memory)
    items = _in_parts_of(documents, objects) if plain else _without_idle(objects)
    by_key = Layers(good if plain else {})
    return Objects(items, _problems(told), tuple(kept), Layers(memory), _marked(told), documents, by_key, told)


def _problems(told: Iterable[_Parsed]) -> tuple[Diagnostic, ...]:
    return tuple(problem for parsed in told for problem in parsed.problems)


def _marked(told: Iterable[_Parsed]) -> tuple[Document, ...]:
    return tuple(parsed.document for parsed in told if parsed.marked)


def _plain(documents: Parts[Document], before: Objects) -> Objects | None:
    """The same as always, in time for what is different alone; None where more is to be said than that."""
    now = difference(before.documents, documents)
    came = [_counted(_parse(document), before.by_key) for document in now.came]
    gone = {item.key for document in now.gone if (item := before.memory[id(document)].item) is not None}
    fresh: dict[Key, Object] = {}
    for parsed in came:
        key = parsed.item.key if parsed.item is not None and parsed.plain else None
        if parsed.item is None or key is None or key in fresh or (key in before.by_key and key not in gone):
            return None
        fresh[key] = parsed.item
    memory = before.memory.with_changes(map(id, now.gone), {id(parsed.document): parsed for parsed in came})
    if len(memory) != len(documents):
        return None
    # Also where no document is different: the same may be in other parts, and the next time objects are looked up by them.
    items = _in_order(documents, memory, before)
    by_key = before.by_key.with_changes(gone - fresh.keys(), fresh)
    tellers = {id(parsed.document) for parsed in (*before.told, *came) if parsed.told}
    told = tuple(memory[id(one)] for one in documents if id(one) in tellers) if tellers else ()
    return Objects(items, _problems(told), (), memory, _marked(told), documents, by_key, told)


def _in_order(documents: Parts[Document], memory: Mapping[int, _Parsed], before: Objects) -> Parts[Object]:
    """The objects of plain documents. Those of a part that was there before are one again."""
    assert isinstance(before.objects, Parts)
    known = dict(zip(map(id, before.documents.parts), before.objects.parts, strict=True))
    return Parts(known.get(id(part)) or _of(part, memory) for part in documents.parts)


def _of(documents: Iterable[Document], memory: Mapping[int, _Parsed]) -> tuple[Object, ...]:
    return tuple(item for document in documents if (item := memory[id(document)].item) is not None)


def _in_parts_of(documents: Parts[Document], objects: Sequence[Object]) -> Parts[Object]:
    """The objects of plain documents, in the same order."""
    ends = list(accumulate((len(part) for part in documents.parts), initial=0))
    return Parts(tuple(objects[start:end]) for start, end in pairwise(ends))


def _without_idle(objects: list[Object]) -> tuple[Object, ...]:
    """The objects without routes with errors that are in no cell's namespace: those have nothing to close."""
    cells = {item.name for item in objects if (item.key.group, item.key.kind) == (CELLWAY_GROUP, "Cell")}
    return tuple(
        item for item in objects if not item.broken or isinstance(item.spec, Targets) or item.namespace in ("", *cells)
    )


def _counts(parsed: _Parsed) -> bool:
    """False where there is no object, or one with errors for which its last good form stands in."""
    return parsed.item is not None and (not parsed.item.broken or isinstance(parsed.item.spec, Targets))


def key_of(document: Mapping[str, Any]) -> Key | None:
    """Which object a document is about, if it says so, whatever else is wrong with it."""
    api_version, name = document.get("apiVersion"), document.get("kind")
    metadata = document.get("metadata")
    if not isinstance(api_version, str) or not isinstance(name, str) or not isinstance(metadata, Mapping):
        return None
    kind = KINDS.get((api_version.rpartition("/")[0], name))
    own, namespace = metadata.get("name"), metadata.get("namespace") or DEFAULT_NAMESPACE
    if kind is None or not isinstance(own, str) or not isinstance(namespace, str):
        return None
    return Key(kind.group, kind.name, namespace if kind.namespaced else "", own)


def _counting(objects: Iterable[Object]) -> dict[Key, Object]:
    """The object of each identity that counts: the one written first."""
    found: dict[Key, Object] = {}
    for item in objects:
        known = found.setdefault(item.key, item)
        if item.source.positions.start < known.source.positions.start:
            found[item.key] = item
    return found


def _counted(parsed: _Parsed, earlier: Mapping[Key, Object]) -> _Parsed:
    """The object with its generation: one more than before if its spec is another, unless the document says it."""
    item = parsed.item
    last = earlier.get(item.key) if item is not None else None
    if item is None or last is None or item.body != ("spec",) or _says_generation(item):
        return parsed
    changed = item.document.get("spec") != last.document.get("spec")
    meta = replace(item.meta, generation=last.meta.generation + changed)
    return replace(parsed, item=replace(item, meta=meta))


def _says_generation(item: Object) -> bool:
    metadata = item.document.get("metadata")
    return isinstance(metadata, Mapping) and "generation" in metadata


def _parse(document: Document) -> _Parsed:
    return _Parsed(document, *parse_object(document.value, document.positions))


def _parse_broken(document: Document) -> _Parsed:
    """What is wrong was told when the file was read; what else would be said follows from it."""
    item, _ = parse_object(document.value, document.positions)
    if item is None or item.broken:
        return _Parsed(document, item, ())
    if isinstance(item.spec, Targets):
        return _Parsed(document, replace(item, broken=True), ())
    part = readable_part(document.value.get("spec"), type(item.spec))
    return _Parsed(document, replace(item, spec=part, broken=True) if part is not None else None, ())
