"""Policies for commands that look at them once: `validate` and `render`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from xds_server.attach.reach import Reach
from xds_server.cli.envoy_folders import parse_log_folders, parse_module_folders, parse_socket_folders
from xds_server.cli.extenders import parse_extenders
from xds_server.cli.geoip import parse_databases
from xds_server.cli.output import trouble
from xds_server.collector import collector_paused
from xds_server.compile import DEFAULT_CONTROLLERS, Compiled, Options, compile_objects
from xds_server.diagnostics import Diagnostic, sort_key
from xds_server.load.code import load_code
from xds_server.load.directory import Loaded, load_paths
from xds_server.load.document import Document
from xds_server.load.objects import parse_documents_of
from xds_server.load.suppress import suppressed
from xds_server.load.yaml import parse_file

STDIN = "-"
STDIN_NAME = "<stdin>"


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read, compiled, and everything that is wrong with it. `texts` are those that are on no disk."""

    files: int
    objects: int
    compiled: Compiled
    diagnostics: tuple[Diagnostic, ...]
    texts: Mapping[str, str] = field(default_factory=dict, repr=False)
    documents: tuple[Document, ...] = field(default=(), repr=False)

    def text_of(self, name: str) -> str | None:
        """The text of a file."""
        if name in self.texts:
            return self.texts[name]
        try:
            return Path(name).read_bytes().decode("utf-8-sig", errors="replace")
        except OSError:
            return None


def options_of(  # noqa: PLR0913, PLR0917 (options of a command)
    controllers: Sequence[str] | None,
    address_pool: str | None,
    geoip: Sequence[str] | None = None,
    log_folders: Sequence[str] | None = None,
    extenders: Sequence[str] | None = None,
    module_folders: Sequence[str] | None = None,
    socket_folders: Sequence[str] | None = None,
) -> Options:
    """Compile options from the command line."""
    import ipaddress

    if address_pool is not None:
        try:
            ipaddress.ip_network(address_pool)
        except ValueError as error:
            trouble(f"--address-pool: {error}")
    try:
        databases = parse_databases(geoip)
        folders = parse_log_folders(log_folders)
        extending = parse_extenders(extenders)
        modules = parse_module_folders(module_folders)
        sockets = parse_socket_folders(socket_folders)
    except ValueError as error:
        trouble(str(error))
    chosen = tuple(controllers or DEFAULT_CONTROLLERS)
    return Options(
        chosen,
        address_pool,
        databases=databases,
        log_folders=folders,
        extenders=extending,
        module_folders=modules,
        reach=Reach(socket_folders=sockets),
    )


@collector_paused()
def read(paths: Sequence[Path], options: Options) -> Reading:
    """Read and compile. Ends the command with exit code 2 if a path is not there or nothing can be read from it."""
    texts: dict[str, str] = {}
    documents: list[Document] = []
    broken: list[Document] = []
    problems: list[Diagnostic] = []
    if Path(STDIN) in paths:
        data = sys.stdin.buffer.read()
        texts[STDIN_NAME] = data.decode("utf-8-sig", errors="replace")
        parsed = parse_file(STDIN_NAME, data)
        documents += parsed.documents
        broken += parsed.broken
        problems += parsed.diagnostics
    loaded = load_paths([path for path in paths if path != Path(STDIN)])
    _refuse_what_is_not_there(loaded)
    whole, torn = (*documents, *loaded.documents), (*broken, *loaded.broken)
    objects = parse_documents_of(whole, torn)
    compiled = compile_objects(objects.objects, replace(options, code_files=load_code(loaded.code)))
    found = dict.fromkeys((*problems, *loaded.diagnostics, *objects.diagnostics, *compiled.diagnostics))
    return Reading(
        len(loaded.files) + len(texts),
        len(compiled.objects),
        compiled,
        tuple(sorted(suppressed(found, (*whole, *torn)), key=sort_key)),
        texts,
        whole,
    )


def _refuse_what_is_not_there(loaded: Loaded) -> None:
    for root, count in loaded.roots.items():
        if count is None:
            trouble(f"there is no file or folder {root}")
    unreadable = [item for item in loaded.diagnostics if item.code == "L100"]
    if unreadable:
        trouble("; ".join(str(item) for item in unreadable[:5]))
