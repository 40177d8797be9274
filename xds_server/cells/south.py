"""South: the gateway through which a cell's components reach the internet.

In: a cell's sections. Out: a derived Gateway with its listeners, and for every external service routes and backends, or a
refusal that says why. `http` takes plain requests and CONNECT, `tls` (only where something is passed through) tells
services apart by SNI, and what has neither requests nor names gets a port of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from xds_server.cells.derive import Output
from xds_server.cells.exits import (
    add_catch_all,
    add_exit,
    add_plain_exit,
    add_route,
    free_hosts,
    listeners_of,
    refusal,
    refuse,
    tell_components,
)
from xds_server.cells.externals import Outside, add_place, credential_of, outside_of, override_problem
from xds_server.cells.identities import add_identity
from xds_server.cells.ingress import (
    Json,
    add_gateway,
    backend_ref,
    filter_ref,
    gateway_name,
    split_matches,
    strip_headers,
    without,
)
from xds_server.cells.plan import Bound, Plan
from xds_server.cells.sections import Exit, Sections
from xds_server.model.external_services import Credential, ExternalPort

_PREFIXES = ("x-cell-", "x-user-", "x-envoy-", "x-forwarded-")
_NAMES = ("cookie", "forwarded", "proxy-authorization", "proxy-connection")
_OWN = ("x-forwarded-for", "x-forwarded-proto", "x-envoy-external-address")
"""What Envoy itself tells backends of the caller, which is nobody's business outside."""
_AUTHORIZATION = "authorization"
_PLAIN_PORT = 80
_ANY_HOST = "[^:]*"


@dataclass(slots=True)
class _South:
    """The gateway while it is made: whose each of its `hosts` and `ports` is."""

    sections: Sections
    plan: Plan
    output: Output
    listeners: list[Json] = field(default_factory=list)
    hosts: dict[str, str] = field(default_factory=dict)
    ports: dict[int, str] = field(default_factory=dict)

    @property
    def cell(self) -> Bound:
        """The cell."""
        return self.sections.cell


def add_south(sections: Sections, plan: Plan, output: Output) -> None:
    """The south gateway, routes for every external dependency, and the refusal of everything else."""
    cell = sections.cell
    south = _South(sections, plan, output)
    ports = cell.bound.ports
    south.listeners = listeners_of(sections, "south", (ports.south, ports.south_sidecars))
    south.ports |= {one["port"]: "requests" for one in south.listeners}
    strip_headers(cell, "south", output, without(_PREFIXES, _NAMES))
    if cell.sidecars:
        add_identity(cell, "south", plan, output)
        tell_components(cell, "south", output, without(_PREFIXES, _NAMES))
    add_catch_all(sections, "south", "external-not-allowed", output)
    _check_overrides(sections, output)
    for one in sections.exits:
        if one.direction == "south":
            _add_external(south, one)
    add_gateway(cell, "south", south.listeners, output)


def _check_overrides(sections: Sections, output: Output) -> None:
    cell = sections.cell
    for one in sections.exits:
        problem = override_problem(outside_of(cell, one.external)) if one.external else None
        if one.external is not None and problem is not None:
            path = ("overrides", "externals", one.external.item.name, *problem[0])
            output.problems.append(cell.binding.diagnose("C104", *path, reason=problem[1]))


def _add_external(south: _South, one: Exit) -> None:
    logical = f"{one.dependency.external}.external.{south.plan.organization.logical_domain}"
    cell, output = south.cell, south.output
    if one.external is None:
        add_exit(south.sections, one.route, [logical], [refusal(cell, one.refusal, output)], one, output)
        return
    outside = outside_of(cell, one.external)
    free = free_hosts(cell, one, [*outside.hosts, logical], south.hosts, output)
    reason = one.refusal or ("external-not-allowed" if override_problem(outside) else "")
    if not free or reason:
        if free:
            add_exit(south.sections, one.route, free, [refusal(cell, reason, output)], one, output)
        return
    _add_requests(south, one, outside, (free, logical))
    _add_passed_through(south, one, outside, free)
    for port in outside.ports:
        if port.has_own_port:
            _add_own_port(south, one, outside, port)


def _add_requests(south: _South, one: Exit, outside: Outside, names: tuple[list[str], str]) -> None:
    """Routes of the `http` listener: by Host and its port, then by the service's rules."""
    free, logical = names
    credential = credential_of(outside)
    assert not isinstance(credential, str)
    shown = _credential_filter(south, one, credential) if credential else []
    for number, host in enumerate(outside.hosts):
        if host not in free:
            continue
        mine = [name for name in (host, logical) if name in free] if number == 0 else [host]
        rules = _allowed(south, outside, number, shown, credential)
        known = _known_ports(south.cell, outside)
        refused = refusal(south.cell, "method-not-allowed", south.output)
        headers = [{"name": "host", "type": "RegularExpression", "value": value} for value in known.values()]
        matches = [{**match, "headers": [header]} for header in headers for match in refused["matches"]]
        closed = split_matches(refused, matches)
        everything = refusal(south.cell, "external-not-allowed", south.output)
        name = one.route if number == 0 else f"{one.route}.{number}"
        add_exit(south.sections, name, mine, [*rules, *closed, everything], one, south.output)


def _known_ports(cell: Bound, outside: Outside) -> dict[int, str]:
    """What the Host of a request looks like, for every port that has requests. Without a port it means the first."""
    ports = [one.port for one in outside.ports if one.reads_requests]
    found = {port: f"{_ANY_HOST}:{port}" for port in ports}
    if ports:
        others = {one.port for one in outside.ports} - {ports[0]}
        usual = dict.fromkeys((ports[0], _PLAIN_PORT, cell.bound.ports.south))
        named = "|".join(str(port) for port in usual if port not in others)
        found[ports[0]] = f"{_ANY_HOST}(:({named}))?"
    return found


