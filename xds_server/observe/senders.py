"""Who asks, when a request is explained: somebody with an address or a certificate, or a cell of a stage.

In: what was written after `--from`, and what was compiled. Out: a `Sender`, and the gateway at which a cell's components ask.
NotARequestError says what is wrong with it.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from xds_server.cells.bindings import close
from xds_server.cells.identities import sidecar_of
from xds_server.cells.lower import Lowered
from xds_server.cells.sidecars import PLAIN, entrances
from xds_server.compile import Compiled
from xds_server.explain.request import NotARequestError
from xds_server.types import GATEWAY_GROUP, Key

_GATEWAY = re.compile(r"spiffe://(?P<domain>[^/]+)/cell/(?P<cell>[^/]+)/(?:gw/[a-z]+|component/(?P<component>[^/]+))")


@dataclass(frozen=True, slots=True)
class Sender:
    """An address, the URI of a certificate, or a cell in a stage and maybe its component; all empty: nobody knows."""

    source: str = ""
    peer: str = ""
    cell: str = ""
    stage: str = ""
    component: str = ""


@dataclass(frozen=True, slots=True)
class Door:
    """Where a cell's components ask: a gateway or a sidecar, and at which port if not at any. `reason`: why there is none."""

    gateway: str = ""
    reason: str = ""
    port: int | None = None


def read_sender(written: str, compiled: Compiled, stage: str | None) -> Sender:
    """`192.0.2.7`, `spiffe://DOMAIN/...`, `CELL` or `CELL/COMPONENT`.

    A certificate of a cell's gateway stands for the cell, one of a sidecar for its component.
    """
    check_stage(compiled, stage)
    if not written:
        return Sender()
    try:
        return Sender(source=str(ipaddress.ip_address(written)))
    except ValueError:
        pass
    if "://" in written:
        match = _GATEWAY.fullmatch(written)
        stages = [one for one in compiled.stages if match and one.plan and one.plan.trust_domain == match["domain"]]
        return (
            _in_stage(match["cell"], match["component"] or "", stages[0]) if match and stages else Sender(peer=written)
        )
    cell, _, component = written.partition("/")
    known = [one for one in compiled.stages if stage in (None, one.stage)]
    there = [one for one in known if cell in one.cells]
    if not there:
        cells = dict.fromkeys(name for one in known for name in one.cells)
        hint = close(cell, cells) or f"there are: {', '.join(cells) or 'none'}"
        raise NotARequestError(f"'{written}' is no address, no SPIFFE id and no cell; {hint}")
    return _in_stage(cell, component, there[0])


def check_stage(compiled: Compiled, stage: str | None) -> None:
    """NotARequestError if there is no such stage."""
    stages = [one.stage for one in compiled.stages]
    if stage is not None and stage not in stages:
        raise NotARequestError(f"there is no stage {stage}; there are: {', '.join(stages)}")


def _in_stage(cell: str, component: str, lowered: Lowered) -> Sender:
    if cell not in lowered.cells:
        raise NotARequestError(f"cell {cell} is not in stage {lowered.stage}")
    components = [one.name for one in lowered.cells[cell].cell.spec.components]
    if component and component not in components:
        hint = f"it has {', '.join(components)}"
        raise NotARequestError(f"cell {cell} has no component {component}; {hint}")
    return Sender(cell=cell, stage=lowered.stage, component=component)


def door_of(sender: Sender, host: str, compiled: Compiled) -> Door:
    """Where a cell, or a component of it, asks for a host."""
    lowered = next(one for one in compiled.stages if one.stage == sender.stage)
    cell = lowered.cells[sender.cell].cell
    external = host.endswith(f".external.{lowered.domain}")
    inside = host == lowered.domain or (host.endswith(f".{lowered.domain}") and not external)
    if sender.component in cell.sidecars:
        names = lowered.gateways[
            Key(GATEWAY_GROUP, "Gateway", cell.name, f"{cell.name}-{sidecar_of(sender.component)}")
        ]
        short = host.rpartition(".")[2] in [one.name for one in cell.spec.components]
        return Door(names[0], port=cell.bound.ports.east if inside or short else cell.bound.ports.south)
    direction, what = ("east", "another cell") if inside else ("south", "an external service")
    if cell.sidecars and PLAIN not in entrances(lowered.cells[sender.cell], direction):
        return Door(
            reason=f"components of cell {cell.name} ask at their sidecars: say who asks, {cell.name}/{cell.sidecars[0]}"
        )
    found = lowered.gateways.get(Key(GATEWAY_GROUP, "Gateway", sender.cell, f"{sender.cell}-{direction}"))
    if found is not None:
        return Door(found[0])
    where = f"cell {sender.cell} has no {direction} gateway in stage {sender.stage}"
    return Door(reason=f"{where}: it depends on nothing there; declare {what} as a dependency")


def doors_out(compiled: Compiled) -> dict[str, tuple[str, str]]:
    """The names of all east and south gateways and of all sidecars, with their cell and stage."""
    return {
        name: (key.namespace, one.stage)
        for one in compiled.stages
        for key, (name, _) in one.gateways.items()
        if key.name.endswith(("-east", "-south")) or key.name.startswith(f"{key.namespace}-{sidecar_of('')}")
    }
