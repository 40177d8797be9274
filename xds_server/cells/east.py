"""East: the gateway through which a cell's components reach other cells.

In: a cell's sections. Out: a derived Gateway, and for every dependency on a cell a route and a backend, or a refusal that
says why. CONNECT is refused everywhere. A DNS listener beside it leads the names of dependencies to the gateway. East shows
its own certificate to the other cell's west gateway, and sends nothing to anybody who cannot show the one of exactly that
gateway.
"""

from __future__ import annotations

from xds_server.cells.derive import Output
from xds_server.cells.exits import add_catch_all, add_exit, free_hosts, listeners_of, refusal, tell_components
from xds_server.cells.identities import add_identity, add_trust, client_certificate, gateway_identity
from xds_server.cells.ingress import INTERNAL, add_gateway, backend_ref, strip_headers, without
from xds_server.cells.plan import Bound, Plan
from xds_server.cells.sections import Exit, Sections, logical_names


def add_east(sections: Sections, plan: Plan, output: Output) -> None:
    """The east gateway, a route for every dependency on a cell, and the refusal of everything else."""
    cell = sections.cell
    add_identity(cell, "east", plan, output)
    ports = cell.bound.ports
    listeners = listeners_of(sections, "east", (ports.east, ports.east_sidecars))
    listeners.append({"name": "dns", "protocol": "cellway.dev/DNS", "port": ports.dns})
    add_gateway(cell, "east", listeners, output, tls={"backend": client_certificate(cell, "east")})
    strip_headers(cell, "east", output, without(INTERNAL))
    if cell.sidecars:
        tell_components(cell, "east", output, without(INTERNAL))
    add_catch_all(sections, "east", "undeclared-dependency", output)
    taken: dict[str, str] = {}
    for one in sections.exits:
        if one.direction == "east":
            hosts = free_hosts(cell, one, east_hosts(one, plan), taken, output)
            if hosts:
                _add_dependency(sections, one, hosts, plan, output)


def east_hosts(one: Exit, plan: Plan) -> list[str]:
    """The names by which a dependency on a cell is asked for."""
    domain, dependency = plan.organization.logical_domain, one.dependency
    assert dependency.component is not None
    if one.provider is not None:
        return logical_names(one.provider, dependency.component, one.endpoint, domain)
    short = f"{dependency.component}.{dependency.cell}.{domain}"
    return [f"{dependency.endpoint or 'http'}.{short}", short]


def _add_dependency(sections: Sections, one: Exit, hosts: list[str], plan: Plan, output: Output) -> None:
    cell = sections.cell
    if one.refusal or one.provider is None:
        add_exit(sections, one.route, hosts, [refusal(cell, one.refusal, output)], one, output)
        return
    provider = one.provider
    name = f"east|{provider.name}.{one.dependency.component}.{one.endpoint}"
    west = {"ip": {"address": provider.address("west"), "port": provider.bound.ports.west}}
    output.add("Backend", cell.name, name, {"endpoints": [west]}, (cell.item, provider.binding))
    uri = gateway_identity(plan.trust_domain, provider.name, "west")
    add_trust(cell, name, hosts[-1], uri, output, provider.item)
    forward = {"backendRefs": [backend_ref(name)]}
    refused = refusal(cell, "method-not-allowed", output)
    methods = _methods(one, cell)
    if methods:
        rules = [{**forward, "matches": [{"method": method} for method in methods]}, refused]
    else:
        rules = [forward, {**refused, "matches": [{"method": "CONNECT"}]}]
    add_exit(sections, one.route, hosts, rules, one, output)


def _methods(one: Exit, cell: Bound) -> tuple[str, ...]:
    """The methods that the endpoint lets this cell use; empty: all."""
    assert one.provider is not None
    assert one.dependency.component is not None
    endpoint = one.provider.endpoint(one.dependency.component, one.endpoint)
    allow = endpoint.allow if endpoint else None
    return allow.methods.get(cell.name, ()) if allow else ()
