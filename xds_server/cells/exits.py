"""What east and south have in common: refusals that say why, and routes of dependencies.

In: a cell and one of its exits. Out: derived routes. What nobody declared is answered with 403 and a header that says
why, since the caller is a developer of the cell. A credential that is missing is answered with 401, as Envoy would.
"""

from __future__ import annotations

from typing import Any

from xds_server.cells.derive import Output
from xds_server.cells.ingress import Json, filter_ref, gateway_name
from xds_server.cells.plan import Bound
from xds_server.cells.sections import CREDENTIAL_MISSING, Exit
from xds_server.types import Key

DENY_HEADER = "x-cell-deny"
_EVERYTHING: list[Json] = [{"path": {"type": "PathPrefix", "value": "/"}}, {"method": "CONNECT"}]


def refusal(cell: Bound, reason: str, output: Output) -> Json:
    """A rule that refuses everything with a reason."""
    name = f"deny-{reason}"
    answer: Json = {"statusCode": 403, "header": {"set": [{"name": DENY_HEADER, "value": reason}]}}
    if reason == CREDENTIAL_MISSING:
        answer |= {"statusCode": 401, "body": {"type": "Inline", "inline": "Failed to inject credential."}}
    output.add("HTTPRouteFilter", cell.name, name, {"directResponse": answer}, (cell.item,))
    return {"matches": _EVERYTHING, "filters": [filter_ref(name)]}


def add_exit(cell: Bound, name: str, hosts: list[str], rules: list[Json], one: Exit, output: Output) -> Key:
    """A route of one dependency on its gateway."""
    parent: Json = {"name": gateway_name(cell, one.direction), "sectionName": "http"}
    spec: dict[str, Any] = {"parentRefs": [parent], "hostnames": hosts, "rules": rules}
    return add_route("HTTPRoute", cell, name, spec, one, output)


def add_route(kind: str, cell: Bound, name: str, spec: Json, one: Exit, output: Output) -> Key:
    """A derived route, noted as one of those that the dependency's section stands for."""
    sources = [cell.item]
    if one.provider is not None:
        sources.append(one.provider.item)
    if one.external is not None:
        sources.append(one.external.item)
    key = output.add(kind, cell.name, name, spec, sources, one.at)
    output.routes.setdefault((cell.name, one.section), []).append(key)
    return key


def add_catch_all(cell: Bound, direction: str, reason: str, output: Output) -> None:
    """The refusal of every host that no dependency names."""
    parent = {"name": gateway_name(cell, direction), "sectionName": "http"}
    spec = {"parentRefs": [parent], "rules": [refusal(cell, reason, output)]}
    output.add("HTTPRoute", cell.name, f"{reason}.{direction}", spec, (cell.item,))


def free_hosts(cell: Bound, one: Exit, hosts: list[str], taken: dict[str, str], output: Output) -> list[str]:
    """The hosts that no dependency before this one has; a host can lead to one place only."""
    free = [host for host in hosts if taken.setdefault(host, one.section) == one.section]
    for host in hosts:
        if host not in free:
            refuse(cell, one, f"{host} already leads to {taken[host]}", output)
            break
    return free


def refuse(cell: Bound, one: Exit, reason: str, output: Output, hint: str = "") -> None:
    """Report that a dependency, or a part of it, is refused."""
    problem = cell.item.diagnose("C103", *one.path, hint=hint, name=one.dependency.name, reason=reason)
    output.problems.append(problem)
