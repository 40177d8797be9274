"""Sidecars: the gateway of a single component, between its application and everybody else.

In: a cell's sections. Out: for every sidecar a derived Gateway with its routes. Callers reach it over TLS only, and only
gateways and components of the same cell get through the handshake; the application is reached on loopback. What the
application sends goes to loopback, too: inside the cell straight to the other component, everything else to the cell's own
east or south, which decide. The sidecar itself only refuses what these cannot know.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from xds_server.cells.bindings import Bound
from xds_server.cells.derive import VERSIONS, Output, origins_of
from xds_server.cells.east import east_hosts
from xds_server.cells.exits import COMPONENT_HEADER, COMPONENT_NOT_ALLOWED, refusal
from xds_server.cells.externals import outside_of
from xds_server.cells.identities import (
    add_identity,
    add_trust,
    callers_inside,
    client_certificate,
    component_identity,
    gateway_identity,
    server_certificate,
    sidecar_of,
)
from xds_server.cells.ingress import (
    INTERNAL,
    Json,
    add_backend,
    add_guard,
    backend_ref,
    gateway_name,
    guarded,
    strip_headers,
    without,
)
from xds_server.cells.plan import Plan
from xds_server.cells.sections import Exit, Sections, logical_names
from xds_server.cells.sidecars import endpoints_of, is_broken, is_carried, listens_on, port_of
from xds_server.cells.west import CALLER_HEADER
from xds_server.diagnostics import Positions
from xds_server.model.cell_kinds import CellEndpoint, Direction
from xds_server.model.policies import MOST_TARGETS
from xds_server.types import CELLWAY_GROUP, ENVOY_GATEWAY_GROUP, GATEWAY_GROUP, Key

PEER_HEADER = "x-cell-peer"
"""What a sidecar tells its application: who handed the request over."""
_ENDLESS = {"request": "0s"}
"""Whoever stands before or behind a sidecar says how long a request may take."""


@dataclass(frozen=True, slots=True)
class _Sidecar:
    """One sidecar while it is made."""

    component: str
    sections: Sections
    plan: Plan
    output: Output

    @property
    def cell(self) -> Bound:
        """Its cell."""
        return self.sections.cell

    @property
    def direction(self) -> str:
        """What stands for it where a gateway has its direction."""
        return sidecar_of(self.component)

    @property
    def application(self) -> str:
        """The loopback address of its application."""
        return self.cell.bound.sidecars[self.component].application

    def served(self) -> Iterator[CellEndpoint]:
        """The endpoints that are somewhere in the stage."""
        for one in endpoints_of(self.cell, self.component):
            if self.cell.bound.endpoints.get(f"{self.component}.{one.name}"):
                yield one

    def way_in(self, endpoint: CellEndpoint) -> str:
        """The name of the route to an endpoint of its application."""
        return f"{self.component}.{endpoint.name}.sidecar"

    def add_route(self, name: str, listener: str, rules: list[Json], hosts: list[str] | None = None) -> None:
        """A route on one of its listeners."""
        parent = {"name": gateway_name(self.cell, self.direction), "sectionName": listener}
        spec: Json = {"parentRefs": [parent], "rules": rules, **({"hostnames": hosts} if hosts else {})}
        key = self.output.add("HTTPRoute", self.cell.name, name, spec, (self.cell.item, self.cell.binding))
        self.output.sidecars[key] = f"sidecar.{self.component}"


def add_sidecars(sections: Sections, plan: Plan, output: Output) -> None:
    """The Gateways of a cell's sidecars, and the way out of each."""
    for component in sections.cell.sidecars:
        if not is_broken(sections.cell, component):
            one = _Sidecar(component, sections, plan, output)
            add_identity(sections.cell, "", plan, output, component)
            names = [one.way_in(endpoint) for endpoint in one.served()]
            output.reserved |= {Key(GATEWAY_GROUP, "HTTPRoute", sections.cell.name, name) for name in names}
            _add_gateway(one)
            strip_headers(sections.cell, one.direction, output, without(INTERNAL))
            _add_inside(one)
            for direction in ("east", "south"):
                _add_out(one, direction)


