"""The sections of a cell: its doors, and the derived routes behind each.

In: a plan. Out: `Section`s, the names that policies and routes may attach to (`west.api.http`, `east.orders`), each
with the derived routes it stands for. A section exists only where a gateway is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from xds_server.cells.externals import missing_credential
from xds_server.cells.names import first_of_name
from xds_server.cells.plan import Bound, External, Plan, close
from xds_server.diagnostics import Diagnostic, Span, diagnose
from xds_server.model.cell_kinds import CellEndpoint, CellSpec, Dependency, Direction
from xds_server.model.external_services import Allow
from xds_server.model.object import Object
from xds_server.types import Path

CREDENTIAL_MISSING = "credential-missing"


@dataclass(frozen=True, slots=True)
class Door:
    """An endpoint of a component on north or west."""

    component: str
    endpoint: CellEndpoint
    direction: Direction
    at: Span

    @property
    def section(self) -> str:
        """`west.api.http`."""
        return f"{self.direction}.{self.component}.{self.endpoint.name}"

    @property
    def route(self) -> str:
        """The name of its derived route."""
        return f"{self.component}.{self.endpoint.name}.{self.direction}"


@dataclass(frozen=True, slots=True)
class Exit:
    """A dependency on east or south. `refusal` says why it is refused; empty if it is not."""

    dependency: Dependency
    direction: Direction
    at: Span
    path: Path
    refusal: str = ""
    reason: str = ""
    message: str = ""
    provider: Bound | None = None
    endpoint: str = ""
    external: External | None = None
    hint: str = ""

    @property
    def section(self) -> str:
        """`east.orders`."""
        return f"{self.direction}.{self.dependency.name}"

    @property
    def route(self) -> str:
        """The name of its derived route."""
        return f"{self.dependency.name}.{self.direction}"


@dataclass(frozen=True, slots=True)
class Added:
    """A written route on a whole direction. Its section is a place of its own that no `sectionName` can spell."""

    direction: Direction
    route: str
    at: Span

    @property
    def section(self) -> str:
        """`north/extra`."""
        return f"{self.direction}/{self.route}"


@dataclass(frozen=True, slots=True)
class Sections:
    """All doors and exits of a cell."""

    cell: Bound
    doors: tuple[Door, ...]
    exits: tuple[Exit, ...]

    @property
    def all(self) -> tuple[Door | Exit, ...]:
        """Doors and exits together."""
        return (*self.doors, *self.exits)

    def directions(self) -> tuple[Direction, ...]:
        """The directions that need a gateway."""
        used = {one.direction for one in self.all}
        return tuple(direction for direction in ("north", "west", "east", "south") if direction in used)

    def routes(self, section: str) -> tuple[str, ...]:
        """The derived routes that a section stands for; empty if there is no such section."""
        if section == "" or section in self.directions():
            return tuple(one.route for one in self.all if section in ("", one.direction))
        return tuple(one.route for one in self.all if one.section == section)

    def names(self) -> list[str]:
        """Every section there is."""
        return [*self.directions(), *(one.section for one in self.all)]


def permits(allow: Allow | None, cell: str) -> bool:
    """True if an `allow` admits a cell; without one every cell that declares the dependency is admitted."""
    return allow is None or allow.all or cell in allow.cells


def read_sections(cell: Bound, plan: Plan) -> Sections:
    """The doors and exits of a cell."""
    doors = []
    for number, component in first_of_name(cell.spec.components):
        for place, endpoint in first_of_name(component.endpoints):
            at = cell.item.source.value("spec", "components", number, "endpoints", place)
            if "public" in endpoint.visibility:
                doors.append(Door(component.name, endpoint, "north", at))
            if "organization" in endpoint.visibility:
                doors.append(Door(component.name, endpoint, "west", at))
    exits = tuple(_with_credential(one, cell, plan) for one in read_exits(cell.item, cell.spec, plan))
    return Sections(cell, tuple(doors), exits)


def _with_credential(one: Exit, cell: Bound, plan: Plan) -> Exit:
    """A dependency whose credential is not there is refused: nothing goes out without it."""
    message = missing_credential(cell, one.external, plan) if one.external and not one.refusal else ""
    return replace(one, refusal=CREDENTIAL_MISSING, reason="CredentialMissing", message=message) if message else one


def read_exits(cell: Object, spec: CellSpec, plan: Plan) -> tuple[Exit, ...]:
    """The dependencies of a cell, bound or not."""
    return tuple(_exit(cell, number, one, plan) for number, one in first_of_name(spec.dependencies))


def _exit(cell: Object, number: int, dependency: Dependency, plan: Plan) -> Exit:
    at = cell.source.value("spec", "dependencies", number)
    path = ("dependencies", number)
    if dependency.external is not None:
        external = plan.externals.get(dependency.external)
        if external is None:
            message = f"there is no external service '{dependency.external}'"
            hint = close(dependency.external, plan.externals)
            return Exit(dependency, "south", at, path, "external-not-allowed", "NotFound", message, hint=hint)
        if not permits(external.spec.allow, cell.name):
            message = f"external service '{dependency.external}' does not allow cell {cell.name}"
            return Exit(dependency, "south", at, path, "not-allowed", "NotAllowed", message, external=external)
        return Exit(dependency, "south", at, path, external=external)
    assert dependency.cell is not None
    provider = plan.cells.get(dependency.cell)
    if provider is None:
        known = dependency.cell in plan.declared
        message = (
            f"cell '{dependency.cell}' is not in stage {plan.stage}"
            if known
            else f"there is no cell '{dependency.cell}'"
        )
        reason, hint = ("NotBound", "") if known else ("NotFound", close(dependency.cell, plan.declared))
        return Exit(dependency, "east", at, path, "undeclared-dependency", reason, message, hint=hint)
    return _exit_to(cell, dependency, provider, Exit(dependency, "east", at, path, provider=provider))


def _exit_to(cell: Object, dependency: Dependency, provider: Bound, start: Exit) -> Exit:
    assert dependency.component is not None
    name = dependency.endpoint or _only_endpoint(provider, dependency.component)
    endpoint = provider.endpoint(dependency.component, name)
    refusal, reason, message, hint = "", "", "", ""
    full = f"{dependency.component}.{name} of cell {provider.name}"
    if endpoint is None:
        refusal, reason, message = "undeclared-dependency", "NotFound", f"there is no endpoint {full}"
        hint = close(f"{dependency.component}.{name}", provider.endpoint_names())
    elif "organization" not in endpoint.visibility:
        refusal, reason, message = "not-visible", "NotVisible", f"endpoint {full} is not visible to the organization"
    elif not permits(endpoint.allow, cell.name):
        refusal, reason, message = "not-allowed", "NotAllowed", f"endpoint {full} does not allow cell {cell.name}"
    return Exit(dependency, "east", start.at, start.path, refusal, reason, message, provider, name, hint=hint)


def check_overrides(sections: Sections) -> Iterator[Diagnostic]:
    """Overrides of a binding that override nothing."""
    binding, overrides = sections.cell.binding, sections.cell.bound.overrides
    externals = [one.external for one in sections.cell.spec.dependencies if one.external]
    for what, known, names in (
        ("section", [one.section for one in sections.all], list(overrides.sections)),
        ("external dependency", externals, list(overrides.externals)),
    ):
        field = "sections" if what == "section" else "externals"
        for name in names:
            if name not in known:
                reason = f"cell {sections.cell.name} has no {what} '{name}'"
                at = binding.source.key("spec", "overrides", field, name)
                hint = close(name, known)
                yield diagnose("C125", at, subject=str(binding.key), hint=hint, reason=reason)


def _only_endpoint(provider: Bound, component: str) -> str:
    """The endpoint that a dependency means when it names none: the only one, or the one called http."""
    for one in provider.spec.components:
        if one.name == component and len(one.endpoints) == 1:
            return one.endpoints[0].name
    return "http"


def logical_names(provider: Bound, component: str, endpoint: str, domain: str) -> list[str]:
    """The names of an endpoint: with its own name, and without where that is clear."""
    short = f"{component}.{provider.name}.{domain}"
    return [f"{endpoint}.{short}", *([short] if _only_endpoint(provider, component) == endpoint else [])]
