"""One document -> one typed object, or diagnostics with places.

In: JSON values with the positions of their nodes. Out: an `Object`, and what is wrong. Names, namespaces and
fields are checked here; nothing is looked up in other objects. A document that is wrong gives no
object, except where it stands between somebody and a door: that one is marked broken.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from xds_server.diagnostics import Diagnostic, Path, Positions, Severity, diagnose
from xds_server.model.kinds import KINDS, Kind
from xds_server.model.object import Object
from xds_server.model.readable import aliases, readable_part
from xds_server.types import (
    CELLWAY_GROUP,
    DEFAULT_NAMESPACE,
    ENVOY_GATEWAY_GROUP,
    GATEWAY_GROUP,
    Key,
    Meta,
    Origin,
    Source,
)

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_NAMESPACE = re.compile(rf"(?=.{{1,63}}$){_LABEL}")
_METADATA_READ = ("name", "namespace", "labels", "annotations", "creationTimestamp", "generation")
# What Kubernetes adds to the metadata of stored objects: without meaning in files, so that exported YAML loads.
_METADATA_TOLERATED = (
    "uid", "resourceVersion", "managedFields", "selfLink", "finalizers", "ownerReferences", "generateName",
)  # fmt: skip
# Groups whose every kind says something about traffic: what is not known there must not go unread.
_GROUPS = (GATEWAY_GROUP, ENVOY_GATEWAY_GROUP, CELLWAY_GROUP)
_EXPERIMENTAL = ".x-k8s.io"
_ENVELOPE = ("apiVersion", "kind", "metadata", "status")


@dataclass(frozen=True, slots=True)
class _Place:
    """A document being parsed and what to call it in diagnostics."""

    positions: Positions
    subject: str

    def report(self, code: str, path: Path, *, at_key: bool = False, hint: str = "", **words: object) -> Diagnostic:
        span = self.positions.key(path) if at_key else self.positions.value(path)
        return diagnose(code, span, subject=self.subject, hint=hint, **words)


def parse_object(
    document: Mapping[str, Any], positions: Positions, made_from: tuple[Origin, ...] = ()
) -> tuple[Object | None, tuple[Diagnostic, ...]]:
    """The object that a document means. `made_from` marks it as derived from other documents."""
    place = _Place(positions, "")
    kind, problems = _kind_of(document, place)
    if kind is None:
        return None, problems
    key, meta, problems = _metadata(document, kind, place, derived=bool(made_from))
    place = _Place(positions, str(key))
    spec, more = _body(document, kind, place)
    problems += more
    broken = spec is None or any(item.severity == Severity.ERROR for item in problems)
    if broken:
        spec = readable_part(document.get("spec"), kind.spec) if key.name else None
    if spec is None:
        return None, problems
    body = ("spec",) if kind.has_spec else ()
    shown = _without_values(document) if kind.name == "Secret" else document
    return Object(key, meta, spec, Source(positions), shown, made_from, body, broken), problems


def _without_values(document: Mapping[str, Any]) -> dict[str, Any]:
    """A Secret as it may be shown: its keys, not its values."""
    hidden = {
        field: dict.fromkeys(written, "[redacted]")
        for field in ("data", "stringData")
        if isinstance(written := document.get(field), Mapping)
    }
    return {**document, **hidden}


def _kind_of(document: Mapping[str, Any], place: _Place) -> tuple[Kind | None, tuple[Diagnostic, ...]]:
    api_version, name = document.get("apiVersion"), document.get("kind")
    for field, value in (("apiVersion", api_version), ("kind", name)):
        if not isinstance(value, str) or not value:
            return None, (place.report("M101", (field,), field=field),)
    group, _, version = str(api_version).rpartition("/")
    kind = KINDS.get((group, str(name)))
    if kind is None:
        return None, (_unknown_kind(group, str(name), place),)
    if version not in kind.versions:
        return None, (
            place.report("M103", ("apiVersion",), version=version, kind=name, known=", ".join(kind.versions)),
        )
    return kind, ()


def _unknown_kind(group: str, name: str, place: _Place) -> Diagnostic:
    for known_group, one in KINDS:
        if one == name:
            kind = KINDS[known_group, one]
            wanted = f"{known_group}/{kind.versions[0]}".lstrip("/")
            hint = f"{name} is in apiVersion {wanted}"
            return place.report("M102", ("apiVersion",), hint=hint, kind=name, group=group or "v1")
    ours = group in _GROUPS or group.endswith(_EXPERIMENTAL)
    known = [one for at, one in KINDS if ours or at == group]
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6 if ours else 0.8)
    code = "M102" if ours or close else "M107"
    return place.report(code, ("kind",), hint=_did_you_mean(close), kind=name, group=group or "v1")


def _did_you_mean(close: list[str]) -> str:
    return f"did you mean '{close[0]}'?" if close else ""


def _metadata(
    document: Mapping[str, Any], kind: Kind, place: _Place, *, derived: bool
) -> tuple[Key, Meta, tuple[Diagnostic, ...]]:
    written = document.get("metadata")
    metadata: Mapping[str, Any] = written if isinstance(written, Mapping) else {}
    problems: list[Diagnostic] = []
    name, namespace = metadata.get("name"), metadata.get("namespace")
    if not isinstance(name, str) or not name:
        problems.append(place.report("M104", ("metadata", "name"), kind=kind.name))
        name = ""
    elif not derived and (not _NAME.fullmatch(name) or len(name) > 253):
        problems.append(place.report("M105", ("metadata", "name"), name=name))
    if namespace is not None and (not isinstance(namespace, str) or not _NAMESPACE.fullmatch(namespace)):
        problems.append(place.report("M106", ("metadata", "namespace"), name=namespace))
        namespace = None
    for field in metadata:
        if field not in _METADATA_READ + _METADATA_TOLERATED:
            hint = _did_you_mean(difflib.get_close_matches(str(field), _METADATA_READ, n=1))
            problems.append(place.report("M110", ("metadata", field), at_key=True, hint=hint, field=field))
    texts = {field: _texts(metadata, field, place, problems) for field in ("labels", "annotations")}
    created, generation = metadata.get("creationTimestamp"), metadata.get("generation")
    key = Key(kind.group, kind.name, (namespace or DEFAULT_NAMESPACE) if kind.namespaced else "", name)
    meta = Meta(
        name,
        key.namespace,
        texts["labels"],
        texts["annotations"],
        created if isinstance(created, str) else "",
        generation if isinstance(generation, int) else 1,
    )
    return key, meta, tuple(problems)


def _texts(metadata: Mapping[str, Any], field: str, place: _Place, problems: list[Diagnostic]) -> dict[str, str]:
    written = metadata.get(field) or {}
    if not isinstance(written, Mapping):
        problems.append(place.report("M111", ("metadata", field), field=field))
        return {}
    for key, value in written.items():
        if not isinstance(value, str):
            problems.append(place.report("M111", ("metadata", field, key), hint="quote it", field=f"{field}.{key}"))
    return {key: value for key, value in written.items() if isinstance(value, str)}


def _body(document: Mapping[str, Any], kind: Kind, place: _Place) -> tuple[Any, tuple[Diagnostic, ...]]:
    root: Path = ("spec",) if kind.has_spec else ()
    known = (*_ENVELOPE, "spec") if kind.has_spec else (*_ENVELOPE, *aliases(kind.spec))
    problems: list[Diagnostic] = []
    for field in document:
        if field not in known:
            hint = _did_you_mean(difflib.get_close_matches(str(field), known, n=1))
            problems.append(place.report("M110", (field,), at_key=True, hint=hint, field=field))
    written = document.get("spec", {}) if kind.has_spec else {k: v for k, v in document.items() if k not in _ENVELOPE}
    if kind.has_spec and "spec" not in document and kind.name != "Namespace":
        return None, (*problems, place.report("M101", (), field="spec"))
    try:
        return kind.spec.model_validate(written if written is not None else {}), tuple(problems)
    except ValidationError as error:
        details = _without_echoes(error.errors(include_url=False))
        problems.extend(_explain(detail, written, kind, root, place) for detail in details)
        return None, tuple(problems)


def _without_echoes(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Without complaints that a list is too short when it is so only because its items are in error."""
    places = [detail["loc"] for detail in details]
    return [
        detail
        for detail in details
        if detail["type"] != "too_short"
        or not any(len(place) > len(detail["loc"]) and place[: len(detail["loc"])] == detail["loc"] for place in places)
    ]


