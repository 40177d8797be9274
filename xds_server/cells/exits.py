"""What east and south have in common: refusals that say why, and routes of dependencies.

In: a cell and one of its exits. Out: derived routes. What nobody declared is answered with 403 and a header that says
why, since the caller is a developer of the cell.
"""

from __future__ import annotations

from typing import Any

from xds_server.cells.derive import Output
from xds_server.cells.ingress import Json, filter_ref, gateway_name
from xds_server.cells.plan import Bound
from xds_server.cells.sections import Exit

DENY_HEADER = "x-cell-deny"
_EVERYTHING: list[Json] = [{"path": {"type": "PathPrefix", "value": "/"}}, {"method": "CONNECT"}]


def refusal(cell: Bound, reason: str, output: Output) -> Json:
    """A rule that refuses everything with a reason."""
    name = f"deny-{reason}"
    answer = {"statusCode": 403, "header": {"set": [{"name": DENY_HEADER, "value": reason}]}}
    output.add("HTTPRouteFilter", cell.name, name, {"directResponse": answer}, (cell.item,))
    return {"matches": _EVERYTHING, "filters": [filter_ref(name)]}


def add_exit(cell: Bound, name: str, hosts: list[str], rules: list[Json], one: Exit, output: Output) -> None:
    """A route of one dependency on its gateway."""
    spec: dict[str, Any] = {
        "parentRefs": [{"name": gateway_name(cell, one.direction)}],
        "hostnames": hosts,
        "rules": rules,
    }
    sources = [cell.item]
    if one.provider is not None:
        sources.append(one.provider.item)
    if one.external is not None:
        sources.append(one.external.item)
    output.add("HTTPRoute", cell.name, name, spec, sources, one.at)


def add_catch_all(cell: Bound, direction: str, reason: str, output: Output) -> None:
    """The refusal of every host that no dependency names."""
    spec = {"parentRefs": [{"name": gateway_name(cell, direction)}], "rules": [refusal(cell, reason, output)]}
    output.add("HTTPRoute", cell.name, f"{reason}.{direction}", spec, (cell.item,))


def free_hosts(cell: Bound, one: Exit, hosts: list[str], taken: dict[str, str], output: Output) -> list[str]:
    """The hosts that no dependency before this one has; a host can lead to one place only."""
    free = [host for host in hosts if taken.setdefault(host, one.section) == one.section]
    for host in hosts:
        if host not in free:
            reason = f"{host} already leads to {taken[host]}"
            problem = cell.item.diagnose("C103", *one.path, name=one.dependency.name, reason=reason)
            output.problems.append(problem)
            break
    return free
