"""What is said of the objects of the five kinds: accepted, bound, and what became of dependencies.

In: the objects, the plan, the sections and what was found wrong. Out: a status for each. Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xds_server.cells.plan import Plan
from xds_server.cells.sections import Exit, Sections, read_exits
from xds_server.cells.sidecars import enforcement
from xds_server.diagnostics import Diagnostic
from xds_server.model.cell_kinds import CellSpec
from xds_server.model.object import Object
from xds_server.status import Status
from xds_server.types import CELLWAY_GROUP, Condition, Key

_WHOLE = ("C101", "C102", "C104")
"""What is wrong with an object as a whole."""
_HOSTS = {"C106": "NoHostnames", "C107": "HostConflict"}
"""Why a public endpoint is not to be had from the internet."""


def exits_of(cell: Object, plan: Plan, sections: Mapping[str, Sections]) -> tuple[Exit, ...]:
    """The dependencies of a cell. One that is not in the stage does not miss others that are not."""
    if cell.name in sections:
        return sections[cell.name].exits
    assert isinstance(cell.spec, CellSpec)
    return tuple(one for one in read_exits(cell, cell.spec, plan) if one.reason != "NotBound")


def cell_statuses(
    objects: Iterable[Object], plan: Plan, sections: Mapping[str, Sections], problems: Iterable[Diagnostic]
) -> dict[Key, Status]:
    """The status of every object of a cell kind."""
    problems = list(problems)
    refused = {one.subject: one.message for one in problems if one.code in _WHOLE}
    used_bindings = [one.cell.binding for one in sections.values()]
    statuses = {}
    for item in objects:
        if item.key.group == CELLWAY_GROUP:
            message = refused.get(str(item.key), "")
            used = not message or item in used_bindings
            accepted = Condition("Accepted", used, "Accepted" if used else "Invalid", message)
            extra = _cell_conditions(item, plan, sections) if item.key.kind == "Cell" else ()
            statuses[item.key] = Status((accepted, *extra, *_exposed(item, sections, problems)))
    return statuses


def _cell_conditions(cell: Object, plan: Plan, sections: Mapping[str, Sections]) -> tuple[Condition, ...]:
    known, exits = sections.get(cell.name), exits_of(cell, plan, sections)
    if known is None:
        bound = Condition("Bound", False, "NotBound", "no usable CellBinding binds this cell in the stage")
    else:
        bound = Condition("Bound", True, "Bound", known.cell.binding.name)
    conditions = [bound, _dependencies(exits)]
    if known is not None and (known.cell.sidecars or _names_users(known, exits)):
        conditions.append(Condition("Enforcement", True, *enforcement(known)))
    return tuple(conditions)


def _names_users(known: Sections, exits: tuple[Exit, ...]) -> bool:
    """Whether a dependency or an endpoint says which components may use it."""
    endpoints = (one for component in known.cell.spec.components for one in component.endpoints)
    return any(one.dependency.from_ for one in exits) or any(one.from_ for one in endpoints)


def _exposed(item: Object, sections: Mapping[str, Sections], problems: Iterable[Diagnostic]) -> tuple[Condition, ...]:
    """Whether the internet reaches the public endpoints of a cell; nothing for what has none."""
    if item.key.kind != "Cell" or item.name not in sections or "north" not in sections[item.name].directions():
        return ()
    found = [one for one in problems if one.code in _HOSTS and one.subject == str(item.key)]
    if not found:
        return (Condition("Exposed", True, "Exposed"),)
    reasons = ",".join(sorted({_HOSTS[one.code] for one in found}))
    return (Condition("Exposed", False, reasons, "; ".join(one.message for one in found)),)


def _dependencies(exits: tuple[Exit, ...]) -> Condition:
    refused = [one for one in exits if one.refusal]
    if not refused:
        return Condition("ResolvedRefs", True, "ResolvedRefs")
    reasons = ",".join(sorted({one.reason for one in refused}))
    message = "; ".join(f"{one.dependency.name}: {one.message}" for one in refused)
    return Condition("ResolvedRefs", False, reasons, message)
