"""JSON Patch (RFC 6902) on JSON values, with JSONPath (RFC 9535) for several places at once.

In: a JSON value and one operation. Out: the changed value; the one that was given is never changed. Refused: places that
are not there, a path without a hit, and expressions of JSONPath that match texts with patterns, since these can take
longer than anybody waits.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from jsonpath import (
    JSONPath,
    JSONPathEnvironment,
    JSONPathError,
    JSONPointer,
)
from jsonpath.filter import BaseExpression, FilterQuery, FunctionExtension, RelativeFilterQuery
from jsonpath.segments import JSONPathRecursiveDescentSegment
from jsonpath.selectors import Filter, IndexSelector, JSONPathSelector, NameSelector

from xds_server.features.parts.json_patch import StepError, done
from xds_server.types import Origin

_HITS = 10_000
_SIZE = 8 * 1024 * 1024  # characters of JSON
_WORK = 2_000_000  # values that an expression looks at
_OBJECT = 64  # what an object on the way to a place counts, in characters


class PatchError(Exception):
    """Why a patch cannot be made. `origin`: where it is written, if it is not the one that is being made."""

    def __init__(self, reason: str, origin: Origin | None = None) -> None:
        super().__init__(reason)
        self.origin = origin


def patched(document: Any, operation: dict[str, Any]) -> Any:
    """The document after an operation. PatchError if it cannot be made."""
    try:
        return _patched(document, operation)
    except RecursionError:
        raise PatchError("it is nested too deep") from None


def _patched(document: Any, operation: dict[str, Any]) -> Any:
    changed = copy.deepcopy(document)
    grows = operation["op"] in ("add", "replace", "copy")
    room = _SIZE - _size(document) if grows else 0
    for path in _paths(document, operation):
        step = {key: operation[key] for key in ("op", "from", "value") if key in operation} | {"path": path}
        if grows:
            room -= _growth(changed, operation)
            if room < 0:
                raise PatchError(f"what comes out is larger than {_SIZE} characters")
        if step["op"] == "add":
            _make_way(changed, path)
        try:
            changed = done(changed, step)
        except StepError as error:
            raise PatchError(str(error)) from None
    return changed


def _size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False))


def _growth(document: Any, operation: dict[str, Any]) -> int:
    """How much larger a step makes a document, at most."""
    value = operation.get("value")
    if operation["op"] == "copy":
        value = JSONPointer(operation["from"]).resolve(document, default=None)
    return _size(value) + _OBJECT * (operation.get("path") or "").count("/")


def _paths(document: Any, operation: dict[str, Any]) -> list[str]:
    """The places that an operation is for; of a list the last item first, so that none moves before its turn."""
    path = operation.get("path") or ""
    query = operation.get("jsonPath")
    if query is None:
        return [path]
    try:
        found = _expression(query, document).finditer(document)
        hits = [str(one.pointer()) for one in itertools.islice(found, _HITS + 1)]
    except (JSONPathError, RecursionError) as error:
        raise PatchError(f"jsonPath {query} cannot be read: {str(error).partition(chr(10))[0]}") from None
    if not hits:
        raise PatchError(f"jsonPath {query} is nowhere in it")
    if len(hits) > _HITS:
        raise PatchError(f"jsonPath {query} is in it more than {_HITS} times")
    return [hit + path for hit in reversed(dict.fromkeys(hits))]


def _expression(query: str, document: Any) -> JSONPath:
    """An expression of which is known that it ends soon. PatchError for others."""
    path = _environment().compile(query)
    if not isinstance(path, JSONPath):
        raise PatchError(f"jsonPath {query} is more than one path: write a patch for each")
    queries = list(_queries(path, query))
    segments = [segment for one in queries for segment in one.segments]
    if sum(isinstance(one, JSONPathRecursiveDescentSegment) for one in segments) > 1:
        raise PatchError(f"jsonPath {query} has more than one '..', and would go over everything again and again")
    times = 1
    for segment in segments:
        times *= max(1, len(segment.selectors))
    direct = sum(isinstance(one, NameSelector | IndexSelector) for one in _selectors(path))
    steps = sum(len(one.segments) + 1 for one in queries) - direct
    if times * steps * _values(document, _WORK) > _WORK:
        raise PatchError(
            f"jsonPath {query} would look at more than {_WORK} values: name more of the way, with fewer choices"
        )
    return path


def _queries(path: JSONPath, query: str) -> Iterator[JSONPath]:
    """A path and the paths in its filters. PatchError for what a filter may not have."""
    yield path
    waiting: list[BaseExpression] = [one.expression for one in _selectors(path) if isinstance(one, Filter)]
    while waiting:
        expression = waiting.pop()
        if isinstance(expression, FunctionExtension):
            raise PatchError(f"jsonPath {query} calls {expression.name}: a filter compares what is in '@' with a value")
        if isinstance(expression, FilterQuery):
            if not isinstance(expression, RelativeFilterQuery):
                raise PatchError(f"jsonPath {query} has '$' in a filter: a filter compares what is in '@' with a value")
            yield from _queries(expression.path, query)
        else:
            waiting += expression.children()


def _selectors(path: JSONPath) -> Iterator[JSONPathSelector]:
    for segment in path.segments:
        yield from segment.selectors


def _values(document: Any, most: int) -> int:
    """How many values a document has; `most` if there are more."""
    waiting, count = [document], 0
    while waiting and count < most:
        one = waiting.pop()
        count += 1
        waiting += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
    return count


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
