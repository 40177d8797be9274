"""What can be read of an object with errors, where leaving it out would open a door.

In: a spec as it is written. Out: the part that says what the object covers: targets of a policy, parents of an HTTPRoute;
of an Organization nothing, but that there is one. None for every other kind: without such an object less is open.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from xds_server.model.cell_kinds import OrganizationSpec
from xds_server.model.gateway_api import HttpRouteSpec, ParentRef
from xds_server.model.policies import TargetRef, Targets, TargetSelector
from xds_server.spec import Spec
from xds_server.types import GATEWAY_GROUP

S = TypeVar("S", bound=BaseModel)
Json = Mapping[str, Any]


def readable_part(written: object, kind: type[Spec]) -> Spec | None:
    """What of the spec of a broken object counts."""
    if issubclass(kind, OrganizationSpec):
        return OrganizationSpec()
    if not isinstance(written, Mapping):
        return None
    if issubclass(kind, Targets):
        return _targets(written)
    return _parents(written) if kind is HttpRouteSpec else None


def _targets(written: Json) -> Targets | None:
    """What a policy with errors was meant for, so that it can be closed rather than left open."""
    try:
        return Targets.model_validate({key: value for key, value in written.items() if key in aliases(Targets)})
    except ValidationError:
        return _readable_targets(written)


def _readable_targets(written: Json) -> Targets | None:
    """Every target that can be told, where some cannot: with a wrong section the whole of it, without a group a route."""
    named = []
    for one in (*_list(written.get("targetRefs")), *_list([written.get("targetRef")])):
        likely = {"group": GATEWAY_GROUP, **one}
        tries = (likely, {**likely, "sectionName": None}, {**likely, "sectionName": None, "group": GATEWAY_GROUP})
        named += [ref for each in tries if (ref := _readable(TargetRef, each)) is not None][:1]
    selectors = [found for one in _list(written.get("targetSelectors")) if (found := _readable(TargetSelector, one))]
    if not named and not selectors:
        return None
    return Targets.model_construct(target_refs=tuple(dict.fromkeys(named)), target_selectors=tuple(selectors))


def _parents(written: Json) -> HttpRouteSpec | None:
    """The parents of a route with errors: on a cell it closes what it would have narrowed."""
    parents = []
    for one in _list(written.get("parentRefs")):
        tries = (one, {**one, "port": None}, {**one, "port": None, "sectionName": None})
        parents += [ref for each in tries if (ref := _readable(ParentRef, each)) is not None][:1]
    return HttpRouteSpec.model_construct(parent_refs=tuple(parents), hostnames=(), rules=()) if parents else None


def _list(value: object) -> list[Json]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _readable(spec: type[S], written: Json) -> S | None:
    try:
        return spec.model_validate({key: value for key, value in written.items() if key in aliases(spec)})
    except ValidationError:
        return None


def aliases(model: type[BaseModel]) -> list[str]:
    """The names of a model's fields, as they are written."""
    return [field.alias or name for name, field in model.model_fields.items()]