def add_inbound(sections: Sections, plan: Plan, output: Output) -> None:
    """The way in. It is for gateways that lead there, which is known when all their routes are."""
    for component in sections.cell.sidecars:
        one = _Sidecar(component, sections, plan, output)
        endpoints = list(one.served())
        if not is_broken(sections.cell, component) and endpoints:
            _let_in(one, endpoints)
            for endpoint in endpoints:
                _add_endpoint(one, endpoint)


def _add_gateway(one: _Sidecar) -> None:
    cell, ports = one.cell, one.cell.bound.ports
    listeners: list[Json] = [
        {
            "name": _listener(endpoint),
            "protocol": "HTTPS",
            "port": port_of(cell, one.component, endpoint),
            "tls": server_certificate(cell, one.direction),
            "allowedRoutes": {"kinds": [{"kind": "HTTPRoute"}]},
        }
        for endpoint in one.served()
    ]
    out = {"east": ports.east, "south": ports.south, "dns": ports.dns}
    protocols = {"dns": "cellway.dev/DNS"}
    listeners += [{"name": name, "protocol": protocols.get(name, "HTTP"), "port": port} for name, port in out.items()]
    places = ",".join(f"{port}={one.application}" for port in out.values())
    addresses = listens_on(cell, one.component) or (one.application,)
    marks = {"cell": cell.name, "component": one.component, "direction": "sidecar", "stage": cell.bound.stage}
    metadata = {
        "name": gateway_name(cell, one.direction),
        "namespace": cell.name,
        "labels": {f"{CELLWAY_GROUP}/{key}": value for key, value in marks.items()},
        "annotations": {f"{CELLWAY_GROUP}/port-addresses": places},
    }
    spec: Json = {
        "addresses": [{"type": "IPAddress", "value": address} for address in addresses],
        "listeners": listeners,
        "tls": {"backend": client_certificate(cell, one.direction)},
    }
    document = {"apiVersion": VERSIONS["Gateway"], "kind": "Gateway", "metadata": metadata, "spec": spec}
    start = cell.binding.source.key("spec", "sidecars", one.component)
    key = one.output.parse(document, Positions(start), origins_of((cell.binding, cell.item)))
    one.output.sidecars[key] = f"sidecar.{one.component}"


def _listener(endpoint: CellEndpoint) -> str:
    return f"in-{endpoint.name}"


def _let_in(one: _Sidecar, endpoints: list[CellEndpoint]) -> None:
    """Who gets through the handshake, and what is noted of him."""
    name = gateway_name(one.cell, one.direction)
    target = {"group": GATEWAY_GROUP, "kind": "Gateway", "name": name}
    targets = [{**target, "sectionName": _listener(endpoint)} for endpoint in endpoints]
    spec: Json = {
        "tls": callers_inside(one.cell, "(gw/(north|west)|component/[^/]+)"),
        "headers": {"earlyRequestHeaders": {"remove": ["x-forwarded-client-cert"]}, "requestID": "PreserveOrGenerate"},
        "peerHeader": PEER_HEADER,
        # The client is whom the gateway names, with the scheme that he spoke.
        "clientIPDetection": {"xForwardedFor": {"numTrustedHops": 1}},
        "onInvalidMessage": "TerminateStream",
    }
    sources = (one.cell.item, one.cell.binding)
    for start in range(0, len(targets), MOST_TARGETS):
        policy = f"{name}.in.{start}" if start else f"{name}.in"
        some = {"targetRefs": targets[start : start + MOST_TARGETS]}
        one.output.add("ClientTrafficPolicy", one.cell.name, policy, {**some, **spec}, sources)


