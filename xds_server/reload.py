"""One reload: what is on disk, and what is in force -> what is in force afterwards.

In: folders, options, certificates, the time, and the value that this returned the last time. Out: that value anew. Files
that went wrong keep their last good content and objects their last good form; files that vanish by accident change nothing,
and one that has only just vanished still counts, because editors that save by renaming leave such a moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from xds_server.cells.authority import Authorities
from xds_server.cells.releases import NO_RELEASES, Releases
from xds_server.collector import collector_paused
from xds_server.compile import Compiled, Memory, Options, compile_objects
from xds_server.diagnostics import Diagnostic, sort_key
from xds_server.load.code import load_code
from xds_server.load.directory import File, Loaded, load_paths
from xds_server.load.document import DEFAULT_LIMITS, Document
from xds_server.load.keep import keep_last_good, looks_like_an_accident
from xds_server.load.objects import Objects, key_of, parse_documents_of
from xds_server.load.suppress import suppressed
from xds_server.model.object import Object
from xds_server.parts import Parts
from xds_server.types import CodeFile, Fetched

GRACE = 0.5
"""Seconds that a file must be gone before that counts."""
_MANY_GONE = "L132"
Result = Literal["applied", "unchanged", "rejected"]


def _nobody(_objects: Iterable[Object]) -> None:
    """Who vouches for gateways where nothing is served."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where policies come from, how they are compiled, and a clock that only ever grows (seconds).

    `vouch` gives the certificates that gateways of these objects need; the same values as long as none is due. `saved` is
    what was in force when the last server ended: what the first reload begins with.
    """

    folders: tuple[Path, ...]
    options: Options
    clock: Callable[[], float]
    vouch: Callable[[Iterable[Object]], Authorities | None] = _nobody
    saved: tuple[Loaded, Objects] | None = None


@dataclass(frozen=True, slots=True)
class Policies:
    """What is in force, and what is wrong with what is on disk.

    `alarm` says why what is on disk is not in force, empty if it is. `gone` are files that have only just vanished,
    with the time. `code_files` are the modules beside policies. `seconds` is how long the stages of the last reload
    took. `fetched` is what was known of the web, `releases` which stage has which release. `saved`: nothing that this
    server has read was in force yet.
    """

    compiled: Compiled = field(default_factory=Compiled)
    diagnostics: tuple[Diagnostic, ...] = ()
    alarm: str = "the policies are not loaded yet"
    loaded: Loaded | None = None
    documents: Parts[Document] = field(default_factory=Parts)
    objects: Objects = field(default_factory=Objects)
    gone: Mapping[str, tuple[float, File]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    fetched: Mapping[str, Fetched] = field(default_factory=dict)
    authorities: Authorities | None = None
    releases: Releases = NO_RELEASES
    code_files: Mapping[str, CodeFile] = field(default_factory=dict)
    saved: bool = False
    memory: Memory = field(default_factory=Memory, repr=False)
    """What compiling keeps for the next time: the same for all policies of a server, for one compilation at a time."""


def reload(before: Policies, source: Source, *, confirmed: bool = False) -> tuple[Policies, Result]:
    """Read and compile what is on disk. Blocks. `confirmed`: many files may vanish at once, and every file is read."""
    with collector_paused():
        return _reload(before, source, confirmed=confirmed)


def _reload(before: Policies, source: Source, *, confirmed: bool) -> tuple[Policies, Result]:
    began = source.clock()
    first = before.loaded is None and source.saved is not None
    if before.loaded is None and source.saved is not None:
        loaded, objects = source.saved
        before = replace(before, loaded=loaded, documents=loaded.documents, objects=objects, saved=True)
    last = before.loaded or Loaded()
    on_disk = load_paths(source.folders, DEFAULT_LIMITS, last.memory, anew=confirmed)
    loaded, code = keep_last_good(last, on_disk), load_code(on_disk.code, before.code_files)
    accident = _accident(before.loaded, loaded)
    if accident is not None and not (confirmed and accident.code == _MANY_GONE):
        return _rejected(
            _compiled(replace(before, code_files=code), source, began, before.memory) if first else before,
            loaded,
            accident,
        ), "rejected"
    gone = {} if confirmed or first else _just_gone(before, loaded, source.clock())
    missed = _missed(gone, loaded)
    documents = Parts((*loaded.documents.parts, missed)) if missed else loaded.documents
    if _same(before, loaded, documents) and before.code_files == code and _same_given(before, source):
        return replace(before, loaded=loaded, documents=documents, gone=gone), "unchanged"
    objects = parse_documents_of(documents, loaded.broken, before.objects)
    read = Policies(loaded=loaded, documents=documents, objects=objects, gone=gone, code_files=code)
    return _compiled(read, source, began, before.memory), "applied"


def _rejected(before: Policies, loaded: Loaded, accident: Diagnostic) -> Policies:
    """What was in force goes on, and why."""
    alarm = f"{accident}; SIGHUP confirms that this is meant" if accident.code == _MANY_GONE else str(accident)
    if before.saved:
        alarm += "; what was in force when the server ended is served"
    found = {*before.diagnostics, *loaded.other, accident}
    return replace(before, alarm=alarm, diagnostics=tuple(sorted(found, key=sort_key)))


def _compiled(read: Policies, source: Source, began: float, memory: Memory) -> Policies:
    """The same with what follows from its objects."""
    ends = {"": began, "load": source.clock()}

    def passed(stage: str) -> None:
        ends[stage] = source.clock()

    objects, loaded = read.objects, read.loaded or Loaded()
    authorities = source.vouch(objects.objects)
    options = replace(source.options, authorities=authorities, code_files=read.code_files)
    compiled = _compile(objects.objects, options, passed, memory)
    seconds = {stage: end - start for start, (stage, end) in zip(ends.values(), list(ends.items())[1:], strict=False)}
    found = dict.fromkeys((*loaded.diagnostics, *objects.diagnostics, *compiled.diagnostics))
    return replace(
        read,
        compiled=compiled,
        diagnostics=tuple(sorted(suppressed(found, objects.marked), key=sort_key)),
        alarm="",
        seconds=seconds,
        fetched=source.options.fetched,
        authorities=authorities,
        releases=source.options.releases,
        memory=memory,
    )


def _compile(objects: Iterable[Object], options: Options, passed: Callable[[str], None], memory: Memory) -> Compiled:
    """Compile with what is known. After a bug nobody knows what is, so all of it is forgotten."""
    try:
        return compile_objects(objects, options, passed, memory)
    except BaseException:
        memory.clear()
        raise


def _accident(last: Loaded | None, loaded: Loaded) -> Diagnostic | None:
    """Why `loaded` is not to be believed. At the start every missing or empty path is such a reason."""
    return looks_like_an_accident(last, loaded) if last is not None else next(iter(loaded.other), None)


def _just_gone(before: Policies, loaded: Loaded, now: float) -> dict[str, tuple[float, File]]:
    """The files that have vanished less than the grace ago."""
    last = before.loaded.files if before.loaded is not None else {}
    vanished = {name: (now, file) for name, file in last.items()} | dict(before.gone)
    return {
        name: (since, file)
        for name, (since, file) in vanished.items()
        if name not in loaded.files and now - since < GRACE
    }


def _missed(gone: Mapping[str, tuple[float, File]], loaded: Loaded) -> tuple[Document, ...]:
    """The documents of vanished files, except objects that are written elsewhere now."""
    if not gone:
        return ()
    there = {key_of(document.value) for document in loaded.documents}
    documents = (document for _, file in gone.values() for document in file.documents)
    return tuple(document for document in documents if key_of(document.value) not in there)


def _same_given(before: Policies, source: Source) -> bool:
    """Whether what is known beside the documents is what was known."""
    now = source.options
    if (before.fetched, before.releases) != (now.fetched, now.releases):
        return False
    return source.vouch(before.objects.objects) == before.authorities


def _same(before: Policies, loaded: Loaded, documents: Parts[Document]) -> bool:
    """Whether this is what is in force already: documents are equal if they are the very same."""
    if before.loaded is None or before.alarm or before.loaded.diagnostics != loaded.diagnostics:
        return False
    return documents == before.documents and loaded.broken == before.loaded.broken
