"""Between what a reload knows and what the store holds.

In: files and objects that are in force; or the index and contents that were stored. Out: the index; or files and objects, as
a reload before would have left them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from xds_server.load.directory import Known, Loaded, Memory, assemble, read_file
from xds_server.load.document import DEFAULT_LIMITS
from xds_server.load.objects import Objects, parse_documents_of
from xds_server.load.yaml import parse_file
from xds_server.saved.store import Index, Kept


def index_of(loaded: Loaded, objects: Objects, before: Index) -> Index:
    """What counts now, if `before` counted until now.

    A file that was never good is left out, and so is one that vanished a moment ago: the next server reads what there is.
    """
    files = {}
    for name, file in loaded.files.items():
        if not file.failed:
            files[name] = file.digest
        elif file.kept and name in before.files:
            files[name] = before.files[name]
    if not objects.kept:
        return Index(files, dict(loaded.roots))
    older, wanted = {one.key: one for one in before.kept}, set(objects.kept)
    kept = []
    for item in objects.objects:
        name = item.source.positions.start.file
        if item.key in wanted and item.key in older:
            kept.append(older[item.key])
        elif item.key in wanted and name in before.files:
            kept.append(Kept(item.key, name, before.files[name]))
    return Index(files, dict(loaded.roots), tuple(kept))


def of_roots(index: Index, roots: Collection[str]) -> Index:
    """What of it lies below these paths: the others are given no more."""
    below = tuple("" if root == "." else root.rstrip("/") + "/" for root in roots)
    files = {name: digest for name, digest in index.files.items() if name in roots or name.startswith(below)}
    kept = tuple(one for one in index.kept if one.file in files)
    return Index(files, {root: count for root, count in index.roots.items() if root in roots}, kept)


def restored(index: Index, contents: Mapping[str, bytes]) -> tuple[Loaded, Objects]:
    """The files and objects that counted."""
    parsed = {name: parse_file(name, contents[digest]) for name, digest in index.files.items()}
    files = {name: read_file(digest, contents[digest], parsed[name]) for name, digest in index.files.items()}
    memory = Memory(DEFAULT_LIMITS, {name: Known(file, parsed[name]) for name, file in files.items()})
    loaded = assemble(files, index.roots, (), memory)
    return loaded, parse_documents_of(loaded.documents, loaded.broken, _older(index, contents))


def _older(index: Index, contents: Mapping[str, bytes]) -> Objects:
    """The objects that are in force in an older form."""
    found = []
    for one in index.kept:
        documents = parse_file(one.file, contents[one.digest]).documents
        found += [item for item in parse_documents_of(documents).objects if item.key == one.key]
    return replace(Objects(), objects=tuple(found))
