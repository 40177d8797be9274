"""Bindings: which cell is where in which stage.

In: bindings, cells, their classes and the stage that is asked for. Out: the cells of that stage. The bindings of all
stages share one space of addresses, and hosts of a production stage are in no other one; what clashes is reported and
left out.
"""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from xds_server.cells.releases import Releases
from xds_server.diagnostics import Diagnostic
from xds_server.model.cell_kinds import (
    WORKING_COPY,
    CellBindingSpec,
    CellEndpoint,
    CellSpec,
    Direction,
    OrganizationSpec,
    Stage,
)
from xds_server.model.object import Object
from xds_server.types import Path

OFFSETS: Mapping[Direction, int] = {"north": 1, "west": 2, "east": 3, "south": 4}
Chains = Mapping[str, tuple[Object, ...] | None]


@dataclass(frozen=True, slots=True)
class Bound:
    """A cell in the stage, with its class chain (weakest first) and its binding. `reserved`: hosts it may not have.

    `domain` is the trust domain of the stage.
    """

    item: Object
    spec: CellSpec
    binding: Object
    bound: CellBindingSpec
    classes: tuple[Object, ...]
    reserved: frozenset[str] = frozenset()
    domain: str = ""

    @property
    def sidecars(self) -> tuple[str, ...]:
        """The components that have a sidecar in the stage."""
        names = dict.fromkeys(one.name for one in self.spec.components)
        return tuple(name for name in names if name in self.bound.sidecars)

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
class Asked:
    """What is asked for: the cells of one stage of an organization, as its releases say.

    Not `settled` where the organization has errors or is not written: then nobody knows which stages there are.
    """

    organization: OrganizationSpec
    stage: Stage
    releases: Releases
    settled: bool = True

    @property
    def first(self) -> bool:
        """True for the stage in which cells begin."""
        return self.stage == self.organization.stages[0]

    @property
    def names(self) -> list[str]:
        """All stages, in the order of promotion."""
        return [stage.name for stage in self.organization.stages]


def close(wrong: str, names: Iterable[str]) -> str:
    """A hint that names the nearest of some names, or nothing."""
    found = difflib.get_close_matches(wrong, sorted(names), n=1)
    return f"did you mean '{found[0]}'?" if found else ""


def hosts_of(spec: CellSpec, bound: CellBindingSpec) -> tuple[str, ...]:
    """The hosts of a cell on the internet: those of the binding, else the cell's own; none where nothing is public."""
    if not any("public" in one.visibility for component in spec.components for one in component.endpoints):
        return ()
    override, own = bound.overrides.gateways.north, spec.gateways.north
    return (override.hostnames if override else ()) or (own.hostnames if own else ())


def bind(
    cells: Mapping[str, Object],
    bindings: Iterable[Object],
    chains: Chains,
    asked: Asked,
    production: Mapping[str, str],
    problems: list[Diagnostic],
) -> dict[str, Bound]:
    """The cells of the stage. `bindings` are those of all stages, in the order of their age.

    `production` are hosts that the stage may not have, each with the name of the binding that has it.
    """
    bound: dict[str, Bound] = {}
    addresses: dict[str, tuple[str, str]] = {}
    for binding in bindings:
        spec = binding.spec
        assert isinstance(spec, CellBindingSpec)
        own = spec.stage == asked.stage.name
        problem = _problem(spec, asked) or (_own_problem(spec, cells, bound) if own else None)
        if problem is not None:
            path, reason, hint = problem
            problems.append(binding.diagnose("C104", *path, hint=hint, reason=reason))
            continue
        chain = chains.get(spec.cell)
        if own and chain is None:
            continue
        base = ipaddress.ip_address(spec.address)
        mine = {str(base + offset): (spec.cell, spec.stage) for offset in OFFSETS.values()}
        taken = sorted(set(mine) & set(addresses))
        if taken:
            cell, stage = addresses[taken[0]]
            where = f" in stage {stage}" if stage != spec.stage else ""
            reason = f"{taken[0]} is already a gateway of cell {cell}{where}"
            problems.append(binding.diagnose("C104", "address", reason=reason))
            continue
        addresses |= mine
        if own and chain is not None and _is_in(binding, spec, asked, problems):
            item = cells[spec.cell]
            assert isinstance(item.spec, CellSpec)
            reserved = _reserved(binding, item.spec, spec, production, problems)
            domain = asked.organization.domain_of(asked.stage)
            bound[spec.cell] = Bound(item, item.spec, binding, spec, chain, reserved, domain)
            _check_endpoints(bound[spec.cell], problems)
    return bound


