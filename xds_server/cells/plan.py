"""Who is who: the organization, classes, cells and their bindings in one stage, with what is wrong between them.

In: objects of the five kinds, and a stage. Out: a `Plan`. Only objects that fit together get into it; what does not is
reported and leaves the rest alone. No gateway or route is made here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from xds_server.cells.authority import Authority
from xds_server.cells.bindings import Asked, Bound, bind, close
from xds_server.cells.releases import NO_RELEASES, Releases
from xds_server.diagnostics import Diagnostic
from xds_server.model.cell_kinds import (
    CellBindingSpec,
    CellClassSpec,
    CellSpec,
    OrganizationSpec,
)
from xds_server.model.core import SecretBody
from xds_server.model.external_services import ExternalServiceSpec
from xds_server.model.object import Object
from xds_server.types import CELLWAY_GROUP

_NOBODY = "default"
"""The organization of cells where none is written."""


@dataclass(frozen=True, slots=True)
class External:
    """An external service."""

    item: Object
    spec: ExternalServiceSpec


@dataclass(frozen=True, slots=True)
class Plan:
    """All that fits together in one stage.

    `declared` holds every readable cell, bound or not; `elsewhere` are those that other stages bind;
    `secrets` the keys that Secrets have; `authority` vouches for the gateways, None where placeholders will do.
    """

    organization: OrganizationSpec
    organization_name: str
    stage: str
    trust_domain: str
    declared: Mapping[str, Object]
    cells: Mapping[str, Bound]
    externals: Mapping[str, External]
    elsewhere: frozenset[str] = frozenset()
    secrets: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    authority: Authority | None = None

    @property
    def first(self) -> bool:
        """True for the stage in which cells begin."""
        return self.stage == self.organization.stages[0].name

    def gateway(self, cell: str, direction: str = "") -> str:
        """What Envoys of a gateway ask by: `ORGANIZATION/STAGE/CELL/DIRECTION`; without a direction: of all of a cell."""
        name = f"{self.organization_name}/{self.stage}/{cell}"
        return f"{name}/{direction}" if direction else name

    def is_only_elsewhere(self, cell: str) -> bool:
        """True for a cell that is in other stages and not in this one."""
        return cell in self.elsewhere and cell not in self.cells


def organization_of(objects: Iterable[Object]) -> tuple[str, OrganizationSpec, list[Object]]:
    """The organization that counts, by name, and the objects that are one too many. `objects` are in order of age."""
    found = [item for item in objects if (item.key.group, item.key.kind) == (CELLWAY_GROUP, "Organization")]
    if not found:
        return _NOBODY, OrganizationSpec(), []
    assert isinstance(found[0].spec, OrganizationSpec)
    return found[0].name, found[0].spec, found[1:]


def make_plan(
    objects: Iterable[Object], problems: list[Diagnostic], stage: str = "", releases: Releases = NO_RELEASES
) -> Plan:
    """Fit the objects together for a stage (the first one, if it is not named). `objects` are in the order of their age."""
    objects = list(objects)
    by_kind: dict[str, dict[str, Object]] = {}
    secrets: dict[tuple[str, str], frozenset[str]] = {}
    for item in objects:
        if isinstance(item.spec, SecretBody):
            secrets[item.namespace, item.name] = frozenset((*item.spec.data, *item.spec.string_data))
        if item.key.group == CELLWAY_GROUP:
            by_kind.setdefault(item.key.kind, {})[item.name] = item
    name, spec, extra = organization_of(objects)
    problems.extend(one.diagnose("C101", name=name) for one in extra)
    chosen = next((one for one in spec.stages if one.name == stage), spec.stages[0])
    cells, bindings = by_kind.get("Cell", {}), list(by_kind.get("CellBinding", {}).values())
    chains = {cell: _classes(item, by_kind.get("CellClass", {}), spec, problems) for cell, item in cells.items()}
    bound = bind(cells, bindings, chains, Asked(spec, chosen, releases), problems)
    externals = {}
    for external, item in by_kind.get("ExternalService", {}).items():
        assert isinstance(item.spec, ExternalServiceSpec)
        externals[external] = External(item, item.spec)
    trust = spec.domain_of(chosen)
    elsewhere = frozenset(
        one.spec.cell
        for one in bindings
        if isinstance(one.spec, CellBindingSpec) and one.spec.stage in {stage.name for stage in spec.stages}
    )
    return Plan(spec, name, chosen.name, trust, cells, bound, externals, elsewhere, secrets)


def _classes(
    cell: Object, classes: Mapping[str, Object], organization: OrganizationSpec, problems: list[Diagnostic]
) -> tuple[Object, ...] | None:
    """The chain of classes, the weakest first; None if it is broken."""
    assert isinstance(cell.spec, CellSpec)
    chain: list[Object] = []
    own = cell.spec.class_
    name, asked, path = own or organization.default_class, cell, ("class",) if own else ()
    while name is not None:
        found = classes.get(name)
        if found is None or found in chain:
            what = f"there is no CellClass '{name}'" if found is None else f"CellClass '{name}' extends itself"
            problems.append(asked.diagnose("C102", *path, hint=close(name, classes), reason=what))
            return None
        chain.append(found)
        assert isinstance(found.spec, CellClassSpec)
        name, asked, path = found.spec.extends, found, ("extends",)
    return tuple(reversed(chain))


__all__ = ["Bound", "External", "Plan", "close", "make_plan", "organization_of"]
