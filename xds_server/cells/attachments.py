"""What users attach to cells: policies on sections, and routes in place of derived ones.

In: written policies and routes, and the sections of all cells. Out: derived policies, one for every derived route, out
of the layers that count for it; derived routes for those that name a cell as parent. Objects that have nothing to do
with cells pass unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from xds_server.cells.derive import VERSIONS, Output
from xds_server.cells.fitting import tunnelled, without_requests
from xds_server.cells.inward import lead_through_tunnel
from xds_server.cells.lowering import Lowering
from xds_server.cells.merge import Layer, Merged, merge_layers, override_layers, piece
from xds_server.cells.origins import SectionSettings, Setter, Taken, taken, trace
from xds_server.cells.plan import Bound, close
from xds_server.cells.sections import Added, Door, Exit, Sections
from xds_server.cells.selection import Selected, section_of, selected
from xds_server.diagnostics import Diagnostic, Span, diagnose
from xds_server.model.object import Object
from xds_server.model.policies import TargetRef, Targets
from xds_server.status import ParentStatus, Status
from xds_server.types import CELLWAY_GROUP, GATEWAY_GROUP, Condition, Key

FIELDS = {"SecurityPolicy": "security", "BackendTrafficPolicy": "traffic"}
DENY_PRIVATE = "denyPrivateAddresses"
RULE = "#"
_TARGET_FIELDS = ("targetRef", "targetRefs", "targetSelectors")


@dataclass(slots=True)
class Attached:
    """Policies by cell, kind and section, oldest first, and the status of each.

    `settings` says what counts in every section; `taken`, by object, what overrides of classes took away from it, each
    with the section and the field (`traffic`) it would have counted for.
    """

    policies: dict[tuple[str, str, str], list[Object]] = field(default_factory=dict)
    ancestors: dict[Key, list[ParentStatus]] = field(default_factory=dict)
    settings: list[SectionSettings] = field(default_factory=list)
    taken: dict[Key, list[tuple[str, str, Taken]]] = field(default_factory=dict)


def sections_of(target: TargetRef, namespace: str, lowering: Lowering) -> list[str] | None:
    """The sections that a target means: "" for the whole cell, None if it is none of a cell's.

    A rule of a written route is a place below the section of that route: `west.api.http#RULE`.
    """
    if (target.group, target.kind) == (CELLWAY_GROUP, "Cell"):
        return [target.section_name or ""]
    key = Key(target.group, target.kind, namespace, target.name)
    if lowering.carried.get(key):
        rule = f"{RULE}{target.section_name}" if target.section_name else ""
        return [f"{section}{rule}" for section in lowering.carried[key]]
    if key in lowering.written:
        return None
    if lowering.plan.is_only_elsewhere(namespace) and target.group == GATEWAY_GROUP:
        return [""]
    if key not in lowering.output.objects or key.group != GATEWAY_GROUP:
        return None
    # What a cell means beside its sections (a redirect, say) has no settings: its name is no section either.
    section = section_of(key, lowering)
    return [key.name if section is None else section]


def _of_sidecar(target: TargetRef, namespace: str, lowering: Lowering) -> str:
    """Why nothing is attached to the Gateway or route of a sidecar; empty if a target is none."""
    if Key(target.group, target.kind, namespace, target.name) not in lowering.output.sidecars:
        return ""
    return f"{target.kind} {target.name} is of a sidecar, and policies attach to the gateways of a cell"


def take_policies(objects: Iterable[Object], lowering: Lowering) -> tuple[list[Object], Attached]:
    """Sort policies into those of cells and the rest; a policy with targets of both is split."""
    rest, attached = [], Attached()
    for cell, section, item in lowering.closed:
        attached.policies.setdefault((cell, "SecurityPolicy", section), []).append(item)
    for item in objects:
        if not isinstance(item.spec, Targets):
            rest.append(item)
            continue
        others = []
        for number, target in enumerate(item.spec.targets):
            sections = sections_of(target, item.namespace, lowering)
            if sections is None or Key(target.group, target.kind, item.namespace, target.name) in lowering.kept:
                others.append(target)
            for section in sections or ():
                cell = target.name if target.group == CELLWAY_GROUP else item.namespace
                means = Selected(item.spec.target_path(number), target, cell, section)
                _attach(item, means, lowering, attached)
        for means in selected(item, lowering):
            _attach(item, means, lowering, attached)
            if means.cell != item.namespace and item.key.kind in FIELDS:
                # Somebody else's policy cannot be kept here, and what it covers is not left without it.
                attached.policies.setdefault((means.cell, item.key.kind, means.section), []).append(closed(item))
        if len(others) == len(item.spec.targets):
            rest.append(item)
        elif others or item.spec.target_selectors:
            kept = {"target_ref": None, "target_refs": tuple(others)}
            rest.append(replace(item, spec=item.spec.model_copy(update=kept)))
    return rest, attached


def closed(item: Object) -> Object:
    """A policy of which only its targets count: it closes what it covers."""
    assert isinstance(item.spec, Targets)
    fields = {name: getattr(item.spec, name) for name in ("target_ref", "target_refs", "target_selectors")}
    return replace(item, spec=Targets.model_construct(**fields), broken=True)


def _attach(item: Object, means: Selected, lowering: Lowering, attached: Attached) -> None:
    target, cell, section = means.target, means.cell, means.section
    if cell == item.namespace and lowering.plan.is_only_elsewhere(cell):
        return
    told = _of_sidecar(target, cell, lowering)
    reason, hint = (told, "") if told else _refusal(item, cell, section, lowering)
    namespace = item.namespace if target.group == CELLWAY_GROUP else cell
    place = (target.group, target.kind, namespace, target.name, target.section_name or "")
    condition = Condition("Accepted", True, "Accepted")
    if reason:
        lowering.output.problems.append(item.diagnose("C108", *means.path, hint=hint, reason=reason))
        condition = Condition("Accepted", False, "TargetNotFound", reason)
    else:
        here = attached.policies.setdefault((cell, item.key.kind, section), [])
        clash = [one for one in here if one is not item and set(_spec(one)) & set(_spec(item))]
        if clash:
            message = f"{clash[0].key} is older and sets the same fields there"
            lowering.output.problems.append(item.diagnose("C109", *means.path, reason=message))
            condition = Condition("Accepted", False, "Conflicted", message)
        elif item.broken:
            condition = Condition("Accepted", False, "Invalid", "it has errors")
        if not clash and item not in here:
            here.append(item)
    attached.ancestors.setdefault(item.key, []).append(ParentStatus(*place, conditions=(condition,)))


def _refusal(item: Object, cell: str, section: str, lowering: Lowering) -> tuple[str, str]:
    """Why a policy cannot be attached to a section, and a hint; empty if it can."""
    known = lowering.sections.get(cell)
    if cell != item.namespace:
        return f"a policy attaches to the cell of its own namespace ({item.namespace}), not to {cell}", ""
    if item.key.kind not in FIELDS:
        return f"a {item.key.kind} cannot be attached to a cell yet", ""
    if known is None and cell in lowering.plan.declared:
        return f"cell {cell} is not in stage {lowering.plan.stage}", ""
    if known is None:
        return f"there is no cell {cell}", close(cell, lowering.plan.declared)
    place, _, rule = section.partition(RULE)
    if rule:
        names = _rules_of(place, known, lowering)
        return ("", "") if rule in names else (f"the route has no rule of the name '{rule}'", close(rule, names))
    if section and "/" not in section and not known.routes(section):
        return f"cell {cell} has no section '{section}'", close(section, known.names())
    return "", ""


def _rules_of(section: str, known: Sections, lowering: Lowering) -> list[str]:
    """The names of the rules of the route that stands for a section."""
    places = (*known.all, *lowering.added.get(known.cell.name, ()))
    routes = [Key(GATEWAY_GROUP, "HTTPRoute", known.cell.name, one.route) for one in places if one.section == section]
    found = [lowering.output.objects[route] for route in routes if route in lowering.output.objects]
    return [rule["name"] for item in found for rule in item.document["spec"].get("rules", ()) if "name" in rule]


def _spec(item: Object) -> dict[str, Any]:
    written = item.document.get("spec")
    return {key: value for key, value in (written or {}).items() if key not in _TARGET_FIELDS}


def add_policies(sections: Sections, added: Iterable[Added], attached: Attached, output: Output) -> None:
    """One derived policy of each kind for every derived route of a cell, where anything applies to it."""
    for one in (*sections.all, *added):
        for kind, name in FIELDS.items():
            below = f"{one.section}{RULE}"
            rules = [
                place.removeprefix(below)
                for cell, of, place in attached.policies
                if (cell, of) == (sections.cell.name, kind) and place.startswith(below)
            ]
            for rule in ("", *rules):
                _add_policy(sections.cell, one, (kind, name, rule), attached, output)


def _add_policy(
    cell: Bound, one: Door | Exit | Added, field_of: tuple[str, str, str], attached: Attached, output: Output
) -> None:
    kind, name, rule = field_of
    below = f"{one.section}{RULE}{rule}" if rule else ""
    section = below or one.section
    policies = [
        (place, item)
        for place in dict.fromkeys(("", one.direction, one.section, section))
        for item in reversed(attached.policies.get((cell.name, kind, place), []))
    ]
    defaults = [layer for item in cell.classes for layer in _of_class(item, "default", one.direction, name)]
    weak = [*defaults, *_layers(cell, one, name, [(place, item) for place, item in policies if not item.broken])]
    strong = [layer for item in cell.classes for layer in _of_class(item, "override", one.direction, name)]
    merged, whole = merge_layers(weak), kind == "SecurityPolicy"
    override_layers(merged, strong, whole=whole)
    broken = next((item for _, item in policies if item.broken), None)
    if merged.value or policies:
        for loss in taken(merged, weak[len(defaults) :], strong, whole=whole):
            attached.taken.setdefault(loss.setter.key, []).append((section, name, loss))
        closed_by = broken.key if broken is not None else None
        leaves = trace(merged, weak, strong)
        attached.settings.append(SectionSettings(cell.name, cell.bound.stage, section, name, leaves, closed_by))
    for route in _routes_of(cell, one, output):
        settings = _for_route(merged, (weak, strong), route, kind)
        if kind == "BackendTrafficPolicy" and route in output.tunnels:
            settings = tunnelled(settings, cell.item.origins)
        if kind == "BackendTrafficPolicy" and route in output.streams and settings.value.get(DENY_PRIVATE):
            lead_through_tunnel(route, settings, cell, output)
        if not settings.value and not policies:
            continue
        if kind == "SecurityPolicy" and route.kind == "TLSRoute" and (settings.value or broken):
            _refuse_names(cell, route, one, output)
            continue
        key = output.add_policy(kind, route, settings, one.at, rule)
        if broken is not None:
            _close(key, broken, (route, rule), output)
        for _, policy in policies:
            output.became(policy.key, key)


def _for_route(merged: Merged, layers: tuple[list[Layer], list[Layer]], route: Key, kind: str) -> Merged:
    """The settings of a section as one of its routes gets them."""
    if route.kind == "HTTPRoute" or kind == "SecurityPolicy":
        return merged
    return without_requests(*layers)


def _routes_of(cell: Bound, one: Door | Exit | Added, output: Output) -> list[Key]:
    """The derived routes that a section stands for, if they are there."""
    only = Key(GATEWAY_GROUP, "HTTPRoute", cell.name, one.route)
    routes = output.routes.get((cell.name, one.section), [only])
    return [route for route in routes if route in output.objects]


def _refuse_names(cell: Bound, route: Key, one: Door | Exit | Added, output: Output) -> None:
    """A route by SNI has nothing that security settings could look at: it is closed."""
    del output.objects[route]
    reason = "security settings cannot be kept for what is passed through by SNI; it is closed"
    path = one.path if isinstance(one, Exit) else ()
    name = one.dependency.name if isinstance(one, Exit) else one.route
    output.problems.append(cell.item.diagnose("C103", *path, name=name, reason=reason))


def _close(key: Key, broken: Object, at: tuple[Key, str], output: Output) -> None:
    """A broken policy closes the route, or the rule of it, whatever else applies there."""
    route, rule = at
    meta = replace(broken.meta, name=key.name, namespace=key.namespace)
    target = {"group": GATEWAY_GROUP, "kind": route.kind, "name": route.name}
    target |= {"sectionName": rule} if rule else {}
    spec, document = Targets.model_validate({"targetRefs": [target]}), broken.document
    if broken.key.kind != key.kind:
        document = {"apiVersion": VERSIONS[key.kind], "kind": key.kind, "spec": {"targetRefs": [target]}}
    changed = replace(broken, key=key, meta=meta, spec=spec, document=document)
    output.objects[key] = replace(changed, made_from=broken.origins)


def _layers(cell: Bound, one: Door | Exit | Added, name: str, policies: Iterable[tuple[str, Object]]) -> list[Layer]:
    """What applies to a section over the defaults of classes and below their overrides, the weakest first."""
    own = "endpoint" if isinstance(one, Door) else "dependency" if isinstance(one, Exit) else "route"
    places = {"": "cell", one.direction: "direction", one.section: own}
    layers = [
        Layer(_spec(item), item.source.positions, ("spec",), item.origins[0], f"policy on {places.get(place, 'rule')}")
        for place, item in policies
    ]
    return [*layers, piece(cell.binding, ("spec", "overrides", "sections", one.section, name), "binding override")]


def _of_class(item: Object, part: str, direction: str, name: str) -> list[Layer]:
    """What a class says for a direction; `denyPrivateAddresses` stands beside the traffic that it is a setting of."""
    layers = [piece(item, ("spec", f"{part}s", direction, name), f"class {part}")]
    beside = piece(item, ("spec", f"{part}s", direction), f"class {part}")
    if name == "traffic" and DENY_PRIVATE in beside.value:
        layers.append(replace(beside, value={DENY_PRIVATE: beside.value[DENY_PRIVATE]}))
    return layers


def policy_statuses(attached: Attached) -> dict[Key, Status]:
    """The statuses of policies on cells; where a class took something away from one, that is said, too."""
    statuses = {}
    for key, ancestors in attached.ancestors.items():
        losses = [
            f"{by.key} overrides {name} ({', '.join(sections)})" for name, _, by, sections in _losses(attached, key)
        ]
        more = (Condition("Overridden", True, "Overridden", "; ".join(losses)),) if losses else ()
        places = [replace(one, conditions=(*one.conditions, *more)) for one in ancestors]
        statuses[key] = Status(ancestors=tuple(places))
    return statuses


def overridden_fields(attached: Attached) -> list[Diagnostic]:
    """Fields of policies and bindings that have no effect, because a class overrides them."""
    found = []
    for key in attached.taken:
        for name, span, by, sections in _losses(attached, key):
            words = {"field": name, "sections": ", ".join(sections), "by": f"{by.key} ({by.span})"}
            found.append(diagnose("C130", span, subject=str(key), **words))
    return found


def _losses(attached: Attached, key: Key) -> list[tuple[str, Span, Setter, list[str]]]:
    """What was taken away from an object: the field, its place, by whom, and in which sections."""
    found: dict[tuple[str, Span], tuple[Setter, list[str]]] = {}
    for section, name, loss in attached.taken.get(key, ()):
        path = ".".join(str(step) for step in (name, *loss.path))
        _, sections = found.setdefault((path, loss.setter.span), (loss.by, []))
        sections.append(section)
    return [(path, span, by, sections) for (path, span), (by, sections) in found.items()]