def _problem(spec: CellBindingSpec, asked: Asked) -> tuple[Path, str, str] | None:
    """What is wrong with a binding whatever the stage: a path, a sentence and a hint."""
    if spec.stage not in asked.names:
        text = f"the organization has no stage '{spec.stage}'; it has {', '.join(asked.names)}"
        return ("stage",), text, close(spec.stage, asked.names)
    stage = asked.organization.stages[asked.names.index(spec.stage)]
    if spec.release == WORKING_COPY and stage.production and spec.stage != asked.names[0]:
        return ("release",), f"stage {spec.stage} is production and has releases only", "promote the cell instead"
    base = ipaddress.ip_address(spec.address)
    if int(base) + max(OFFSETS.values()) >= 2**base.max_prefixlen:
        return ("address",), "there is no room for four addresses after this one", ""
    return None


def _own_problem(
    spec: CellBindingSpec, cells: Mapping[str, Object], bound: Mapping[str, Bound]
) -> tuple[Path, str, str] | None:
    if spec.cell not in cells:
        return ("cell",), f"there is no cell '{spec.cell}'", close(spec.cell, cells)
    if spec.cell in bound:
        return ("cell",), f"cell '{spec.cell}' is already bound by {bound[spec.cell].binding.name}", ""
    cell = cells[spec.cell].spec
    assert isinstance(cell, CellSpec)
    known = [one.name for one in cell.components]
    # A component that was to have a sidecar would speak plain text without it, and `from` would be open.
    unknown = next((name for name in spec.sidecars if name not in known), None)
    if unknown is not None:
        text = f"cell {spec.cell} has no component '{unknown}'; without its sidecar the cell is not served at all"
        return ("sidecars", unknown), text, close(unknown, known)
    return None


def _is_in(binding: Object, spec: CellBindingSpec, asked: Asked, problems: list[Diagnostic]) -> bool:
    """Whether the cell is in the stage: with the working copy, or with a release that is there."""
    releases = asked.releases
    if spec.release == WORKING_COPY or (spec.release is None and asked.first):
        return True
    name, live = releases.of(spec, first=asked.first), releases.live.get((spec.stage, spec.cell))
    wanted = spec.release or live
    if wanted is None:
        problems.append(binding.diagnose("C121", "stage", cell=spec.cell, stage=spec.stage))
    elif name != wanted:
        kept = f"; the stage keeps {name}" if name else f"; the cell is not in stage {spec.stage}"
        known = [one for one in releases.stored if releases.has(one, spec.cell)]
        path = "release" if spec.release else "stage"
        problems.append(binding.diagnose("C123", path, hint=close(wanted, known), name=wanted, kept=kept))
    return bool(name)


def _reserved(
    binding: Object,
    cell: CellSpec,
    bound: CellBindingSpec,
    production: Mapping[str, str],
    problems: list[Diagnostic],
) -> frozenset[str]:
    hosts = [host for host in hosts_of(cell, bound) if host in production]
    override = bound.overrides.gateways.north
    written = override is not None and bool(override.hostnames)
    path: Path = ("overrides", "gateways", "north", "hostnames") if written else ("cell",)
    for host in hosts:
        reason = f"{host} is bound by {production[host]}; stage {bound.stage} does not serve it"
        hint = "" if written else "give this stage its own: overrides.gateways.north.hostnames"
        problems.append(binding.diagnose("C124", *path, hint=hint, reason=reason))
    return frozenset(hosts)


def _check_endpoints(cell: Bound, problems: list[Diagnostic]) -> None:
    known = cell.endpoint_names()
    for name in cell.bound.endpoints:
        if name not in known:
            reason = f"cell {cell.name} has no endpoint '{name}'"
            problems.append(cell.binding.diagnose("C104", "endpoints", name, hint=close(name, known), reason=reason))
