"""East and south: the gateways through which a cell's components reach other cells and the internet.

In: a cell's sections. Out: derived Gateways, routes, backends and refusals. What nobody declared is answered with 403
and a header that says why, since the caller is a developer of the cell. CONNECT is refused everywhere.
"""

from __future__ import annotations

from typing import Any

from xds_server.cells.derive import Output
from xds_server.cells.ingress import (
    CALLER_HEADER,
    Json,
    add_gateway,
    backend_ref,
    filter_ref,
    gateway_name,
    split_matches,
    strip_headers,
)
from xds_server.cells.plan import Bound, External, Plan
from xds_server.cells.sections import Exit, Sections, logical_names
from xds_server.model.cell_kinds import ExternalOverride

DENY_HEADER = "x-cell-deny"
_EVERYTHING: list[Json] = [{"path": {"type": "PathPrefix", "value": "/"}}, {"method": "CONNECT"}]


def _refusal(cell: Bound, reason: str, output: Output) -> Json:
    """A rule that refuses everything with a reason."""
    name = f"deny-{reason}"
    answer = {"statusCode": 403, "header": {"set": [{"name": DENY_HEADER, "value": reason}]}}
    output.add("HTTPRouteFilter", cell.name, name, {"directResponse": answer}, (cell.item,))
    return {"matches": _EVERYTHING, "filters": [filter_ref(name)]}


def _add_route(cell: Bound, name: str, hosts: list[str], rules: list[Json], one: Exit, output: Output) -> None:
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


def _add_catch_all(cell: Bound, direction: str, reason: str, output: Output) -> None:
    spec = {"parentRefs": [{"name": gateway_name(cell, direction)}], "rules": [_refusal(cell, reason, output)]}
    output.add("HTTPRoute", cell.name, f"{reason}.{direction}", spec, (cell.item,))


def add_east(sections: Sections, plan: Plan, output: Output) -> None:
    """The east gateway, a route for every dependency on a cell, and the refusal of everything else."""
    cell = sections.cell
    add_gateway(cell, "east", [{"name": "http", "protocol": "HTTP", "port": cell.bound.ports.east}], output)
    strip_headers(cell, "east", output, ("x-cell-",), ())
    _add_catch_all(cell, "east", "undeclared-dependency", output)
    taken: dict[str, str] = {}
    for one in sections.exits:
        if one.direction == "east":
            hosts = _free(cell, one, _east_hosts(one, plan), taken, output)
            if hosts:
                _add_dependency(cell, one, hosts, plan, output)


def _east_hosts(one: Exit, plan: Plan) -> list[str]:
    domain, dependency = plan.organization.logical_domain, one.dependency
    assert dependency.component is not None
    if one.provider is not None:
        return logical_names(one.provider, dependency.component, one.endpoint, domain)
    short = f"{dependency.component}.{dependency.cell}.{domain}"
    return [f"{dependency.endpoint or 'http'}.{short}", short]


def _free(cell: Bound, one: Exit, hosts: list[str], taken: dict[str, str], output: Output) -> list[str]:
    """The hosts that no dependency before this one has; a host can lead to one place only."""
    free = [host for host in hosts if taken.setdefault(host, one.section) == one.section]
    for host in hosts:
        if host not in free:
            reason = f"{host} already leads to {taken[host]}"
            problem = cell.item.diagnose("C103", *one.path, name=one.dependency.name, reason=reason)
            output.problems.append(problem)
            break
    return free


def _add_dependency(cell: Bound, one: Exit, hosts: list[str], plan: Plan, output: Output) -> None:
    if one.refusal or one.provider is None:
        _add_route(cell, one.route, hosts, [_refusal(cell, one.refusal, output)], one, output)
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
    refused = {**_refusal(cell, "method-not-allowed", output), "matches": [{"method": "CONNECT"}]}
    _add_route(cell, one.route, hosts, [rule, refused], one, output)


def add_south(sections: Sections, plan: Plan, output: Output) -> None:
    """The south gateway, routes for every external dependency, and the refusal of everything else."""
    cell = sections.cell
    add_gateway(cell, "south", [{"name": "http", "protocol": "HTTP", "port": cell.bound.ports.south}], output)
    strip_headers(cell, "south", output, ("x-cell-", "x-user-"), ("cookie",))
    _add_catch_all(cell, "south", "external-not-allowed", output)
    taken: dict[str, str] = {}
    for one in sections.exits:
        if one.direction == "south":
            _add_external(cell, one, taken, plan, output)


def _add_external(cell: Bound, one: Exit, taken: dict[str, str], plan: Plan, output: Output) -> None:
    logical = f"{one.dependency.external}.external.{plan.organization.logical_domain}"
    external = one.external
    if external is None:
        _add_route(cell, one.route, [logical], [_refusal(cell, one.refusal, output)], one, output)
        return
    override = cell.bound.overrides.externals.get(external.item.name) or ExternalOverride()
    hosts = override.hosts or external.spec.hosts
    free = _free(cell, one, [*hosts, logical], taken, output)
    if not free:
        return
    if one.refusal:
        _add_route(cell, one.route, free, [_refusal(cell, one.refusal, output)], one, output)
        return
    for number, host in enumerate(hosts):
        if host in free:
            backend = _external_backend(cell, external, override, host, number, output)
            names = [name for name in (host, logical) if name in free] if number == 0 else [host]
            rules = [*_allowed(external, host, backend), _refusal(cell, "method-not-allowed", output)]
            _add_route(cell, one.route if number == 0 else f"{one.route}.{number}", names, rules, one, output)


def _allowed(external: External, host: str, backend: str) -> list[Json]:
    """The rules that let requests out, with the Host that the service expects."""
    matches: list[Json] = []
    for rule in external.spec.http.rules if external.spec.http else ():
        path = {"path": {"type": "PathPrefix", "value": rule.path_prefix}}
        matches += [{**path, "method": method} for method in rule.methods] or [path]
    rewrite = {"type": "URLRewrite", "urlRewrite": {"hostname": host}}
    built: Json = {"filters": [rewrite], "backendRefs": [backend_ref(backend)]}
    return split_matches(built, matches) or [built]


def _external_backend(
    cell: Bound, external: External, override: ExternalOverride, host: str, number: int, output: Output
) -> str:
    name = f"south|{external.item.name}" + (f"|{number}" if number else "")
    port = external.spec.ports[0]
    spec: Json = {"endpoints": [{"fqdn": {"hostname": host, "port": port.port}}]}
    if override.endpoints:
        spec["endpoints"] = [
            {"ip": {"address": one.address, "port": one.port or port.port}} for one in override.endpoints
        ]
    if port.protocol == "HTTPS":
        trust: Json = {"wellKnownCACertificates": "System"}
        if override.ca_certificate_ref:
            trust = {"caCertificateRefs": [{"kind": "ConfigMap", "name": override.ca_certificate_ref}]}
        spec["tls"] = {**trust, "sni": host}
    output.add("Backend", cell.name, name, spec, (external.item, cell.binding))
    return name