def _allowed(
    south: _South, outside: Outside, number: int, shown: list[Json], credential: Credential | None
) -> list[Json]:
    """The rules that let requests out, with the Host that the service expects."""
    known = _known_ports(south.cell, outside)
    http = outside.external.spec.http
    rules: list[Json] = []
    for port in outside.ports:
        if not port.reads_requests:
            continue
        header = {"headers": [{"name": "host", "type": "RegularExpression", "value": known[port.port]}]}
        matches: list[Json] = []
        for rule in http.rules if http else ():
            path = {"path": {"type": "PathPrefix", "value": rule.path_prefix}, **header}
            matches += [{**path, "method": method} for method in rule.methods] or [path]
        rewrite = {"type": "URLRewrite", "urlRewrite": {"hostname": outside.hosts[number]}}
        kept = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": _removed(credential)}}
        backend = add_place(outside, number, port, south.output)
        built: Json = {"filters": [rewrite, kept, *shown], "backendRefs": [backend_ref(backend)]}
        rules += split_matches(built, matches or [header])
    return rules


def _removed(credential: Credential | None) -> list[str]:
    """Headers that do not leave. What a component says of itself gives way to what the gateway shows."""
    shown = (credential.header or _AUTHORIZATION).lower() if credential else _AUTHORIZATION
    return [*_OWN, *([] if shown == _AUTHORIZATION else [_AUTHORIZATION])]


def _credential_filter(south: _South, one: Exit, credential: Credential) -> list[Json]:
    """The filter that shows the credential."""
    secret = {"name": credential.secret_ref.name}
    held: Json = {"valueRef": secret}
    if credential.type == "Basic":
        held = {"basicRef": secret}
    elif credential.oauth2 is not None:
        client = credential.oauth2
        held = {
            "clientCredentials": {
                "tokenEndpoint": client.token_endpoint,
                "clientID": client.client_id,
                "clientSecret": secret,
                **({"scopes": list(client.scopes)} if client.scopes else {}),
            }
        }
    spec: Json = {"overwrite": credential.overwrite, "credential": held}
    if credential.header:
        spec["header"] = credential.header
    assert one.external is not None
    sources = (south.cell.item, one.external.item, south.cell.binding)
    south.output.add("HTTPRouteFilter", south.cell.name, one.route, {"credentialInjection": spec}, sources, one.at)
    return [filter_ref(one.route)]


def _add_passed_through(south: _South, one: Exit, outside: Outside, free: list[str]) -> None:
    """What has no requests goes by CONNECT, and TLS of components' own by SNI, too, to the first such port."""
    cell, output = south.cell, south.output
    tunnels = [port for port in outside.ports if not port.reads_requests]
    named = next((port for port in outside.ports if port.passes_through), None)
    for number, host in enumerate(outside.hosts):
        if host not in free:
            continue
        suffix = f".{number}" if number else ""
        rules = []
        for port in tunnels:
            header = {"name": "host", "type": "RegularExpression", "value": f"{_ANY_HOST}:{port.port}"}
            match = {"method": "CONNECT", "headers": [header]}
            backend = add_place(outside, number, port, output)
            rules.append({"matches": [match], "backendRefs": [backend_ref(backend)]})
        if rules:
            output.tunnels.add(add_plain_exit(cell, f"{one.route}.tunnel{suffix}", [host], rules, one, output))
        if named is not None and _listens(south, one, {"name": "tls"}, cell.bound.ports.south_tls, "SNI"):
            spec: Json = {
                "parentRefs": [{"name": gateway_name(cell, "south"), "sectionName": "tls"}],
                "hostnames": [host],
                "rules": [{"backendRefs": [backend_ref(add_place(outside, number, named, output))]}],
            }
            key = add_route("TLSRoute", cell, f"{one.route}{suffix}", spec, one, output)
            output.streams[key] = (host, named.port)


def _add_own_port(south: _South, one: Exit, outside: Outside, port: ExternalPort) -> None:
    """A listener for bytes that nobody looks into, and its route."""
    cell, local = south.cell, outside.local_port(port.port)
    listener = {"name": f"tcp-{one.dependency.name}-{port.port}"}
    if not _listens(south, one, listener, local, f"{one.section} port {port.port}"):
        return
    spec: Json = {
        "parentRefs": [{"name": gateway_name(cell, "south"), "sectionName": listener["name"]}],
        "rules": [{"backendRefs": [backend_ref(add_place(outside, 0, port, south.output))]}],
    }
    key = add_route("TCPRoute", cell, f"{one.route}.{port.port}", spec, one, south.output)
    south.output.streams[key] = (outside.hosts[0], port.port)


def _listens(south: _South, one: Exit, listener: Json, port: int, what: str) -> bool:
    """Make sure that there is a listener. False if its port is another's, which is reported."""
    taken = south.ports.setdefault(port, what)
    if taken != what:
        hint = "the binding's overrides.externals.<service>.localPorts, or its ports, can name another one"
        refuse(south.cell, one, f"port {port} of the south gateway is for {taken} already", south.output, hint)
        return False
    if listener["name"] not in [known["name"] for known in south.listeners]:
        more = {"protocol": "TCP"} if what != "SNI" else {"protocol": "TLS", "tls": {"mode": "Passthrough"}}
        south.listeners.append({**listener, "port": port, **more})
    return True
