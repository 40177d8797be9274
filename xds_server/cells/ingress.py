"""North: the gateway through which requests come in from the internet, and what all gateways of a cell have in common.

In: a cell's sections. Out: a derived Gateway, routes, backends and header rules. North is routed by the cell's hosts and
paths, and does not say why it refuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from xds_server.cells.bindings import Bound, hosts_of
from xds_server.cells.derive import VERSIONS, Output, origins_of
from xds_server.cells.identities import add_identity, add_trust, client_certificate, component_identity, identity_keys
from xds_server.cells.merge import Layer, merge_layers, piece
from xds_server.cells.names import component_names
from xds_server.cells.origins import SectionSettings, trace
from xds_server.cells.plan import Plan
from xds_server.cells.sections import Door, Sections
from xds_server.diagnostics import Positions, diagnose
from xds_server.model.cell_kinds import Direction
from xds_server.types import CELLWAY_GROUP, ENVOY_GATEWAY_GROUP, GATEWAY_GROUP

_HSTS = "max-age=31536000"
_REDIRECT = 308
INTERNAL = ("x-cell-", "x-user-")
"""Headers that say who somebody is: from outside nobody may bring them."""
_TOLD_TO_NOBODY: dict[str, Any] = {
    "remove": ["server"],
    "removeOnMatch": [{"type": "Prefix", "value": prefix} for prefix in ("x-envoy-", "x-cell-")],
}
"""What north takes out of answers: which software runs inside, how long it took, and why it refused."""
_NONE: Mapping[str, str] = MappingProxyType({})
_MOST_MATCHES = 128  # of one rule, says Gateway API
Json = dict[str, Any]


def filter_ref(name: str) -> Json:
    """A rule's filter that answers with a derived HTTPRouteFilter."""
    ref = {"group": ENVOY_GATEWAY_GROUP, "kind": "HTTPRouteFilter", "name": name}
    return {"type": "ExtensionRef", "extensionRef": ref}


def add_guard(cell: Bound, name: str, allow: list[Json], output: Output) -> None:
    """A filter that lets in peers whom one of these rules names."""
    output.add("HTTPRouteFilter", cell.name, name, {"peers": {"allow": allow}}, (cell.item,))


def guarded(rules: list[Json], name: str) -> list[Json]:
    """Rules that only those pass whom a filter lets in. It stands last in each, and is asked first all the same."""
    return [{**rule, "filters": [*rule.get("filters", ()), filter_ref(name)]} for rule in rules]


def backend_ref(name: str, weight: int = 1) -> Json:
    """A reference to a derived Backend."""
    return {"group": ENVOY_GATEWAY_GROUP, "kind": "Backend", "name": name, "weight": weight}


def gateway_name(cell: Bound, direction: str) -> str:
    """`orders-west`."""
    return f"{cell.name}-{direction}"


def add_gateway(
    cell: Bound,
    direction: Direction,
    listeners: list[Json],
    output: Output,
    annotations: Mapping[str, str] = _NONE,
    tls: Json | None = None,
) -> None:
    """One gateway of a cell. `tls` is what it shows to backends, and what clients must show to it."""
    spec: Json = {"addresses": [{"type": "IPAddress", "value": cell.address(direction)}], "listeners": listeners}
    if tls is not None:
        spec["tls"] = tls
    marks = {"cell": cell.name, "direction": direction, "stage": cell.bound.stage}
    metadata = {
        "name": gateway_name(cell, direction),
        "namespace": cell.name,
        "labels": {f"{CELLWAY_GROUP}/{key}": value for key, value in marks.items()},
        **({"annotations": dict(annotations)} if annotations else {}),
    }
    document = {"apiVersion": VERSIONS["Gateway"], "kind": "Gateway", "metadata": metadata, "spec": spec}
    start = cell.binding.source.positions.start
    output.parse(document, Positions(start), origins_of((cell.binding, cell.item)))


def without(prefixes: Iterable[str], names: Iterable[str] = ()) -> Json:
    """Headers that go before anything looks at a request."""
    early: Json = {"removeOnMatch": [{"type": "Prefix", "value": prefix} for prefix in prefixes]}
    return {**early, **({"remove": list(names)} if names else {})}


def strip_headers(cell: Bound, direction: str, output: Output, early: Json, peer: str = "") -> None:
    """Remove headers from every request to a gateway before anything looks at them; `peer` then says who the client is.

    Inside, a request keeps the id that the edge has given it.
    """
    target = {"group": GATEWAY_GROUP, "kind": "Gateway", "name": gateway_name(cell, direction)}
    spec: Json = {"targetRefs": [target], "headers": {"earlyRequestHeaders": early, "requestID": "PreserveOrGenerate"}}
    if peer:
        spec["peerHeader"] = peer
    output.add("ClientTrafficPolicy", cell.name, gateway_name(cell, direction), spec, (cell.item,))