def _explain(detail: ErrorDetails, written: Any, kind: Kind, root: Path, place: _Place) -> Diagnostic:
    path = _real_path(detail["loc"], written)
    full = (*root, *path)
    name = str(detail["loc"][-1]) if detail["loc"] else kind.name
    context = detail.get("ctx", {})
    if detail["type"] == "extra_forbidden":
        siblings = _fields_at(kind.spec, path[:-1])
        hint = _did_you_mean(difflib.get_close_matches(name, siblings, n=1, cutoff=0.6))
        return place.report("M110", full, at_key=True, hint=hint, field=name)
    if detail["type"] == "missing":
        return place.report("M101", full, field=name)
    reason = str(context["error"]) if detail["type"] == "value_error" else detail["msg"]
    hint = ""
    if detail["type"] == "literal_error":
        choices = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        hint = _did_you_mean(difflib.get_close_matches(str(detail["input"]), choices, n=1, cutoff=0.5))
        reason = f"must be {context.get('expected')}"
    if detail["type"] in ("string_type", "string_sub_type") and isinstance(detail["input"], int | float | bool):
        hint = "quote it"
    prefix = f"{name}: " if isinstance(name, str) and path else ""
    return place.report("M112", full, hint=hint, reason=prefix + reason[:1].lower() + reason[1:])


def _real_path(location: tuple[int | str, ...], written: Any) -> Path:
    """The part of pydantic's location that stands in the document (tags of unions and functions do not)."""
    path: list[str | int] = []
    node = written
    for index, step in enumerate(location):
        if isinstance(node, Mapping) and step in node:
            node = node[step]
        elif isinstance(node, list | tuple) and isinstance(step, int) and step < len(node):
            node = node[step]
        elif index == len(location) - 1 and isinstance(node, Mapping):
            path.append(step)  # a missing field: its parent's place
            break
        else:
            continue
        path.append(step)
    return tuple(path)


def _fields_at(model: type[BaseModel], path: Path) -> list[str]:
    """The fields that may be written at a path below a model, for 'did you mean'."""
    current: list[type[BaseModel]] = [model]
    for step in path:
        if isinstance(step, int):
            continue
        found: list[type[BaseModel]] = []
        for candidate in current:
            for name, field in candidate.model_fields.items():
                if step in (name, field.alias):
                    found.extend(_models_in(field.annotation))
        current = found
    return [alias for candidate in current for alias in aliases(candidate)]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]