def _add_endpoint(one: _Sidecar, endpoint: CellEndpoint) -> None:
    """The way to the application. Gateways are believed what they say of callers, other components are not."""
    cell, label = one.cell, f"{one.component}.{endpoint.name}"
    backend = f"app|{cell.name}.{label}"
    place = {"ip": {"address": one.application, "port": endpoint.port}}
    one.output.add("Backend", cell.name, backend, {"endpoints": [place]}, (cell.item, cell.binding))
    gateways = [
        gateway_identity(cell.domain, cell.name, direction)
        for direction in ("north", "west")
        if Key(ENVOY_GATEWAY_GROUP, "Backend", cell.name, f"{direction}|{cell.name}.{label}") in one.output.objects
    ]
    users = [name for name in cell.sidecars if not endpoint.from_ or name in endpoint.from_]
    uris = [*gateways, *(component_identity(cell.domain, cell.name, name) for name in users)]
    guard = f"{label}.callers"
    add_guard(cell, guard, [{"uris": uris}] if uris else [], one.output)
    forward: Json = {"backendRefs": [backend_ref(backend)], "timeouts": _ENDLESS}
    said = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": [CALLER_HEADER, COMPONENT_HEADER]}}
    rules = [{**forward, "filters": [said]}]
    if gateways:
        matches = [{"headers": [{"name": PEER_HEADER, "value": uri}]} for uri in gateways]
        rules.insert(0, {**forward, "matches": matches})
    one.add_route(one.way_in(endpoint), _listener(endpoint), guarded(rules, guard))


def _add_inside(one: _Sidecar) -> None:
    """Components of the same cell, by short and by logical names."""
    cell, domain = one.cell, one.plan.organization.logical_domain
    for component in dict.fromkeys(each.name for each in cell.spec.components):
        for endpoint in endpoints_of(cell, component):
            if not cell.bound.endpoints.get(f"{component}.{endpoint.name}"):
                continue
            long = logical_names(cell, component, endpoint.name, domain)
            hosts = [*long, *(name.removesuffix(f".{cell.name}.{domain}") for name in long)]
            name = f"{component}.{endpoint.name}.inside.{one.component}"
            rules = [refusal(cell, COMPONENT_NOT_ALLOWED, one.output)]
            if not endpoint.from_ or one.component in endpoint.from_:
                rules = _forward(one, add_backend(cell, "component", component, endpoint.name, one.output))
            one.add_route(name, "east", rules, hosts)


def _add_out(one: _Sidecar, direction: Direction) -> None:
    """Everything that leaves the cell, to the gateway that decides on it."""
    cell, listener = one.cell, direction
    reason = "undeclared-dependency" if direction == "east" else "external-not-allowed"
    suffix = f"{direction}.{sidecar_of(one.component)}"
    if direction not in one.sections.directions():
        one.add_route(f"{reason}.{suffix}", listener, [refusal(cell, reason, one.output)])
        return
    backend = _gateway_backend(one, direction)
    taken: set[str] = set()
    for each in one.sections.exits:
        hosts = [host for host in _hosts(one, each) if host not in taken] if each.direction == direction else []
        taken.update(hosts)
        if not hosts:
            continue
        users = each.dependency.from_
        closed = bool(users) and one.component not in users and not each.refusal and is_carried(each)
        rules = [refusal(cell, COMPONENT_NOT_ALLOWED, one.output)] if closed else _forward(one, backend)
        one.add_route(f"{each.dependency.name}.{suffix}", listener, rules, hosts)
    one.add_route(f"{reason}.{suffix}", listener, _forward(one, backend))


def _hosts(one: _Sidecar, each: Exit) -> list[str]:
    """The names by which a dependency is asked for."""
    if each.direction == "east":
        return east_hosts(each, one.plan)
    logical = f"{each.dependency.external}.external.{one.plan.organization.logical_domain}"
    return [*(outside_of(one.cell, each.external).hosts if each.external else ()), logical]


def _gateway_backend(one: _Sidecar, direction: Direction) -> str:
    """The cell's own east or south, as its sidecars reach it."""
    cell, name = one.cell, f"component|{direction}"
    ports = {"east": cell.bound.ports.east_sidecars, "south": cell.bound.ports.south_sidecars}
    place = {"ip": {"address": cell.address(direction), "port": ports[direction]}}
    one.output.add("Backend", cell.name, name, {"endpoints": [place]}, (cell.item, cell.binding))
    uri = gateway_identity(cell.domain, cell.name, direction)
    add_trust(cell, name, gateway_name(cell, direction), uri, one.output, cell.binding)
    return name


def _forward(one: _Sidecar, backend: str) -> list[Json]:
    """Rules that hand requests on, and refuse tunnels: nobody could look into them."""
    closed = {**refusal(one.cell, "method-not-allowed", one.output), "matches": [{"method": "CONNECT"}]}
    return [{"backendRefs": [backend_ref(backend)], "timeouts": _ENDLESS}, closed]
