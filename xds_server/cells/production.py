"""What belongs to production: hosts that are served there, and Secrets that its bindings name.

In: bindings, cells, releases, and the stage that is asked for. Out: what this stage may not have. A production stage may
have all of it. What a host's cell is comes from the release that production has, not only from what is written now. A
binding whose stage is misspelt gives up nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from xds_server.cells.bindings import Asked, hosts_of
from xds_server.model.cell_kinds import CellBindingSpec, CellSpec
from xds_server.model.object import Object
from xds_server.types import CELLWAY_GROUP


def _of_production(bindings: Iterable[Object], asked: Asked) -> Iterator[tuple[Object, CellBindingSpec]]:
    """The bindings that are production. Those of a stage that nobody knows count where production there may be."""
    stages = asked.organization.stages
    other = {stage.name for stage in stages if not stage.production}
    if len(other) == len(stages) and asked.settled:
        return
    for binding in bindings:
        if isinstance(binding.spec, CellBindingSpec) and binding.spec.stage not in other:
            yield binding, binding.spec


def production_hosts(cells: Mapping[str, Object], bindings: Iterable[Object], asked: Asked) -> dict[str, str]:
    """The hosts that production has, or would have with what this stage has, each with the name of its binding.

    None for a stage that is production itself.
    """
    found: dict[str, str] = {}
    for binding, spec in _of_production(bindings, asked) if not asked.stage.production else ():
        live = [item for name in _releases(spec, asked) for item in asked.releases.stored.get(name, ())]
        for cell in (*(item for item in live if _is_cell(item, spec.cell)), cells.get(spec.cell)):
            if cell is not None and isinstance(cell.spec, CellSpec):
                found |= dict.fromkeys(hosts_of(cell.spec, spec), binding.name)
    return found


def _releases(spec: CellBindingSpec, asked: Asked) -> Iterator[str]:
    """The releases that a binding may mean: of a stage that nobody knows, those that production has of the cell."""
    yield asked.releases.of(spec, first=spec.stage == asked.names[0])
    if spec.stage not in asked.names:
        live = asked.releases.live
        yield from (live.get((one.name, spec.cell), "") for one in asked.organization.stages if one.production)


def production_secrets(bindings: Iterable[Object], asked: Asked) -> frozenset[tuple[str, str]]:
    """The Secrets that bindings of production name, by namespace and name."""
    found: set[tuple[str, str]] = set()
    for _, spec in _of_production(bindings, asked):
        north = spec.overrides.gateways.north
        if north is not None and north.tls is not None:
            found.add((spec.cell, north.tls.certificate_ref))
        for external in spec.overrides.externals.values():
            if external.credential is not None and external.credential.secret_ref is not None:
                found.add((spec.cell, external.credential.secret_ref.name))
    return frozenset(found)


def _is_cell(item: Object, name: str) -> bool:
    return (item.key.group, item.key.kind, item.name) == (CELLWAY_GROUP, "Cell", name)


def is_reserved(host: str, reserved: Iterable[str]) -> str:
    """The reserved host that a host is, or that a wildcard takes in; empty if there is none."""
    if not host.startswith("*."):
        return host if host in set(reserved) else ""
    return next((one for one in sorted(reserved) if one.endswith(host[1:])), "")
