"""What a server would have, were a folder of its policies replaced by other files.

In: what is in force, how it is compiled, and files. Out: both sides, compiled alike, and what would be wrong. Nothing is
written, and nobody is asked for certificates: placeholders stand for them on both sides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from xds_server.changes.comparison import Side
from xds_server.collector import collector_paused
from xds_server.compile import Options, compile_objects
from xds_server.diagnostics import Diagnostic, Severity, sort_key
from xds_server.load.directory import load_texts
from xds_server.load.document import Document
from xds_server.load.objects import parse_documents_of
from xds_server.load.suppress import suppressed
from xds_server.reload import Policies
from xds_server.types import CodeFile


@dataclass(frozen=True, slots=True)
class Files:
    """Files by their name below a folder. `root` is what the sender calls it, `into` the server's folder that they replace.

    Without `into` the names are whole, and the files take the place of all that the server has.
    """

    root: str
    into: str
    texts: Mapping[str, bytes]

    def replaces(self, name: str) -> bool:
        """Whether these files take the place of one of the server's."""
        return not self.into or name.startswith(below(self.into))

    def placed(self) -> dict[str, bytes]:
        """The files by the name under which the server reads them."""
        return {below(self.into) + name: data for name, data in self.texts.items()}


def below(folder: str) -> str:
    """What the names of files in a folder begin with."""
    return "" if folder in ("", ".") else f"{folder.rstrip('/')}/"


@dataclass(frozen=True, slots=True)
class Candidate:
    """Before and after, and the findings of the new side."""

    old: Side
    new: Side
    diagnostics: tuple[Diagnostic, ...]

    def new_errors(self, live: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
        """Errors that are not there now."""
        known = {(one.code, one.message, one.subject) for one in live}
        errors = (one for one in self.diagnostics if one.severity == Severity.ERROR)
        return tuple(one for one in errors if (one.code, one.message, one.subject) not in known)


@collector_paused()
def candidate(live: Policies, options: Options, files: Files) -> Candidate:
    """What would be. Blocks while it compiles."""
    loaded = load_texts(files.root, files.texts)
    documents = (*_others(live.documents, files), *loaded.documents)
    broken = (*_others(live.loaded.broken if live.loaded else (), files), *loaded.broken)
    objects = parse_documents_of(documents, broken)
    given = replace(options, authorities=None, code_files=_beside(options.code_files, files))
    compiled = compile_objects(objects.objects, given)
    found = dict.fromkeys((*loaded.diagnostics, *objects.diagnostics, *compiled.diagnostics))
    diagnostics = tuple(sorted(suppressed(found, (*documents, *broken)), key=sort_key))
    return Candidate(in_force(live, options), Side(documents, compiled), diagnostics)


def in_force(live: Policies, options: Options) -> Side:
    """What is in force, compiled like a candidate."""
    return Side(tuple(live.documents), compile_objects(live.objects.objects, replace(options, authorities=None)))


def _beside(code: Mapping[str, CodeFile], files: Files) -> dict[str, CodeFile]:
    """The modules of the server, also under the names that they have for the sender's files."""
    inside = {name.removeprefix(below(files.into)): one for name, one in code.items() if files.replaces(name)}
    return {**code, **{below(files.root) + name: one for name, one in inside.items()}}


def _others(documents: Iterable[Document], files: Files) -> tuple[Document, ...]:
    return tuple(one for one in documents if not files.replaces(one.file))
