"""Files and folders to documents: `load_paths`, and what it remembers so that a reload reads only what changed.

In: paths as the user gives them, limits, the memory of an earlier load. Out: `Loaded`, frozen: documents in a
stable order, diagnostics, and for every file whether it failed. A change is a change of content. That there is none is
believed of a file of which the system says nothing new (which file it is, its size, when it last changed), if it was read
a while after the system had first said so. Refused, each with a diagnostic: what cannot be read or is no regular file, and
what is beyond the limits. Nothing raises for the state of the disk.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain

from xds_server.collector import collector_paused
from xds_server.diagnostics import Diagnostic, Span, diagnose, sort_key
from xds_server.load.document import DEFAULT_LIMITS, Document, Limits
from xds_server.load.find import Found, Stamp, find_files, reason_of, stamp
from xds_server.load.regular import read_regular
from xds_server.load.stretches import Parsed
from xds_server.load.yaml import parse_file
from xds_server.parts import Parts

_ATTEMPTS = 3
"""So often is everything read, when somebody saves meanwhile."""
_DOUBT = 3.0
"""Seconds for which one more change may leave what the system says of a file as it is: times have steps, of 2 s at most."""


@dataclass(frozen=True, slots=True)
class File:
    """What one file holds. `digest` is of its bytes, empty if they could not be read.

    `failed`: something in it could not be read. `kept`: `documents` are those of an earlier, good content. `content` is
    what they were read from.
    """

    digest: str
    documents: Parts[Document] = field(default_factory=Parts)
    broken: tuple[Document, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    failed: bool = False
    kept: bool = False
    content: bytes = field(default=b"", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Known:
    """A file as it was read, and what the system said of it then (`stamp`).

    `seen` is when it first said that, `read` when the bytes were last read, both of a clock that only ever grows (seconds).
    """

    file: File
    parsed: Parsed
    stamp: Stamp = ()
    seen: float = 0.0
    read: float = 0.0

    def is_of(self, stamp: Stamp) -> bool:
        """Whether a file of which the system says this now surely has these bytes still."""
        return stamp == self.stamp != () and self.read - self.seen > _DOUBT


@dataclass(frozen=True, slots=True)
class Memory:
    """What is known of every file. Dropping it only means to read and to parse all of them."""

    limits: Limits = DEFAULT_LIMITS
    parsed: Mapping[str, Known] = field(default_factory=dict)


NOTHING = Memory()


@dataclass(frozen=True, slots=True)
class Loaded:
    """All that the paths hold. `roots` gives for each path the number of its files, None if it is not there."""

    files: Mapping[str, File] = field(default_factory=dict)
    roots: Mapping[str, int | None] = field(default_factory=dict)
    documents: Parts[Document] = field(default_factory=Parts)
    """In the parts of all files."""
    broken: tuple[Document, ...] = ()
    """Documents with faults as far as they could be read, of files without an earlier good content."""
    diagnostics: tuple[Diagnostic, ...] = ()
    other: tuple[Diagnostic, ...] = ()
    """Those of `diagnostics` that belong to no file: missing and empty roots, folders that cannot be listed."""
    memory: Memory = NOTHING
    code: tuple[tuple[str, str], ...] = ()
    """Modules beside the files just read: the name of each, and the folder that it must lie in."""

    @property
    def failed(self) -> tuple[str, ...]:
        """The files of which something could not be read."""
        return tuple(name for name, file in self.files.items() if file.failed)


def load_paths(
    paths: Iterable[str | os.PathLike[str]],
    limits: Limits = DEFAULT_LIMITS,
    memory: Memory = NOTHING,
    clock: Callable[[], float] = time.monotonic,
    *,
    anew: bool = False,
) -> Loaded:
    """Everything that `paths` (files, or folders with all below them) hold.

    `memory` is that of an earlier result: files whose bytes are the same are not parsed again, and of changed files
    only the documents that changed. `anew`: every file is read, whatever the system says of it. Blocks while it reads and
    parses. What is saved meanwhile is read with all else once more.
    """
    paths = tuple(paths)
    known = memory.parsed if memory.limits == limits else {}
    found = find_files(paths, limits.files)
    for left in reversed(range(_ATTEMPTS)):
        stamps = _stamps(found)
        budget = _Budget(limits, clock(), anew=anew)
        with collector_paused():
            files = {name: budget.load(name, one, known.get(name)) for name, one in stamps.items()}
        before, found = found, find_files(paths, limits.files) if left else found
        if not left or (found == before and _stamps(found) == stamps):
            break
        # Somebody saved meanwhile. What one file refers to may have come with another one, which was not read.
        known = {**known, **budget.parsed}
    files |= {name: _unreadable(name, reason) for root in found.values() for name, reason in root.problems}
    roots = {root: None if one.missing else len(one.names) for root, one in found.items()}
    code = tuple((name, one.top) for one in found.values() for name in one.code)
    return replace(assemble(files, roots, _about_roots(found), Memory(limits, budget.parsed)), code=code)


def _stamps(found: Mapping[str, Found]) -> dict[str, Stamp]:
    """Of each file. Equal before and after: what was read was there together."""
    return {name: stamp(name) for root in found.values() for name in root.names}


def load_texts(root: str, texts: Mapping[str, bytes], limits: Limits = DEFAULT_LIMITS) -> Loaded:
    """What a folder `root` would hold with these files (names below it, with `/` between the parts)."""
    budget = _Budget(limits)
    below = "" if root in ("", ".") else root.rstrip("/") + "/"
    with collector_paused():
        files = {below + name: budget.take(below + name, data, (), None) for name, data in sorted(texts.items())}
    return assemble(files, {root: len(files)}, (), Memory(limits, budget.parsed))


def assemble(
    files: Mapping[str, File], roots: Mapping[str, int | None], other: tuple[Diagnostic, ...], memory: Memory
) -> Loaded:
    """The whole of its parts."""
    diagnostics = [*other, *(item for file in files.values() for item in file.diagnostics)]
    return Loaded(
        files=files,
        roots=roots,
        documents=Parts(chain.from_iterable(file.documents.parts for file in files.values())),
        broken=tuple(chain.from_iterable([file.broken for file in files.values()])),
        diagnostics=tuple(sorted(diagnostics, key=sort_key)),
        other=other,
        memory=memory,
    )


def _about_roots(found: Mapping[str, Found]) -> tuple[Diagnostic, ...]:
    diagnostics = []
    for root, one in found.items():
        if one.missing:
            diagnostics.append(diagnose("L120", Span(root)))
        elif not one.names and not one.problems:
            diagnostics.append(diagnose("L121", Span(root)))
    return tuple(diagnostics)


def read_file(digest: str, content: bytes, parsed: Parsed) -> File:
    """What these bytes mean."""
    return File(digest, parsed.documents, parsed.broken, parsed.diagnostics, parsed.failed, content=content)


def _unreadable(name: str, reason: str, digest: str = "") -> File:
    return File(digest, diagnostics=(diagnose("L100", Span(name), reason=reason),), failed=True)


class _Budget:
    """What may still be read. Files are taken in their order, so the same disk gives the same result."""

    def __init__(self, limits: Limits, now: float = 0.0, *, anew: bool = True) -> None:
        self.parsed: dict[str, Known] = {}
        self._limits, self._now, self._anew = limits, now, anew
        self._bytes = limits.total_bytes
        self._documents = limits.documents

    def load(self, name: str, stamp: Stamp, earlier: Known | None) -> File:
        """One file, of which the system says this."""
        if not self._anew and earlier is not None and earlier.is_of(stamp):
            return self.take(name, earlier.file.content, stamp, earlier)
        try:
            data, stamp = _read(name, self._limits.file_bytes)
        except OSError as error:
            return _unreadable(name, reason_of(error))
        return self.take(name, data, stamp, earlier)

    def take(self, name: str, data: bytes, stamp: Stamp, earlier: Known | None) -> File:
        """One file with these bytes, of which the system said this when they were read."""
        if len(data) > self._limits.file_bytes:
            return _unreadable(name, f"it is larger than {_size(self._limits.file_bytes)}")
        if len(data) > self._bytes:
            return _unreadable(name, f"all files together are larger than {_size(self._limits.total_bytes)}")
        self._bytes -= len(data)
        known = self._known(name, data, stamp, earlier)
        file = known.file
        if len(file.documents) > self._documents:
            reason = f"all files together hold more than {self._limits.documents:,} documents"
            return _unreadable(name, reason, file.digest)
        self._documents -= len(file.documents)
        self.parsed[name] = known
        return file

    def _known(self, name: str, data: bytes, stamp: Stamp, earlier: Known | None) -> Known:
        if earlier is not None and earlier.file.content is data:
            return earlier
        since = earlier.seen if earlier is not None and earlier.stamp == stamp else self._now
        if earlier is not None and earlier.file.content == data:
            return Known(earlier.file, earlier.parsed, stamp, since, self._now)
        digest = hashlib.sha256(data).hexdigest()
        parsed = parse_file(name, data, self._limits, earlier.parsed if earlier else None)
        return Known(read_file(digest, data, parsed), parsed, stamp, since, self._now)


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count} bytes"


def _read(name: str, most: int) -> tuple[bytes, Stamp]:
    """The bytes of a regular file, at most one more than `most`, and what the system says of it.

    That is said of what is read, and not of what the name means by now: a link may be switched meanwhile. Of a file system that
    nobody may write nothing is said: another one with the same times may take its place.
    """
    descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        said = () if os.fstatvfs(descriptor).f_flag & os.ST_RDONLY else stamp(descriptor)
    except OSError:
        said = ()
    return read_regular(descriptor, most), said
