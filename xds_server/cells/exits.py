"""What east and south have in common: refusals that say why, and routes of dependencies.

In: a cell and one of its exits. Out: derived routes. What nobody declared is answered with 403 and a header that says
why, since the caller is a developer of the cell. A credential that is missing is answered with 401, as Envoy would.
"""

from __future__ import annotations

from typing import Any

from xds_server.cells.derive import Output
from xds_server.cells.identities import callers_inside, component_identity, server_certificate
from xds_server.cells.ingress import Json, add_guard, filter_ref, gateway_name, guarded
from xds_server.cells.plan import Bound
from xds_server.cells.sections import CREDENTIAL_MISSING, Exit, Sections
from xds_server.cells.sidecars import PLAIN, SIDECARS, entrances, is_enforced
from xds_server.types import GATEWAY_GROUP, Key

DENY_HEADER = "x-cell-deny"
COMPONENT_NOT_ALLOWED = "component-not-allowed"
COMPONENT_HEADER = "x-cell-component"
"""What east tells of the component that called, where it knows."""
_EVERYTHING: list[Json] = [{"path": {"type": "PathPrefix", "value": "/"}}, {"method": "CONNECT"}]


def refusal(cell: Bound, reason: str, output: Output) -> Json:
    """A rule that refuses everything with a reason."""
    name = f"deny-{reason}"
    answer: Json = {"statusCode": 403, "header": {"set": [{"name": DENY_HEADER, "value": reason}]}}
    if reason == CREDENTIAL_MISSING:
        answer |= {"statusCode": 401, "body": {"type": "Inline", "inline": "Failed to inject credential."}}
    output.add("HTTPRouteFilter", cell.name, name, {"directResponse": answer}, (cell.item,))
    return {"matches": _EVERYTHING, "filters": [filter_ref(name)]}


def listeners_of(sections: Sections, direction: str, ports: tuple[int, int]) -> list[Json]:
    """The listeners of east or south for requests, on the first port in plain text, on the second for sidecars."""
    secure = {"protocol": "HTTPS", "tls": server_certificate(sections.cell, direction)}
    listeners: dict[str, Json] = {
        PLAIN: {"name": PLAIN, "protocol": "HTTP", "port": ports[0]},
        SIDECARS: {"name": SIDECARS, "port": ports[1], **secure, "allowedRoutes": {"kinds": [{"kind": "HTTPRoute"}]}},
    }
    return [listeners[name] for name in entrances(sections, direction)]


def tell_components(cell: Bound, direction: str, output: Output, early: Json) -> None:
    """Let sidecars of the cell in and nobody else, and note whose each request is."""
    name = gateway_name(cell, direction)
    spec: Json = {
        "targetRefs": [{"group": GATEWAY_GROUP, "kind": "Gateway", "name": name, "sectionName": SIDECARS}],
        "tls": callers_inside(cell, "component/[^/]+"),
        "headers": {"earlyRequestHeaders": early, "requestID": "PreserveOrGenerate"},
        "onInvalidMessage": "TerminateStream",
        **({"peerHeader": COMPONENT_HEADER} if direction == "east" else {}),
    }
    output.add("ClientTrafficPolicy", cell.name, f"{name}.{SIDECARS}", spec, (cell.item, cell.binding))


def add_exit(sections: Sections, name: str, hosts: list[str], rules: list[Json], one: Exit, output: Output) -> None:
    """A route of one dependency on its gateway, and another for those who say who they are, if that makes a difference."""
    cell, places = sections.cell, entrances(sections, one.direction)
    users = one.dependency.from_ if SIDECARS in places and not one.refusal else ()
    if not users:
        add_plain_exit(cell, name, hosts, rules, one, output, places)
        return
    if PLAIN in places:
        closed = [refusal(cell, COMPONENT_NOT_ALLOWED, output)] if is_enforced(cell, one) else rules
        add_plain_exit(cell, name, hosts, closed, one, output)
    uris = [component_identity(cell.domain, cell.name, user) for user in users if user in cell.sidecars]
    guard = f"{one.route}.components"
    add_guard(cell, guard, [{"uris": uris}] if uris else [], output)
    add_plain_exit(cell, f"{name}.{SIDECARS}", hosts, guarded(rules, guard), one, output, (SIDECARS,))


def add_plain_exit(  # noqa: PLR0913, PLR0917 (what a route is made of)
    cell: Bound,
    name: str,
    hosts: list[str],
    rules: list[Json],
    one: Exit,
    output: Output,
    places: tuple[str, ...] = (PLAIN,),
) -> Key:
    """A route of one dependency for whoever reaches some listeners."""
    parents = [{"name": gateway_name(cell, one.direction), "sectionName": place} for place in places]
    spec: dict[str, Any] = {"parentRefs": parents, "hostnames": hosts, "rules": rules}
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


def add_catch_all(sections: Sections, direction: str, reason: str, output: Output) -> None:
    """The refusal of every host that no dependency names."""
    cell, name = sections.cell, gateway_name(sections.cell, direction)
    parents = [{"name": name, "sectionName": place} for place in entrances(sections, direction)]
    spec = {"parentRefs": parents, "rules": [refusal(cell, reason, output)]}
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
