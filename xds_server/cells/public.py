"""The hosts of routes that users attach to north: those of the cell, and nobody else's.

In: what a route is going to be. Out: the same with the hosts that it may have. A route that says none has those of its cell;
what production or another cell has already is taken away, and where the cell would answer for that itself the route is shut.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from xds_server.cells.ingress import certificate_of, north_hosts
from xds_server.cells.lowering import Lowering
from xds_server.cells.production import is_reserved
from xds_server.cells.sections import Door, Sections
from xds_server.model.object import Object

Json = dict[str, Any]


def fit_hosts(
    item: Object, name: str, spec: Json, place: tuple[Sections, Door | None, int], lowering: Lowering
) -> bool | None:
    """Give a route on north its hosts. True if it has to be shut, None if it is on no gateway at all.

    `place`: the cell, the endpoint whose route it stands for, and the number of the parent.
    """
    known, door, number = place
    own = list(north_hosts(known.cell))
    if not own and (certificate_of(known.cell) or not spec.get("hostnames")):
        reason = f"cell {known.cell.name} has no hostnames of its own in stage {lowering.plan.stage}"
        hint = "set gateways.north.hostnames of the cell, or of the binding"
        lowering.output.problems.append(item.diagnose("C108", "parentRefs", number, hint=hint, reason=reason))
        return None
    written = spec.get("hostnames") or own
    allowed = [host for at, host in enumerate(written) if not _is_of_production(item, host, at, lowering)]
    label = f"{known.cell.name}.{name}"
    taken = [host for at, host in enumerate(allowed) if _is_taken(item, (host, at), label, spec, lowering)]
    spec["hostnames"] = [host for host in allowed if host not in taken or host in own]
    if spec["hostnames"]:
        return any(host in own for host in taken)
    spec["hostnames"] = own
    return True if door is not None else None


def _is_of_production(item: Object, host: str, number: int, lowering: Lowering) -> bool:
    plan = lowering.plan
    reserved = is_reserved(host, plan.reserved)
    if reserved:
        reason = f"{reserved} is bound by {plan.reserved[reserved]}; stage {plan.stage} does not serve it"
        lowering.output.problems.append(item.diagnose("C124", "hostnames", number, reason=reason))
    return bool(reserved)


def _is_taken(item: Object, asked: tuple[str, int], label: str, spec: Json, lowering: Lowering) -> bool:
    """Whether the host leads to another cell already, at a path that the route has, too."""
    host, number = asked
    cell = label.partition(".")[0]
    for path in dict.fromkeys(_paths(spec)):
        known = lowering.paths.setdefault((host, path), label)
        if known.partition(".")[0] != cell:
            reason = f"{host}{path or '/'} already leads to {known}"
            lowering.output.problems.append(item.diagnose("C108", "hostnames", number, reason=reason))
            return True
    return False


def _paths(spec: Json) -> Iterator[str]:
    for rule in spec["rules"]:
        for match in rule.get("matches") or [{}]:
            path = match.get("path") or {}
            if path.get("type", "PathPrefix") != "RegularExpression":
                yield str(path.get("value", "/")).rstrip("/")
