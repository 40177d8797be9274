"""Cells -> the Gateway API objects that they mean: the room's one entrance.

In: all objects. Out: `Lowered`: no object of a cell kind is left, derived ones stand in their place, and the statuses
of what was replaced. The order of objects changes nothing; a broken cell leaves the others as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from xds_server.cells.attachments import add_policies, overridden_fields, policy_statuses, take_policies
from xds_server.cells.authority import Authorities, Authority
from xds_server.cells.classes import check_classes
from xds_server.cells.components import add_inbound, add_sidecars
from xds_server.cells.derive import Output
from xds_server.cells.east import add_east
from xds_server.cells.identities import identity_keys, sidecar_of
from xds_server.cells.ingress import add_north, tls_settings
from xds_server.cells.logs import log_gateways
from xds_server.cells.lowering import Lowering
from xds_server.cells.names import check_names, component_names
from xds_server.cells.origins import SectionSettings
from xds_server.cells.plan import Plan, make_plan
from xds_server.cells.providers import fill_providers
from xds_server.cells.releases import NO_RELEASES, Releases
from xds_server.cells.routes import take_routes
from xds_server.cells.sections import Sections, check_overrides, read_sections
from xds_server.cells.sidecars import check_sidecars
from xds_server.cells.south import add_south
from xds_server.cells.statuses import cell_statuses, exits_of
from xds_server.cells.west import add_west
from xds_server.diagnostics import Diagnostic
from xds_server.model.cell_kinds import CellSpec, OrganizationSpec
from xds_server.model.gateway_api import RouteSpec
from xds_server.model.object import Object
from xds_server.model.patches import EnvoyPatchPolicySpec
from xds_server.status import Status
from xds_server.types import CELLWAY_GROUP, CORE_GROUP, ENVOY_GATEWAY_GROUP, GATEWAY_GROUP, Key


@dataclass(frozen=True, slots=True)
class Lowered:
    """Objects without cells. `made` says which derived objects carry on what a written one says.

    `settings` says what counts in every section of every cell, and who set it; `plan` and `sections` are the cells that
    the objects came from.
    """

    objects: Sequence[Object]
    statuses: Mapping[Key, Status] = field(default_factory=dict)
    diagnostics: tuple[Diagnostic, ...] = ()
    made: Mapping[Key, tuple[Key, ...]] = field(default_factory=dict)
    settings: tuple[SectionSettings, ...] = ()
    stage: str = ""
    gateways: Mapping[Key, tuple[str, str]] = field(default_factory=dict)
    """What the Envoys of each derived Gateway ask by, and what those that serve all Gateways of its cell ask by.

    The latter is empty for sidecars.
    """
    plan: Plan | None = None
    sections: tuple[Sections, ...] = ()
    releases: Mapping[str, str] = field(default_factory=dict)
    """The release that each cell of the stage has; empty for the working copy."""

    @property
    def cells(self) -> dict[str, Sections]:
        """The cells of the stage by name, with their doors and exits."""
        return {one.cell.name: one for one in self.sections}

    @property
    def domain(self) -> str:
        """The end of all logical names."""
        return self.plan.organization.logical_domain if self.plan is not None else ""


def lower_cells(
    objects: Iterable[Object],
    stage: str = "",
    releases: Releases = NO_RELEASES,
    authorities: Authorities | None = None,
) -> Lowered:
    """Replace cells by what they mean in a stage: the first one, if it is not named.

    Without `authorities` certificates are placeholders.
    """
    ordered = sorted(objects, key=lambda item: (item.meta.created or "9999", item.key))
    output = Output()
    plan = _vouched(make_plan(ordered, output.problems, stage, releases), ordered, authorities, output)
    sections = {name: read_sections(cell, plan) for name, cell in plan.cells.items()}
    others = [item for item in ordered if item.key.group != CELLWAY_GROUP and not _is_secret_of(plan.withheld, item)]
    others = [replace(item, kept=True) if _is_secret_of(plan.kept, item) else item for item in others]
    paths = _add_gateways(sections, plan, output)
    log_gateways(next((item for item in ordered if isinstance(item.spec, OrganizationSpec)), None), plan, output)
    _check_declared(sections, plan, output)
    output.problems += check_classes(ordered)
    taken = output.objects.keys() | output.reserved
    written = frozenset(item.key for item in others if item.key not in taken)
    lowering = Lowering(plan, sections, written, output, {item.key: item for item in others}, paths)
    others = take_routes(others, lowering)
    for one in sections.values():
        add_inbound(one, plan, output)
    output.close_unprotected()
    others, attached = take_policies(others, lowering)
    for one in sections.values():
        add_policies(one, lowering.added.get(one.cell.name, ()), attached, output)
    output.problems += overridden_fields(attached)
    others = [kept for item in others if (kept := _off_gateways(item, output)) is not None]
    done = _with_providers([*_without_derived(others, plan, output), *output.objects.values()], plan, output)
    problems = list({(one.code, one.message, one.span): one for one in reversed(output.problems)}.values())[::-1]
    statuses = {**cell_statuses(ordered, plan, sections, problems), **policy_statuses(attached), **lowering.statuses}
    made = {key: tuple(derived) for key, derived in output.made.items()}
    names = _gateway_names(sections, plan)
    cells = tuple(sections.values())
    over_tls = [tls for one in cells if "north" in one.directions() for tls in tls_settings(one.cell)]
    settings = (*attached.settings, *over_tls)
    live = {name: releases.of(one.cell.bound, first=plan.first) for name, one in sections.items()}
    return Lowered(tuple(done), statuses, tuple(problems), made, settings, plan.stage, names, plan, cells, live)


def _gateway_names(sections: Mapping[str, Sections], plan: Plan) -> dict[Key, tuple[str, str]]:
    gateways = {
        Key(GATEWAY_GROUP, "Gateway", cell, f"{cell}-{direction}"): (plan.gateway(cell, direction), plan.gateway(cell))
        for cell, one in sections.items()
        for direction in one.directions()
    }
    # A sidecar runs beside its component: no Envoy that serves a cell's gateways has anything of it.
    sidecars = {
        Key(GATEWAY_GROUP, "Gateway", cell, f"{cell}-{sidecar_of(component)}"): (
            plan.gateway(cell, f"component/{component}"),
            "",
        )
        for cell, one in sections.items()
        for component in one.cell.sidecars
    }
    return gateways | sidecars


def _vouched(plan: Plan, objects: Iterable[Object], authorities: Authorities | None, output: Output) -> Plan:
    """The plan with what vouches for its gateways. Where nothing does, that is said once."""
    if authorities is None:
        return plan
    nobody = Authority(problem="nothing vouches for them")
    authority = authorities.get(plan.trust_domain, nobody)
    bindings = [cell.binding for cell in plan.cells.values()]
    about = next((item for item in objects if item.key.kind == "Organization"), next(iter(bindings), None))
    if authority.problem and bindings and about is not None:
        place = () if about in bindings else ("stages",)
        words = {"domain": plan.trust_domain, "reason": authority.problem}
        output.problems.append(about.diagnose("C111", *place, **words))
    return replace(plan, authority=authority)


def _is_secret_of(names: frozenset[tuple[str, str]], item: Object) -> bool:
    """Secrets of production: for other stages, and for what is in no cell, they are not there, whoever asks for them."""
    return (item.key.group, item.key.kind) == (CORE_GROUP, "Secret") and (item.namespace, item.name) in names


def _add_gateways(sections: Mapping[str, Sections], plan: Plan, output: Output) -> dict[tuple[str, str], str]:
    """Make the gateways. Returns whose each host and path is on the internet: `<cell>.<component>.<endpoint>`."""
    taken: dict[tuple[str, str], str] = {}
    # The older cell keeps a host that two want.
    for one in sorted(sections.values(), key=lambda of: (of.cell.item.meta.created or "9999", of.cell.item.key)):
        directions = one.directions()
        if "north" in directions:
            add_north(one, plan, taken, output)
        if "west" in directions:
            add_west(one, plan, output)
        if "east" in directions:
            add_east(one, plan, output)
        if "south" in directions:
            add_south(one, plan, output)
        add_sidecars(one, plan, output)
    return taken


def _check_declared(sections: Mapping[str, Sections], plan: Plan, output: Output) -> None:
    """What is wrong inside cells, bound or not, and in the overrides of their bindings."""
    for name, cell in plan.declared.items():
        assert isinstance(cell.spec, CellSpec)
        output.problems.extend(check_names(cell, cell.spec))
        for one in exits_of(cell, plan, sections):
            if one.refusal:
                words = {"name": one.dependency.name, "reason": one.message}
                output.problems.append(cell.diagnose("C103", *one.path, hint=one.hint, **words))
        if name in sections:
            output.problems.extend(check_overrides(sections[name]))
            output.problems.extend(check_sidecars(sections[name]))


def _off_gateways(item: Object, output: Output) -> Object | None:
    """Routes that are no HTTPRoutes are on no gateway of a cell: nothing there would say what they may do.

    Neither are patches: they could take away what keeps cells apart. None if nothing is left.
    """
    if isinstance(item.spec, EnvoyPatchPolicySpec):
        target = item.spec.target_ref
        key = Key(target.group, target.kind, item.namespace, target.name)
        if key not in output.objects:
            return item
        reason = f"{key} is of a cell, and an {item.key.kind} cannot be attached to a cell"
        output.problems.append(item.diagnose("C108", "targetRef", reason=reason))
        return None
    if not isinstance(item.spec, RouteSpec) or item.key.kind == "HTTPRoute":
        return item
    kept = []
    for number, ref in enumerate(item.spec.parent_refs):
        key = Key(ref.group, ref.kind, ref.namespace or item.namespace, ref.name)
        if key in output.objects:
            reason = f"{key} is of a cell, and a {item.key.kind} cannot be attached to a cell"
            output.problems.append(item.diagnose("C108", "parentRefs", number, reason=reason))
        else:
            kept.append(ref)
    if len(kept) == len(item.spec.parent_refs):
        return item
    return replace(item, spec=item.spec.model_copy(update={"parent_refs": tuple(kept)})) if kept else None


def _without_derived(others: list[Object], plan: Plan, output: Output) -> list[Object]:
    """Written objects may not take the identity of a derived one: that would open a door around its cell.

    Those of certificates are taken even while there are none.
    """
    reserved = {key for name, cell in plan.declared.items() for key in identity_keys(name, component_names(cell))}
    kept = []
    for item in others:
        if item.key in output.objects or item.key in reserved:
            output.problems.append(item.diagnose("C110", reason=f"{item.key} is the name of what a cell means"))
        else:
            kept.append(item)
    return kept


def _with_providers(objects: list[Object], plan: Plan, output: Output) -> list[Object]:
    done = []
    for item in objects:
        if (item.key.group, item.key.kind) == (ENVOY_GATEWAY_GROUP, "SecurityPolicy"):
            filled, problems = fill_providers(item, plan.organization)
            output.problems += problems
            done.append(filled)
        else:
            done.append(item)
    return done
