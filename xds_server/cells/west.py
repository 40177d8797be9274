"""West: the gateway through which other cells call, and a route for every endpoint that they may see.

In: a cell's sections. Out: a derived Gateway, routes, backends, and filters that say who is let in. West is routed by
logical names. It speaks TLS only, to peers whom the authority of the stage vouches for. Who a peer is stands in its certificate,
never in a header; `x-cell-caller` is what west tells the component. What an east gateway says of its component is handed on
in `x-cell-component`. West does not say why it refuses.
"""

from __future__ import annotations

import re

from xds_server.cells.bindings import Bound
from xds_server.cells.derive import Output
from xds_server.cells.exits import COMPONENT_HEADER
from xds_server.cells.identities import (
    AUTHORITY,
    add_identity,
    client_certificate,
    gateway_identity,
    operator_identity,
    server_certificate,
)
from xds_server.cells.ingress import (
    Json,
    add_backend,
    add_gateway,
    add_guard,
    backend_ref,
    gateway_name,
    guarded,
    strip_headers,
)
from xds_server.cells.plan import Plan
from xds_server.cells.sections import Door, Sections, logical_names

CALLER_HEADER = "x-cell-caller"
ANY_CELL = "any-cell"
"""The filter that lets in the east gateway of every cell."""


def add_west(sections: Sections, plan: Plan, output: Output) -> None:
    """The west gateway and its routes."""
    cell = sections.cell
    add_identity(cell, "west", plan, output)
    listener = {
        "name": "mtls",
        "protocol": "HTTPS",
        "port": cell.bound.ports.west,
        "tls": server_certificate(cell, "west"),
        "allowedRoutes": {"kinds": [{"kind": "HTTPRoute"}]},  # no other kind of route could say who is let in
    }
    authority = {"group": "", "kind": "ConfigMap", "name": AUTHORITY}
    clients = {"default": {"validation": {"caCertificateRefs": [authority]}}}
    shown = {"backend": client_certificate(cell, "west")} if cell.sidecars else {}
    add_gateway(cell, "west", [listener], output, tls={"frontend": clients, **shown})
    early = {
        "remove": ["x-forwarded-client-cert"],
        "removeOnMatch": [
            {"type": "Prefix", "value": "x-user-"},
            *({"type": "RegularExpression", "value": name} for name in _all_but("x-cell-", COMPONENT_HEADER)),
        ],
    }
    strip_headers(cell, "west", output, early, CALLER_HEADER)
    add_guard(cell, ANY_CELL, [_any_cell(plan)], output)
    for door in sections.doors:
        if door.direction == "west":
            _add_door(cell, door, plan, output)


def _all_but(prefix: str, kept: str) -> list[str]:
    """Expressions for all names with a prefix but one. One for all of them would be longer than Envoy takes."""
    rest = kept.removeprefix(prefix)
    others = [f"{prefix}{rest[:number]}([^{letter}].*)?" for number, letter in enumerate(rest)]
    return [*others, f"{kept}.+"]


def _add_door(cell: Bound, door: Door, plan: Plan, output: Output) -> None:
    backend = add_backend(cell, "west", door.component, door.endpoint.name, output)
    add_guard(cell, door.route, _allowed(door, plan), output)
    rules: list[Json] = [{"backendRefs": [backend_ref(backend)]}]
    spec = {
        "parentRefs": [{"name": gateway_name(cell, "west")}],
        "hostnames": west_hosts(cell, door, plan),
        "rules": guarded(rules, door.route),
    }
    output.add("HTTPRoute", cell.name, door.route, spec, (cell.item,), door.at)


def _allowed(door: Door, plan: Plan) -> list[Json]:
    """Who may call an endpoint: the east gateways of the cells that it allows, and its operators."""
    allow, rules = door.endpoint.allow, []
    if allow is None or allow.all:
        rules.append(_any_cell(plan))
    if allow is None:
        return rules
    free = [one for one in allow.cells if one not in allow.methods]
    if uris := [gateway_identity(plan.trust_domain, one, "east") for one in free]:
        rules.append({"uris": uris})
    if people := [operator_identity(plan.trust_domain, one) for one in allow.operators]:
        # Of a component only the gateway in front of it can tell.
        rules.append({"uris": people, "withoutHeaders": [COMPONENT_HEADER]})
    for one, methods in allow.methods.items():
        rules.append({"uris": [gateway_identity(plan.trust_domain, one, "east")], "methods": list(methods)})
    return rules


def _any_cell(plan: Plan) -> Json:
    return {"pattern": gateway_identity(re.escape(plan.trust_domain), "[^/]+", "east")}


def west_hosts(cell: Bound, door: Door, plan: Plan) -> list[str]:
    """The logical names of an endpoint."""
    return logical_names(cell, door.component, door.endpoint.name, plan.organization.logical_domain)
