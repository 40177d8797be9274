"""JSON Patch (RFC 6902) on JSON values, with JSONPath (RFC 9535) for several places at once.

In: a JSON value and one operation. Out: the changed value; the one that was given is never changed. Refused: places that
are not there, a path without a hit, and expressions of JSONPath that match texts with patterns, since these can take
longer than anybody waits.
"""

from __future__ import annotations

import copy
import itertools
from functools import cache
from typing import Any

from jsonpath import JSONPatch, JSONPatchError, JSONPathEnvironment, JSONPathError, JSONPointerError

from xds_server.types import Origin

_HITS = 10_000


class PatchError(Exception):
    """Why a patch cannot be made. `origin`: where it is written, if it is not the one that is being made."""

    def __init__(self, reason: str, origin: Origin | None = None) -> None:
        super().__init__(reason)
        self.origin = origin


def patched(document: Any, operation: dict[str, Any]) -> Any:
    """The document after an operation. PatchError if it cannot be made."""
    changed = copy.deepcopy(document)
    for path in _paths(document, operation):
        step = {key: operation[key] for key in ("op", "from", "value") if key in operation} | {"path": path}
        if step["op"] == "add":
            _make_way(changed, path)
        try:
            changed = JSONPatch([copy.deepcopy(step)]).apply(changed)
        except (JSONPatchError, JSONPointerError) as error:
            raise PatchError(_reason(step, error)) from None
    return changed


def _paths(document: Any, operation: dict[str, Any]) -> list[str]:
    """The places that an operation is for; of a list the last item first, so that none moves before its turn."""
    path = operation.get("path") or ""
    query = operation.get("jsonPath")
    if query is None:
        return [path]
    try:
        hits = [str(one.pointer()) for one in _environment().finditer(query, document)]
    except (JSONPathError, RecursionError) as error:
        raise PatchError(f"jsonPath {query} cannot be read: {str(error).partition(chr(10))[0]}") from None
    if not hits:
        raise PatchError(f"jsonPath {query} is nowhere in it")
    if len(hits) > _HITS:
        raise PatchError(f"jsonPath {query} is in it more than {_HITS} times")
    return [hit + path for hit in reversed(dict.fromkeys(hits))]


@cache
def _environment() -> JSONPathEnvironment:
    environment = JSONPathEnvironment(strict=True)
    for name in ("match", "search"):
        del environment.function_extensions[name]
    return environment


def _make_way(document: Any, path: str) -> None:
    """Make the objects that a place to add to is in, as Envoy Gateway does."""
    here = document
    parts = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]
    for part, below in itertools.pairwise(parts):
        if isinstance(here, dict):
            here = here.setdefault(part, [] if below in ("-", "0") else {})
        elif isinstance(here, list) and part.isdecimal() and int(part) < len(here):
            here = here[int(part)]
        else:
            return


def _reason(step: dict[str, Any], error: Exception) -> str:
    if type(error).__name__ == "JSONPatchTestFailure":
        return f"{step['path'] or 'the whole of it'} is something else"
    return f"{step['op']} cannot be done at {step['path'] or 'the whole of it'}: there is no such place"
