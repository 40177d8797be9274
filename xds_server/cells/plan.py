"""Who is who: the organization, classes, cells and their bindings in one stage, with what is wrong between them.

In: objects of the five kinds, and a stage. Out: a `Plan`. Only objects that fit together get into it; what does not is
reported and leaves the rest alone. No gateway or route is made here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from xds_server.cells.authority import Authority
from xds_server.cells.bindings import Asked, Bound, bind, close
from xds_server.cells.production import production_hosts, production_secrets
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
    `secrets` the keys that Secrets have; `authority` vouches for the gateways, None where placeholders will do. Without a
    `readable` organization no cell is bound. Where the stage is not production, `reserved` are hosts of production and
    `withheld` are its Secrets. Where it is production and the first one, which what is in no cell is compiled with, `kept` are.
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
    readable: bool = True
    reserved: Mapping[str, str] = field(default_factory=dict)
    withheld: frozenset[tuple[str, str]] = frozenset()
    kept: frozenset[tuple[str, str]] = frozenset()

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


@dataclass(frozen=True, slots=True)
class Found:
    """The organization that counts, and the objects that are one too many."""

    name: str = _NOBODY
    spec: OrganizationSpec = field(default_factory=OrganizationSpec)
    extra: tuple[Object, ...] = ()
    readable: bool = True


def organization_of(objects: Iterable[Object]) -> Found:
    """The organization that counts. `objects` are in order of age."""
    found = [item for item in objects if (item.key.group, item.key.kind) == (CELLWAY_GROUP, "Organization")]
    if not found:
        return Found()
    first, *extra = found
    assert isinstance(first.spec, OrganizationSpec)
    return Found(first.name, first.spec, tuple(extra), not first.broken)


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
    organization = organization_of(objects)
    name, spec = organization.name, organization.spec
    problems.extend(one.diagnose("C101", name=name) for one in organization.extra)
    chosen = next((one for one in spec.stages if one.name == stage), spec.stages[0])
    cells, bindings = by_kind.get("Cell", {}), list(by_kind.get("CellBinding", {}).values())
    chains = {cell: _classes(item, by_kind.get("CellClass", {}), spec, problems) for cell, item in cells.items()}
    asked = Asked(spec, chosen, releases, settled=organization.readable and "Organization" in by_kind)
    hosts, live = production_hosts(cells, bindings, asked), production_secrets(bindings, asked)
    withheld = frozenset() if chosen.production else live
    if organization.readable:
        bound = bind(cells, bindings, chains, asked, hosts, problems)
    else:
        reason = f"the Organization {name} has errors, and nothing is bound without it"
        problems += [one.diagnose("C104", reason=reason) for one in bindings]
        bound = {}
    externals = {}
    for external, item in by_kind.get("ExternalService", {}).items():
        assert isinstance(item.spec, ExternalServiceSpec)
        externals[external] = External(item, item.spec)
    trust = spec.domain_of(chosen)
    elsewhere = _bound_somewhere(bindings, {one.name for one in spec.stages} if organization.readable else None)
    readable, secrets = organization.readable, {key: one for key, one in secrets.items() if key not in withheld}
    plan = Plan(spec, name, chosen.name, trust, cells, bound, externals, elsewhere, secrets, readable=readable)
    kept = live if chosen.production and asked.first else frozenset()
    return replace(plan, reserved=hosts, withheld=withheld, kept=kept)


def _bound_somewhere(bindings: Iterable[Object], stages: Collection[str] | None) -> frozenset[str]:
    """The cells that are in one of these stages, or in any."""
    specs = [one.spec for one in bindings if isinstance(one.spec, CellBindingSpec)]
    return frozenset(spec.cell for spec in specs if stages is None or spec.stage in stages)


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
