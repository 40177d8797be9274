"""Objects and compiled results from YAML text, for tests of the pure rooms."""

from __future__ import annotations

from xds_server.compile import Compiled, Options, compile_objects
from xds_server.diagnostics import Diagnostic
from xds_server.load.yaml import parse_documents
from xds_server.model.object import Object
from xds_server.model.parse import parse_object


def parse(text: str, file: str = "test.yaml") -> tuple[tuple[Object, ...], tuple[Diagnostic, ...]]:
    """All objects of a text, and everything that is wrong with it."""
    documents, problems = parse_documents(file, text.encode())
    objects = []
    for document in documents:
        item, found = parse_object(document.value, document.positions)
        problems += found
        objects += [item] if item else []
    return tuple(objects), problems


def objects_of(text: str, file: str = "test.yaml") -> tuple[Object, ...]:
    """All objects of a text in which nothing may be wrong."""
    objects, problems = parse(text, file)
    assert problems == (), problems
    return objects


def compiled(text: str, options: Options | None = None) -> Compiled:
    """What a text compiles to; mistakes in it are part of the result."""
    objects, _ = parse(text)
    return compile_objects(objects, options or Options())
