"""What stays in force when files go wrong: the last good content of a file, and guards against accidents.

In: the load that is in force and a new one. Out: the new one with failed files replaced by their last good content,
or a diagnostic if files seem to have vanished by accident. Both are pure; the caller decides whether to go on.
Deleting some files of a small set is ordinary work and no accident.
"""

from __future__ import annotations

from dataclasses import replace

from xds_server.diagnostics import Diagnostic, Span, diagnose
from xds_server.load.directory import File, Loaded, assemble

_SHARE = 0.3  # vanishing at once: more than this share of files or documents ...
_FEW = 10  # ... and at least so many of them is an accident


def keep_last_good(previous: Loaded, loaded: Loaded) -> Loaded:
    """`loaded`, in which a file with errors keeps the documents that it has in `previous`, if those were good.

    Its diagnostics are the new ones. A file that was never good contributes those of its documents that are.
    """
    kept = {name: _kept(previous.files.get(name), file) for name, file in loaded.files.items()}
    for name, file in _hidden(previous, loaded).items():
        kept.setdefault(name, file)
    if all(kept[name] is file for name, file in loaded.files.items()) and len(kept) == len(loaded.files):
        return loaded
    return assemble(kept, loaded.roots, loaded.other, loaded.memory)


def _kept(earlier: File | None, file: File) -> File:
    if not file.failed or earlier is None or (earlier.failed and not earlier.kept):
        return file
    return replace(file, documents=earlier.documents, broken=(), kept=True, content=earlier.content)


def _hidden(previous: Loaded, loaded: Loaded) -> dict[str, File]:
    """Files below folders that can no longer be listed: nobody deleted them."""
    folders = tuple(_below(name) for name, file in loaded.files.items() if file.failed and not file.digest)
    if not folders:
        return {}
    gone = {name: file for name, file in previous.files.items() if name not in loaded.files}
    return {
        name: replace(file, diagnostics=(), failed=True, kept=True)
        for name, file in gone.items()
        if name.startswith(folders) and (file.kept or not file.failed)
    }


def _below(root: str) -> str:
    """What the names of all files below a folder start with."""
    return "" if root == "." else root.rstrip("/") + "/"


def looks_like_an_accident(previous: Loaded, loaded: Loaded) -> Diagnostic | None:
    """Why `loaded` should not replace `previous`: a path is gone or emptied, or much vanished at once.

    Give it the result of `keep_last_good`, so that files with errors count as present. Someone who means it says so
    by removing the path from the command or by confirming.
    """
    for root, count in previous.roots.items():
        now = loaded.roots.get(root, 0)
        if not count or root not in loaded.roots:
            continue
        if now is None:
            return diagnose("L130", Span(root))
        if now == 0 and not any(name == root or name.startswith(_below(root)) for name in loaded.files):
            return diagnose("L131", Span(root))
    place = Span(next(iter(loaded.roots), ""))
    for what, before, after in (
        ("files", len(previous.files), len(loaded.files)),
        ("documents", len(previous.documents), len(loaded.documents)),
    ):
        lost = before - after
        if lost >= _FEW and lost > _SHARE * before:
            return diagnose("L132", place, lost=lost, before=before, what=what)
    return None
