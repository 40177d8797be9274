"""East: the gateway through which a cell's components reach other cells.

In: a cell's sections. Out: a derived Gateway, and for every dependency on a cell a route and a backend, or a refusal that
says why. CONNECT is refused everywhere. A DNS listener beside it leads the names of dependencies to the gateway.
"""

from __future__ import annotations

from xds_server.cells.derive import Output
from xds_server.cells.exits import add_catch_all, add_exit, free_hosts, refusal
from xds_server.cells.ingress import CALLER_HEADER, Json, add_gateway, backend_ref, strip_headers
from xds_server.cells.plan import Bound, Plan
from xds_server.cells.sections import Exit, Sections, logical_names


def add_east(sections: Sections, plan: Plan, output: Output) -> None:
    """The east gateway, a route for every dependency on a cell, and the refusal of everything else."""
    cell = sections.cell
    ports = cell.bound.ports
    listeners: list[Json] = [{"name": "http", "protocol": "HTTP", "port": ports.east}]
    listeners.append({"name": "dns", "protocol": "cellway.dev/DNS", "port": ports.dns})
    add_gateway(cell, "east", listeners, output)
    strip_headers(cell, "east", output, ("x-cell-",), ())
    add_catch_all(cell, "east", "undeclared-dependency", output)
    taken: dict[str, str] = {}
    for one in sections.exits:
        if one.direction == "east":
            hosts = free_hosts(cell, one, _east_hosts(one, plan), taken, output)
            if hosts:
                _add_dependency(cell, one, hosts, plan, output)


def _east_hosts(one: Exit, plan: Plan) -> list[str]:
    domain, dependency = plan.organization.logical_domain, one.dependency
    assert dependency.component is not None
    if one.provider is not None:
        return logical_names(one.provider, dependency.component, one.endpoint, domain)
    short = f"{dependency.component}.{dependency.cell}.{domain}"
    return [f"{dependency.endpoint or 'http'}.{short}", short]


def _add_dependency(cell: Bound, one: Exit, hosts: list[str], plan: Plan, output: Output) -> None:
    if one.refusal or one.provider is None:
        add_exit(cell, one.route, hosts, [refusal(cell, one.refusal, output)], one, output)
        return
    provider = one.provider
    name = f"east|{provider.name}.{one.dependency.component}.{one.endpoint}"
    west = {"ip": {"address": provider.address("west"), "port": provider.bound.ports.west}}
    output.add("Backend", cell.name, name, {"endpoints": [west]}, (cell.item, provider.binding))
    caller = {"set": [{"name": CALLER_HEADER, "value": plan.caller(cell.name)}]}
    rule = {
        "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": caller}],
        "backendRefs": [backend_ref(name)],
    }
    refused = {**refusal(cell, "method-not-allowed", output), "matches": [{"method": "CONNECT"}]}
    add_exit(cell, one.route, hosts, [rule, refused], one, output)