def add_backend(cell: Bound, direction: str, component: str, endpoint: str, output: Output) -> str:
    """The Backend of one of the cell's own endpoints, named as its cluster shall be called."""
    name = f"{direction}|{cell.name}.{component}.{endpoint}"
    places = cell.bound.endpoints.get(f"{component}.{endpoint}", ())
    spec = cell.endpoint(component, endpoint)
    if not places or spec is None:
        at = cell.binding.source.value("spec", "endpoints")
        problem = cell.binding.diagnose("C105", "endpoints", name=f"{component}.{endpoint}", cell=cell.name)
        if at and problem not in output.problems:
            output.problems.append(problem)
        return name
    endpoints = []
    for place in places:
        entry: Json = {"ip": {"address": place.address, "port": place.port or spec.port}}
        endpoints.append(entry | ({"zone": place.zone} if place.zone else {}))
    output.add("Backend", cell.name, name, {"endpoints": endpoints}, (cell.item, cell.binding))
    if component in cell.sidecars:
        uri = component_identity(cell.domain, cell.name, component)
        add_trust(cell, name, f"{component}.{cell.name}", uri, output, cell.binding)
    return name


def north_hosts(cell: Bound) -> tuple[str, ...]:
    """The hosts of a cell on the internet, without those of production where that is another stage."""
    return tuple(host for host in hosts_of(cell.spec, cell.bound) if host not in cell.reserved)


def certificate_of(cell: Bound) -> str:
    """The Secret that north shows; empty where it speaks plain HTTP."""
    for settings in (cell.bound.overrides.gateways.north, cell.spec.gateways.north):
        if settings is not None and settings.tls is not None:
            return settings.tls.certificate_ref
    return ""


def _shown_by(cell: Bound, plan: Plan, output: Output) -> list[Json]:
    """References to what north shows on its TLS listeners; none where it would be the identity of a gateway or a sidecar.

    A certificate that is production's is not there in other stages; here it is said why.
    """
    name = certificate_of(cell)
    override = cell.bound.overrides.gateways.north
    item = cell.binding if override is not None and override.tls is not None else cell.item
    place = (*(("overrides",) if item is cell.binding else ()), "gateways", "north", "tls", "certificateRef")
    if (cell.name, name) in plan.withheld:
        reason = f"a binding of production names Secret {cell.name}/{name}; stage {plan.stage} does not get it"
        hint = "give this stage its own: overrides.gateways.north.tls.certificateRef"
        output.problems.append(item.diagnose("C124", *place, hint=hint, reason=reason))
    if any(name == key.name for key in identity_keys(cell.name, component_names(cell.item)) if key.kind == "Secret"):
        reason = f"Secret {cell.name}/{name} says who a gateway or a sidecar of the cell is, and north does not show it"
        hint = "name a Secret of your own with tls.crt and tls.key for the hosts of the cell"
        output.problems.append(item.diagnose("C110", *place, hint=hint, reason=reason))
        return []
    return [{"name": name, "kind": "Secret"}]


def _https_listeners(cell: Bound) -> dict[str, str]:
    """The names of north's TLS listeners by host: one each, so that SNI decides who sees the certificate."""
    hosts = north_hosts(cell) if certificate_of(cell) else ()
    return {host: "https" if number == 0 else f"https.{host}" for number, host in enumerate(hosts)}


def parent_refs(cell: Bound, direction: str, hosts: Iterable[str]) -> list[Json]:
    """The parents of routes. With a certificate north serves them over TLS only: its plain listener redirects."""
    parent = {"name": gateway_name(cell, direction)}
    listeners = _https_listeners(cell) if direction == "north" else {}
    fitting = [listeners[host] for host in dict.fromkeys(hosts) if host in listeners]
    return [{**parent, "sectionName": name} for name in fitting or listeners.values()] or [parent]


def split_matches(rule: Json, matches: list[Json]) -> list[Json]:
    """A rule with these matches, as often as it takes for a rule to hold them."""
    return [{**rule, "matches": matches[at : at + _MOST_MATCHES]} for at in range(0, len(matches), _MOST_MATCHES)]


def add_north(sections: Sections, plan: Plan, taken: dict[tuple[str, str], str], output: Output) -> None:
    """The north gateway and its routes. `taken` holds the (host, path) pairs of all cells so far."""
    cell, certificate = sections.cell, certificate_of(sections.cell)
    shown_outside = _shown_by(cell, plan, output)
    ports = cell.bound.ports
    listeners: list[Json] = [{"name": "http", "protocol": "HTTP", "port": ports.http}]
    tls = {"certificateRefs": shown_outside}
    for host, name in _https_listeners(cell).items():
        listeners.append({"name": name, "protocol": "HTTPS", "port": ports.https, "hostname": host, "tls": tls})
    settings = merge_layers(_tls_layers(cell)).value if certificate else {}
    if certificate:
        _redirect_to_https(cell, settings.get("redirect", _REDIRECT), output)
    _guard_headers(cell, settings, output, strict=bool(certificate))
    if cell.sidecars:
        add_identity(cell, "north", plan, output)
    shown = {"backend": client_certificate(cell, "north")} if cell.sidecars else None
    add_gateway(cell, "north", listeners, output, _edge(plan), shown)
    hosts = north_hosts(cell)
    for door in sections.doors:
        if door.direction == "north":
            _add_public(cell, door, hosts, taken, output)


