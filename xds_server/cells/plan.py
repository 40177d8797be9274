"""Who is who: the organization, classes, cells, their bindings and addresses, with what is wrong between them.

In: objects of the five kinds. Out: a `Plan`. Only objects that fit together get into it; what does not is reported and
leaves the rest alone. No gateway or route is made here.
"""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from xds_server.diagnostics import Diagnostic
from xds_server.model.cell_kinds import (
    CellBindingSpec,
    CellClassSpec,
    CellEndpoint,
    CellSpec,
    Direction,
    OrganizationSpec,
)
from xds_server.model.core import SecretBody
from xds_server.model.external_services import ExternalServiceSpec
from xds_server.model.object import Object
from xds_server.types import CELLWAY_GROUP

OFFSETS: Mapping[Direction, int] = {"north": 1, "west": 2, "east": 3, "south": 4}


@dataclass(frozen=True, slots=True)
class Bound:
    """A cell in the stage, with its class chain (weakest first) and its binding."""

    item: Object
    spec: CellSpec
    binding: Object
    bound: CellBindingSpec
    classes: tuple[Object, ...]

    @property
    def name(self) -> str:
        """The cell's name, which is also its namespace."""
        return self.item.name

    def address(self, direction: Direction) -> str:
        """The address of one of its gateways."""
        return str(ipaddress.ip_address(self.bound.address) + OFFSETS[direction])

    def endpoint(self, component: str, endpoint: str) -> CellEndpoint | None:
        """One endpoint of a component."""
        for one in self.spec.components:
            if one.name == component:
                return next((found for found in one.endpoints if found.name == endpoint), None)
        return None

    def endpoint_names(self) -> list[str]:
        """`<component>.<endpoint>` of all endpoints."""
        return [f"{one.name}.{endpoint.name}" for one in self.spec.components for endpoint in one.endpoints]


@dataclass(frozen=True, slots=True)
class External:
    """An external service."""

    item: Object
    spec: ExternalServiceSpec


@dataclass(frozen=True, slots=True)
class Plan:
    """All that fits together. `declared` holds every readable cell, bound or not; `secrets` the keys that Secrets have."""

    organization: OrganizationSpec
    trust_domain: str
    declared: Mapping[str, Object]
    cells: Mapping[str, Bound]
    externals: Mapping[str, External]
    secrets: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)

    def caller(self, cell: str) -> str:
        """The identity of a cell's east gateway."""
        return f"spiffe://{self.trust_domain}/cell/{cell}/gw/east"


def close(wrong: str, names: Iterable[str]) -> str:
    """A hint that names the nearest of some names, or nothing."""
    found = difflib.get_close_matches(wrong, sorted(names), n=1)
    return f"did you mean '{found[0]}'?" if found else ""


def make_plan(objects: Iterable[Object], problems: list[Diagnostic]) -> Plan:
    """Fit the objects together. `objects` are in the order of their age."""
    by_kind: dict[str, dict[str, Object]] = {}
    secrets: dict[tuple[str, str], frozenset[str]] = {}
    for item in objects:
        if isinstance(item.spec, SecretBody):
            secrets[item.namespace, item.name] = frozenset(item.spec.values())
        if item.key.group == CELLWAY_GROUP:
            by_kind.setdefault(item.key.kind, {})[item.name] = item
    organizations = list(by_kind.get("Organization", {}).values())
    problems.extend(extra.diagnose("C101", name=organizations[0].name) for extra in organizations[1:])
    spec = organizations[0].spec if organizations else OrganizationSpec()
    assert isinstance(spec, OrganizationSpec)
    stage = spec.stages[0]
    cells = by_kind.get("Cell", {})
    chains = {name: _classes(cell, by_kind.get("CellClass", {}), spec, problems) for name, cell in cells.items()}
    bound = _bind(cells, by_kind.get("CellBinding", {}), chains, spec, problems)
    externals = {}
    for name, item in by_kind.get("ExternalService", {}).items():
        assert isinstance(item.spec, ExternalServiceSpec)
        externals[name] = External(item, item.spec)
    return Plan(spec, stage.trust_domain or f"{stage.name}.{spec.logical_domain}", cells, bound, externals, secrets)


def _bind(
    cells: Mapping[str, Object],
    bindings: Mapping[str, Object],
    chains: Mapping[str, tuple[Object, ...] | None],
    organization: OrganizationSpec,
    problems: list[Diagnostic],
) -> dict[str, Bound]:
    bound: dict[str, Bound] = {}
    addresses: dict[str, str] = {}
    for binding in bindings.values():
        spec = binding.spec
        assert isinstance(spec, CellBindingSpec)
        reason = _binding_problem(spec, cells, bound, organization)
        if reason:
            problems.append(binding.diagnose("C104", *reason[0], hint=reason[2], reason=reason[1]))
            continue
        cell = cells[spec.cell]
        assert isinstance(cell.spec, CellSpec)
        chain = chains[cell.name]
        if chain is None:
            continue
        candidate = Bound(cell, cell.spec, binding, spec, chain)
        mine = {candidate.address(direction): cell.name for direction in OFFSETS}
        taken = sorted(set(mine) & set(addresses))
        if taken:
            reason_text = f"{taken[0]} is already a gateway of cell {addresses[taken[0]]}"
            problems.append(binding.diagnose("C104", "address", reason=reason_text))
            continue
        addresses |= mine
        bound[cell.name] = candidate
        _check_endpoints(candidate, problems)
    return bound


def _binding_problem(
    spec: CellBindingSpec, cells: Mapping[str, Object], bound: Mapping[str, Bound], organization: OrganizationSpec
) -> tuple[tuple[str | int, ...], str, str] | None:
    stages = [stage.name for stage in organization.stages]
    if spec.stage not in stages:
        text = f"the organization has no stage '{spec.stage}'; it has {', '.join(stages)}"
        return ("stage",), text, close(spec.stage, stages)
    if spec.stage != stages[0]:
        text = f"only one stage is served for now, the organization's first ('{stages[0]}')"
        return ("stage",), text, ""
    if spec.cell not in cells:
        return ("cell",), f"there is no cell '{spec.cell}'", close(spec.cell, cells)
    if spec.cell in bound:
        return ("cell",), f"cell '{spec.cell}' is already bound by {bound[spec.cell].binding.name}", ""
    base = ipaddress.ip_address(spec.address)
    if int(base) + max(OFFSETS.values()) >= 2**base.max_prefixlen:
        return ("address",), "there is no room for four addresses after this one", ""
    return None


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


def _check_endpoints(cell: Bound, problems: list[Diagnostic]) -> None:
    known = cell.endpoint_names()
    for name in cell.bound.endpoints:
        if name not in known:
            reason = f"cell {cell.name} has no endpoint '{name}'"
            problems.append(cell.binding.diagnose("C104", "endpoints", name, hint=close(name, known), reason=reason))
