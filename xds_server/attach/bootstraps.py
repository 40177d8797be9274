"""Changes of the bootstraps of a class's Envoys: `bootstrap` of an EnvoyProxy.

In: an EnvoyProxy. Out: the changes as a JSON list, and diagnostics. Only the EnvoyProxy of a GatewayClass may change
bootstraps, and those of namespaces that may extend Envoys: bootstraps reach further than a Gateway does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml

from xds_server.diagnostics import Diagnostic, Path
from xds_server.features.parts.bootstraps import MERGE, fragment_problem, path_problem
from xds_server.model.object import Object
from xds_server.model.proxies import JsonPatchSpec, ProxyBootstrapSpec

_NEEDS_VALUE = ("add", "replace", "test")
_NEEDS_FROM = ("move", "copy")


def read_changes(item: Object, spec: ProxyBootstrapSpec | None, allowed: bool) -> tuple[str, tuple[Diagnostic, ...]]:
    """The changes that an EnvoyProxy asks for, as text, and what is wrong with them."""
    if spec is None:
        return "", ()
    if not allowed:
        reason = (
            "a bootstrap is more than one Gateway's: write it in an EnvoyProxy that a GatewayClass refers to, or start the "
            f"server with --allow-extensions {item.namespace}"
        )
        return "", (item.diagnose("F103", "bootstrap", reason=reason),)
    steps, wrong = _merge(spec) if spec.type == "Merge" else _patches(spec)
    problems = tuple(item.diagnose("F103", "bootstrap", *path, reason=reason) for path, reason in wrong)
    return ("" if problems else json.dumps(steps, sort_keys=True)), problems


def _merge(spec: ProxyBootstrapSpec) -> tuple[list[Any], list[tuple[Path, str]]]:
    if spec.json_patches is not None:
        return [], [(("jsonPatches",), "jsonPatches go with type JSONPatch")]
    if spec.value is None:
        return [], [(("type",), "Merge needs a value: a part of a bootstrap, as YAML")]
    try:
        data = _read(spec.value)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return [], [(("value",), f"this is no plain YAML: {' '.join(str(error).split())[:200]}")]
    problem = fragment_problem(data)
    return [{MERGE: data}], [(("value",), problem)] if problem else []


def _read(text: str) -> Any:
    """Plain data. What can grow when it is read, and what JSON has no form for, is refused."""
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
        raise ValueError("aliases are not read")
    return json.loads(json.dumps(yaml.safe_load(text), allow_nan=False, default=_no_form))


def _no_form(value: object) -> str:
    raise ValueError(f"{value} is no JSON; write it in quotes")


def _patches(spec: ProxyBootstrapSpec) -> tuple[list[Any], list[tuple[Path, str]]]:
    if spec.value is not None:
        return [], [(("value",), "value goes with type Merge")]
    if spec.json_patches is None:
        return [], [(("type",), "JSONPatch needs jsonPatches")]
    wrong = [found for place, patch in enumerate(spec.json_patches) for found in _wrong(place, patch)]
    return [patch.model_dump(by_alias=True, exclude_unset=True) for patch in spec.json_patches], wrong


def _wrong(place: int, patch: JsonPatchSpec) -> Iterator[tuple[Path, str]]:
    if problem := path_problem(patch.path):
        yield ("jsonPatches", place, "path"), problem
    if patch.op in _NEEDS_VALUE and "value" not in patch.model_fields_set:
        yield ("jsonPatches", place), f"{patch.op} needs a value"
    if patch.op in _NEEDS_FROM:
        if patch.from_ is None:
            yield ("jsonPatches", place), f"{patch.op} needs 'from'"
        elif problem := path_problem(patch.from_):
            yield ("jsonPatches", place, "from"), problem