def _edge(plan: Plan) -> dict[str, str]:
    """What stands in front of every north gateway, as annotations."""
    edge = plan.organization.edge
    if edge is None:
        return {}
    found = {"trusted-proxies": ",".join(edge.trusted_proxies), "trusted-hops": str(edge.trusted_hops)}
    return {f"{CELLWAY_GROUP}/{name}": text for name, text in found.items()}


def _add_public(
    cell: Bound, door: Door, hosts: tuple[str, ...], taken: dict[tuple[str, str], str], output: Output
) -> None:
    if not hosts:
        if cell.reserved:
            return
        name = f"{door.component}.{door.endpoint.name}"
        output.problems.append(diagnose("C106", door.at, subject=str(cell.item.key), name=name))
        return
    path, label = door.endpoint.base_path, f"{cell.name}.{door.component}.{door.endpoint.name}"
    prefix = path.rstrip("/")  # what /v1/ matches is what /v1 matches
    free = [host for host in hosts if taken.setdefault((host, prefix), label) == label]
    for host in hosts:
        if host not in free:
            reason = f"{host}{path} already leads to {taken[host, prefix]}"
            output.problems.append(diagnose("C107", door.at, subject=str(cell.item.key), name=label, reason=reason))
    if not free:
        return
    backend = add_backend(cell, "north", door.component, door.endpoint.name, output)
    spec = {
        "parentRefs": parent_refs(cell, "north", free),
        "hostnames": free,
        "rules": [
            {"matches": [{"path": {"type": "PathPrefix", "value": path}}], "backendRefs": [backend_ref(backend)]}
        ],
    }
    output.add("HTTPRoute", cell.name, door.route, spec, (cell.item,), door.at)


def _redirect_to_https(cell: Bound, status: int, output: Output) -> None:
    """Send plain HTTP for the hosts of the cell to its TLS port. Where it has no host, nothing is sent anywhere."""
    if hosts := north_hosts(cell):
        redirect = {"scheme": "https", "port": cell.bound.ports.https, "statusCode": status}
        spec: Json = {
            "parentRefs": [{"name": gateway_name(cell, "north"), "sectionName": "http"}],
            "hostnames": list(hosts),
            "rules": [{"filters": [{"type": "RequestRedirect", "requestRedirect": redirect}]}],
        }
        output.add("HTTPRoute", cell.name, "https-redirect.north", spec, (cell.item,))


def _tls_layers(cell: Bound) -> list[Layer]:
    """What the classes of a cell say of TLS on north, the weakest first."""
    parts = ("default", "override")
    return [
        piece(item, ("spec", f"{part}s", "north", "tls"), f"class {part}") for part in parts for item in cell.classes
    ]


def tls_settings(cell: Bound) -> Iterator[SectionSettings]:
    """What counts for TLS on north and who set it, where there is TLS."""
    layers = _tls_layers(cell)
    leaves = trace(merge_layers(layers), layers, ())
    if leaves and certificate_of(cell):
        yield SectionSettings(cell.name, cell.bound.stage, "north", "tls", leaves)


def _guard_headers(cell: Bound, settings: Json, output: Output, *, strict: bool) -> None:
    """Headers that nobody may bring in or take out. `strict`: over TLS, browsers hear that there is nothing else."""
    name = gateway_name(cell, "north")
    early = {
        "remove": ["x-forwarded-client-cert"],
        "removeOnMatch": [{"type": "Prefix", "value": prefix} for prefix in INTERNAL],
    }
    hsts = {"set": [{"name": "strict-transport-security", "value": settings.get("hsts", _HSTS)}]}
    target = {"group": GATEWAY_GROUP, "kind": "Gateway", "name": name}
    late = {**_TOLD_TO_NOBODY, **(hsts if strict else {})}
    over_tls: Json = {"targetRefs": [target], "headers": {"earlyRequestHeaders": early, "lateResponseHeaders": late}}
    if "minVersion" in settings:
        over_tls["tls"] = {"minVersion": settings["minVersion"]}
    output.add("ClientTrafficPolicy", cell.name, name, over_tls, (cell.item, *cell.classes))
    if strict:
        plain = {"earlyRequestHeaders": early, "lateResponseHeaders": _TOLD_TO_NOBODY}
        spec = {"targetRefs": [{**target, "sectionName": "http"}], "headers": plain}
        output.add("ClientTrafficPolicy", cell.name, f"{name}.http", spec, (cell.item,))
