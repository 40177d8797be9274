"""Routes that users attach to cells: to a direction they add, in place of an endpoint's own route they replace.

In: written HTTPRoutes. Out: derived ones whose parents are the cell's gateways. East and south take no written routes:
what leaves a cell is declared as a dependency.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from xds_server.cells.derive import VERSIONS
from xds_server.cells.identities import sidecar_of
from xds_server.cells.ingress import guarded, parent_refs
from xds_server.cells.leads import with_endpoints
from xds_server.cells.lowering import Lowering
from xds_server.cells.merge import Layer, merge_layers
from xds_server.cells.plan import Plan, close
from xds_server.cells.public import fit_hosts
from xds_server.cells.sections import Added, Door, Sections
from xds_server.cells.west import ANY_CELL, west_hosts
from xds_server.diagnostics import Positions
from xds_server.model.cell_kinds import Direction
from xds_server.model.gateway_api import HttpRouteSpec, ParentRef
from xds_server.model.object import Object
from xds_server.status import ParentStatus, Status
from xds_server.types import CELLWAY_GROUP, GATEWAY_GROUP, Condition, Key

Json = dict[str, Any]
_DIRECTIONS: dict[str, Direction] = {"north": "north", "west": "west"}


def take_routes(objects: Iterable[Object], lowering: Lowering) -> list[Object]:
    """Replace the parents of routes that name a cell; everything else passes."""
    rest = []
    for item in objects:
        if not isinstance(item.spec, HttpRouteSpec):
            rest.append(item)
            continue
        if item.broken and not item.spec.rules:
            _close(item, lowering)
            continue
        found = [(number, _section(ref, item, lowering)) for number, ref in enumerate(item.spec.parent_refs)]
        of_cells = [(number, place) for number, place in found if place is not None]
        if not of_cells:
            rest += [] if item.broken else [item]
            continue
        lowering.carried[item.key] = []
        others = [number for number, place in found if place is None]
        if others and not item.broken and _is_free(item, item.name, lowering):
            refs = tuple(item.spec.parent_refs[number] for number in others)
            written = {**_written(item), "parentRefs": [_written(item)["parentRefs"][number] for number in others]}
            spec = item.spec.model_copy(update={"parent_refs": refs})
            rest.append(replace(item, spec=spec, document={**item.document, "spec": written}))
            lowering.kept.add(item.key)
            lowering.output.became(item.key, item.key)
        for number, (cell, section) in of_cells:
            _attach(item, number, cell, section, lowering)
        if item.broken:
            lowering.closed.extend((item.namespace, section, item) for section in lowering.carried[item.key])
    return rest


def _close(item: Object, lowering: Lowering) -> None:
    """A route with errors is on no gateway. What it would have narrowed on a cell is not left as wide as it is."""
    assert isinstance(item.spec, HttpRouteSpec)
    refused = Condition("Accepted", False, "Invalid", "it has errors")
    parents = []
    for ref in item.spec.parent_refs:
        place = _section(ref, item, lowering)
        parents.append(
            ParentStatus(ref.group, ref.kind, ref.namespace or item.namespace, ref.name, conditions=(refused,))
        )
        if place is None or place[0] != item.namespace or place[0] not in lowering.sections:
            continue
        cell, section = place
        known = lowering.sections[cell]
        wanted = [section] if section else list(known.directions())
        lowering.closed.extend((cell, one, item) for one in wanted if one.partition(".")[0] in _DIRECTIONS)
    lowering.statuses[item.key] = Status(parents=tuple(parents))


def _section(ref: ParentRef, item: Object, lowering: Lowering) -> tuple[str, str] | None:
    """The cell and section that a parentRef means, or None if it is an ordinary one."""
    namespace = ref.namespace or item.namespace
    if (ref.group, ref.kind) == (CELLWAY_GROUP, "Cell"):
        return ref.name, ref.section_name or ""
    if (ref.group, ref.kind) != (GATEWAY_GROUP, "Gateway") or Key(
        GATEWAY_GROUP, "Gateway", namespace, ref.name
    ) in lowering.written:
        return None
    if namespace not in lowering.sections and not lowering.plan.is_only_elsewhere(namespace):
        return None
    for direction in ("north", "west", "east", "south"):
        if ref.name == f"{namespace}-{direction}":
            return namespace, direction
    for component in lowering.sections[namespace].cell.sidecars if namespace in lowering.sections else ():
        if ref.name == f"{namespace}-{sidecar_of(component)}":
            return namespace, sidecar_of(component)
    alias = lowering.plan.organization.gateway_aliases.get(ref.name)
    return (namespace, alias) if alias else None


def _attach(item: Object, number: int, cell: str, section: str, lowering: Lowering) -> None:
    if cell == item.namespace and lowering.plan.is_only_elsewhere(cell):
        return
    known, direction, output = lowering.sections.get(cell), section.partition(".")[0], lowering.output
    reason, hint = _refusal(item, cell, section, lowering)
    if reason or known is None:
        output.problems.append(item.diagnose("C108", "parentRefs", number, hint=hint, reason=reason))
        return
    door = next((one for one in known.doors if one.section == section), None)
    name, shut = _name(item, direction, door, lowering), False
    if not _is_free(item, name, lowering, door, number):
        if door is not None:
            return
        name, shut = f"{name}.closed", True
    spec = {**_written(item), "rules": with_endpoints(item, known, direction, output)}
    fitting = _fit(item, (name, direction), spec, (known, door, number), lowering)
    if fitting is None:
        return
    spec["parentRefs"] = parent_refs(known.cell, direction, spec["hostnames"])
    if door is None:
        lowering.added.setdefault(cell, []).append(Added(_DIRECTIONS[direction], name, item.source.positions.start))
    place = section if door else f"{direction}/{name}"
    lowering.carried[item.key].append(place)
    if not _derive(item, name, spec, lowering, known):
        place, shut = section, True
    if shut or fitting:
        lowering.closed.append((cell, place, replace(item, broken=True)))


def _refusal(item: Object, cell: str, section: str, lowering: Lowering) -> tuple[str, str]:
    """Why a route cannot be attached to a section, and a hint; empty if it can."""
    known = lowering.sections.get(cell)
    if cell != item.namespace:
        return f"a route attaches to the cell of its own namespace ({item.namespace}), not to {cell}", ""
    if known is None:
        return f"there is no bound cell {cell}", close(cell, lowering.sections)
    if section.partition(".")[0] not in _DIRECTIONS:
        return "a route attaches to north or west; what leaves a cell is declared in its dependencies", ""
    if not known.routes(section):
        return f"cell {cell} has no section '{section}'", close(section, known.names())
    return "", ""


def _fit(
    item: Object, named: tuple[str, str], spec: Json, place: tuple[Sections, Door | None, int], lowering: Lowering
) -> bool | None:
    """Give a route its hosts, and what else it has from where it is. True: it is shut; None: it is not attached."""
    (name, direction), (known, door, _) = named, place
    if door is not None:
        _inherit(spec, door, known, lowering.plan)
        return fit_hosts(item, name, spec, place, lowering) if door.direction == "north" else False
    if direction == "west":
        spec["rules"] = guarded(spec["rules"], ANY_CELL)
        if spec.get("hostnames"):
            return False
        lowering.output.problems.append(item.diagnose("C110", reason="a route on west needs hostnames; it answers 500"))
        spec["hostnames"] = _all_west_hosts(known, lowering.plan)
        return True
    return fit_hosts(item, name, spec, place, lowering)


def _all_west_hosts(known: Sections, plan: Plan) -> list[str]:
    doors = [one for one in known.doors if one.direction == "west"]
    return list(dict.fromkeys(host for one in doors for host in west_hosts(known.cell, one, plan)))


def _name(item: Object, direction: str, door: Door | None, lowering: Lowering) -> str:
    """The name of the derived route: the endpoint's, else its own, with the direction if it needs several."""
    assert isinstance(item.spec, HttpRouteSpec)
    if door is not None:
        return door.route
    return item.name if len(item.spec.parent_refs) == 1 else f"{item.name}.{direction}"


