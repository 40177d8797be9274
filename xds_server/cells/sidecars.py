"""Which components have sidecars, what follows from that for who is told apart, and where each sidecar listens.

In: a cell in its stage, and its sections. Out: facts, and what is wrong with the `sidecars` of a binding. Nothing is derived
here. A sidecar with a mistake is still one: callers speak TLS to it and find nobody.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from xds_server.cells.bindings import Bound
from xds_server.cells.names import first_of_name
from xds_server.cells.sections import Exit, Sections
from xds_server.diagnostics import Diagnostic
from xds_server.model.cell_kinds import CellEndpoint
from xds_server.types import Path

PLAIN, SIDECARS = "http", "sidecars"
"""The listeners of east and south for requests: for everybody of the cell, and for those who say who they are."""


def endpoints_of(cell: Bound, component: str) -> tuple[CellEndpoint, ...]:
    """The endpoints of a component."""
    for _, one in first_of_name(cell.spec.components):
        if one.name == component:
            return tuple(endpoint for _, endpoint in first_of_name(one.endpoints))
    return ()


def listens_on(cell: Bound, component: str) -> tuple[str, ...]:
    """The addresses at which a sidecar listens for callers."""
    own = cell.bound.sidecars[component].address
    places = (cell.bound.endpoints.get(f"{component}.{one.name}", ()) for one in endpoints_of(cell, component))
    return (own,) if own else tuple(dict.fromkeys(place.address for each in places for place in each))


def port_of(cell: Bound, component: str, endpoint: CellEndpoint) -> int:
    """The port at which a sidecar listens for callers of an endpoint."""
    places = cell.bound.endpoints.get(f"{component}.{endpoint.name}", ())
    return next((place.port for place in places if place.port), endpoint.port)


def is_carried(one: Exit) -> bool:
    """Whether all of a dependency goes through sidecars. What has no requests is not told apart by components."""
    return one.external is None or all(port.reads_requests for port in one.external.spec.ports)


def is_enforced(cell: Bound, one: Exit) -> bool:
    """Whether only those that `from` names can use a dependency. A name of no component is nobody's."""
    named = set(one.dependency.from_) & {each.name for each in cell.spec.components}
    return bool(one.dependency.from_ and cell.sidecars) and is_carried(one) and named <= set(cell.sidecars)


def entrances(sections: Sections, direction: str) -> tuple[str, ...]:
    """The listeners of east or south: the plain one is there as long as somebody has nothing else."""
    cell = sections.cell
    without = {one.name for one in cell.spec.components} - set(cell.sidecars)
    blind = any(not is_carried(one) for one in sections.exits if one.direction == direction)
    return (*((PLAIN,) if without or blind else ()), *((SIDECARS,) if cell.sidecars else ()))


def enforcement(sections: Sections) -> tuple[str, str]:
    """`Component` or `Cell`, and in words why it is not `Component`."""
    cell, gaps = sections.cell, []
    named = {name for one in sections.exits for name in one.dependency.from_}
    guarded = [
        (component.name, endpoint)
        for component in cell.spec.components
        for endpoint in component.endpoints
        if endpoint.from_
    ]
    named |= {name for component, endpoint in guarded for name in (component, *endpoint.from_)}
    wanted = named or {one.name for one in cell.spec.components}
    if missing := sorted(wanted - set(cell.sidecars)):
        gaps.append(f"without sidecars a gateway cannot tell components of its cell apart: {', '.join(missing)}")
    blind = [one.dependency.name for one in sections.exits if one.dependency.from_ and not is_carried(one)]
    if blind:
        gaps.append(f"what has no requests is not told apart: {', '.join(blind)}")
    return ("Cell", "; ".join([*gaps, "`from` is not enforced there"])) if gaps else ("Component", "")


def enforced_places(sections: Sections) -> Iterator[str]:
    """The dependencies and endpoints whose `from` is enforced: `east.orders`, `endpoint api.admin`."""
    cell = sections.cell
    yield from (one.section for one in sections.exits if is_enforced(cell, one))
    for component in cell.sidecars:
        yield from (f"endpoint {component}.{one.name}" for one in endpoints_of(cell, component) if one.from_)


def is_broken(cell: Bound, component: str) -> bool:
    """Whether a sidecar has a mistake for which nothing can be derived."""
    return any(True for _ in _problems_of(cell, component))


def check_sidecars(sections: Sections) -> Iterator[Diagnostic]:
    """What is wrong with the sidecars of a binding. A name of no component keeps the cell out of the stage."""
    cell = sections.cell
    for component in cell.sidecars:
        for path, reason in _problems_of(cell, component):
            yield cell.binding.diagnose("C104", *path, reason=reason)


def _problems_of(cell: Bound, component: str) -> Iterator[tuple[Path, str]]:
    """What is wrong with one sidecar: a place in the binding, and a sentence."""
    application, ports = cell.bound.sidecars[component].application, cell.bound.ports
    taken = {ports.east: "east", ports.south: "south", ports.dns: "dns"}
    here: dict[int, str] = {}
    for endpoint in endpoints_of(cell, component):
        name = f"{component}.{endpoint.name}"
        path, port = ("endpoints", name), port_of(cell, component, endpoint)
        places = cell.bound.endpoints.get(name, ())
        if any((place.port or endpoint.port) != port for place in places):
            yield path, f"the sidecar of {component} listens for {name} on one port, {port}; give every place the same"
        elif places and port in taken:
            words = "give the places of the endpoint another one"
            yield path, f"port {port} is where the sidecar listens for its component ({taken[port]}); {words}"
        elif port in here:
            yield path, f"port {port} of the sidecar of {component} is for {here[port]} already"
        elif places and port == endpoint.port and _meets(application, listens_on(cell, component)):
            words = f"the application listens on {application}:{port} already: move it to another loopback address"
            yield ("sidecars", component), f"{words}, or give the places of {name} another port"
        here.setdefault(port, name)


def _meets(application: str, addresses: tuple[str, ...]) -> bool:
    """Whether an address is one of these, or one of these means all."""
    own = ipaddress.ip_address(application)
    return any(one == own or one.is_unspecified for one in map(ipaddress.ip_address, addresses))
