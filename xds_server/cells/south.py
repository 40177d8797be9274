"""South: the gateway through which a cell's components reach the internet.

In: a cell's sections. Out: a derived Gateway, and for every external service routes and backends, or a refusal that says
why. CONNECT is refused everywhere.
"""

from __future__ import annotations

from xds_server.cells.derive import Output
from xds_server.cells.exits import add_catch_all, add_exit, free_hosts, refusal
from xds_server.cells.ingress import Json, add_gateway, backend_ref, split_matches, strip_headers
from xds_server.cells.plan import Bound, External, Plan
from xds_server.cells.sections import Exit, Sections
from xds_server.model.cell_kinds import ExternalOverride


def add_south(sections: Sections, plan: Plan, output: Output) -> None:
    """The south gateway, routes for every external dependency, and the refusal of everything else."""
    cell = sections.cell
    add_gateway(cell, "south", [{"name": "http", "protocol": "HTTP", "port": cell.bound.ports.south}], output)
    strip_headers(cell, "south", output, ("x-cell-", "x-user-"), ("cookie",))
    add_catch_all(cell, "south", "external-not-allowed", output)
    taken: dict[str, str] = {}
    for one in sections.exits:
        if one.direction == "south":
            _add_external(cell, one, taken, plan, output)


def _add_external(cell: Bound, one: Exit, taken: dict[str, str], plan: Plan, output: Output) -> None:
    logical = f"{one.dependency.external}.external.{plan.organization.logical_domain}"
    external = one.external
    if external is None:
        add_exit(cell, one.route, [logical], [refusal(cell, one.refusal, output)], one, output)
        return
    override = cell.bound.overrides.externals.get(external.item.name) or ExternalOverride()
    hosts = override.hosts or external.spec.hosts
    free = free_hosts(cell, one, [*hosts, logical], taken, output)
    if not free:
        return
    if one.refusal:
        add_exit(cell, one.route, free, [refusal(cell, one.refusal, output)], one, output)
        return
    for number, host in enumerate(hosts):
        if host in free:
            backend = _external_backend(cell, external, override, host, number, output)
            names = [name for name in (host, logical) if name in free] if number == 0 else [host]
            rules = [*_allowed(external, host, backend), refusal(cell, "method-not-allowed", output)]
            add_exit(cell, one.route if number == 0 else f"{one.route}.{number}", names, rules, one, output)


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
