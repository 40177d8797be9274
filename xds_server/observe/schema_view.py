"""JSON schemas of everything that may be written, for editors and other tools.

In: the table of kinds. Out: one schema for any document, which picks the body by apiVersion and kind. It knows shapes,
bounds and names of fields; what takes a look at other objects, `cellway validate` knows alone.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from xds_server.model.kinds import KINDS, Kind

Json = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_of_all() -> Json:
    """A schema for every kind."""
    kinds = list(KINDS.values())
    bodies, shared = _models(kinds)
    rules = [
        {
            "if": {"properties": _identity(kind), "required": ["apiVersion", "kind"]},
            "then": _document(kind, bodies[kind], shared),
        }
        for kind in kinds
    ]
    known = {"enum": sorted({kind.name for kind in kinds})}
    return {
        "$schema": DIALECT,
        "title": "Cellway",
        "type": "object",
        "properties": {"apiVersion": {"type": "string"}, "kind": {"anyOf": [known, {"type": "string"}]}},
        "required": ["apiVersion", "kind"],
        "allOf": rules,
        "$defs": shared,
    }


def schema_of(kind: Kind) -> Json:
    """A schema for one kind."""
    bodies, shared = _models([kind])
    return {"$schema": DIALECT, "title": kind.name, **_document(kind, bodies[kind], shared), "$defs": shared}


def _models(kinds: list[Kind]) -> tuple[dict[Kind, Json], Json]:
    """The schema of each kind's body, and what they refer to."""
    specs = list(dict.fromkeys(kind.spec for kind in kinds))
    found, definitions = models_json_schema([(spec, "validation") for spec in specs], by_alias=True)
    shared: Json = definitions.get("$defs", {})
    return {kind: dict(found[kind.spec, "validation"]) for kind in kinds}, shared


def _identity(kind: Kind) -> Json:
    versions = [f"{kind.group}/{version}".lstrip("/") for version in kind.versions]
    return {"apiVersion": {"enum": versions}, "kind": {"const": kind.name}}


def _document(kind: Kind, body: Json, shared: Json) -> Json:
    metadata = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 253},
            **({"namespace": {"type": "string", "minLength": 1, "maxLength": 63}} if kind.namespaced else {}),
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
        },
        "required": ["name"],
    }
    head: Json = {**_identity(kind), "metadata": metadata, "status": {"type": "object"}}
    required = ["apiVersion", "kind", "metadata"]
    if not kind.has_spec:
        own = shared[body["$ref"].rpartition("/")[2]]
        head |= own["properties"]
        required += own.get("required", ())
    else:
        head["spec"] = body
    return {"type": "object", "properties": head, "required": required, "additionalProperties": False}