def _is_free(item: Object, name: str, lowering: Lowering, door: Door | None = None, number: int = 0) -> bool:
    """True if a route may take a name: a derived route is replaced only by the route on its section, and only once."""
    taker = lowering.replaced.setdefault(_key(item, name), item.key) if door else None
    reason = ""
    if taker is not None and taker != item.key:
        reason = f"{taker} is older and already stands in place of {name}"
    elif door is None and (_key(item, name) in lowering.output.objects or _key(item, name) in lowering.output.reserved):
        reason = f"'{name}' is the name of a route that the cell has already"
    if reason:
        lowering.output.problems.append(item.diagnose("C108", "parentRefs", number, reason=reason))
    return not reason


def _key(item: Object, name: str) -> Key:
    """The identity of a derived route in the namespace of a written one."""
    return Key(GATEWAY_GROUP, "HTTPRoute", item.namespace, name)


def _inherit(spec: Json, door: Door, known: Sections, plan: Plan) -> None:
    """What a route in place of a derived one takes over from it: names, path, and who is allowed."""
    if door.direction == "north":
        path = {"path": {"type": "PathPrefix", "value": door.endpoint.base_path}}
        spec["rules"] = [rule if rule.get("matches") else {**rule, "matches": [path]} for rule in spec["rules"]]
    else:
        spec["hostnames"] = spec.get("hostnames") or west_hosts(known.cell, door, plan)
        spec["rules"] = guarded(spec["rules"], door.route)


def _written(item: Object) -> Json:
    return dict(item.document.get("spec") or {})


def _derive(item: Object, name: str, spec: Json, lowering: Lowering, known: Sections) -> bool:
    """Make the derived route. False if what came together is none."""
    merged = merge_layers([Layer(_written(item) | spec, item.source.positions, ("spec",), item.origins[0])])
    document = {
        "apiVersion": VERSIONS["HTTPRoute"],
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": item.namespace, **_label(item)},
        "spec": merged.value,
    }
    values = {("spec", *path): span for path, span in merged.values.items()}
    keys = {("spec", *path): span for path, span in merged.keys.items()}
    positions = Positions(item.source.positions.start, values, keys)
    before = lowering.output.objects.get(_key(item, name))
    key = lowering.output.parse(document, positions, (*item.origins, *known.cell.item.origins))
    lowering.output.became(item.key, key)
    return lowering.output.objects.get(key) is not before


def _label(item: Object) -> Json:
    """What policies select by, and what decides which of two is older."""
    labels: Json = {"labels": dict(item.meta.labels)} if item.meta.labels else {}
    return labels | ({"creationTimestamp": item.meta.created} if item.meta.created else {})
