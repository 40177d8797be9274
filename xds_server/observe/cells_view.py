"""Cells, stage by stage: what each has there, its gateways, what it depends on, and how all of them hang together.

In: what was compiled, what is wrong, how far Envoys are, and histories of releases. Out: JSON values for the admin API
and for commands. All of it follows from declarations; only how often an edge was used is counted, by Envoys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from xds_server.cells.lower import Lowered
from xds_server.cells.releases import NO_RELEASES, Releases, release_name, release_of
from xds_server.cells.sections import Exit, Sections, logical_names
from xds_server.cells.sidecars import enforcement, is_enforced
from xds_server.compile import Compiled
from xds_server.diagnostics import Diagnostic, Severity
from xds_server.model.cell_kinds import CellBindingSpec, CellSpec
from xds_server.model.object import Object
from xds_server.observe.diagnostics_view import diagnostic_json
from xds_server.observe.status_view import Programming
from xds_server.observe.usage import Report
from xds_server.releases.store import Entry

Json = dict[str, Any]
_ORDER = ("north", "west", "east", "south", "sidecar")
History = Callable[[str, str], Iterable[Entry]]
"""The history of a cell in a stage (stage, cell), the oldest first."""


@dataclass(frozen=True, slots=True)
class CellsShown:
    """All that is known of cells at one time. `done`: how far the Envoys of each gateway are, by name."""

    compiled: Compiled
    diagnostics: tuple[Diagnostic, ...] = ()
    done: Mapping[str, Programming] = field(default_factory=dict)
    stored: Releases = NO_RELEASES
    history: History = lambda _stage, _cell: ()

    def cells(self) -> list[Json]:
        """Every cell in every stage that binds it, by cell and in the order of promotion."""
        items = []
        for cell in sorted(item.name for item in self.compiled.objects if isinstance(item.spec, CellSpec)):
            for lowered in self.compiled.stages:
                binding = _binding(self.compiled, cell, lowered.stage)
                if binding is not None:
                    items.append(_cell(self, lowered, cell, binding))
        return items

    def cell(self, cell: str, what: str) -> Any:
        """The `gateways`, `dependencies` or `releases` of a cell; None if there is no such cell."""
        if not has_cell(self.compiled, cell):
            return None
        if what == "releases":
            return releases_view(self, cell)
        if what == "dependencies":
            return dependencies_view(self.compiled, cell)
        return gateways_view(self.compiled, cell, self.done)


def _cell(shown: CellsShown, lowered: Lowered, cell: str, binding: Object) -> Json:
    compiled = shown.compiled
    release, state = lowered.releases.get(cell), "Live"
    if release is None:
        state = "NotThere"
    elif not release:
        state, release = "WorkingCopy", release_name(release_of(compiled.objects, cell), cell, shown.stored)
    problems = [one for one in shown.diagnostics if _concerns(one, cell, binding, lowered.releases.get(cell))]
    return {
        "cell": cell,
        "stage": lowered.stage,
        "release": release or "",
        "state": state,
        "binding": f"{binding.name} ({binding.source.positions.start})",
        "gateways": gateways_view(compiled, cell, shown.done, lowered.stage),
        "enforcement": enforcement(lowered.cells[cell])[0] if cell in lowered.cells else "Cell",
        "problems": [diagnostic_json(one) for one in problems if one.severity == Severity.ERROR],
    }


def _concerns(one: Diagnostic, cell: str, binding: Object, release: str | None) -> bool:
    """Whether a diagnostic is about what a cell has in a stage."""
    if one.subject == str(binding.key):
        return True
    if one.subject != f"Cell {cell}" and f" {cell}/" not in one.subject:
        return False
    stored = one.span is not None and one.span.file.endswith(f"/releases/{release}.yaml")
    elsewhere = one.span is not None and "/releases/" in one.span.file
    return stored if release else not elsewhere and release is not None


def gateways_view(
    compiled: Compiled, cell: str, programming: Mapping[str, Programming], stage: str | None = None
) -> list[Json]:
    """The gateways of a cell, in all stages or in one; sidecars are among them, each with its component."""
    found = []
    for lowered in compiled.stages:
        names = {name: key for key, (name, _) in lowered.gateways.items() if key.namespace == cell}
        for gateway in compiled.gateways:
            if gateway.name in names and stage in (None, lowered.stage):
                done = programming.get(gateway.name)
                place, _, component = gateway.name.split("/", 3)[3].partition("/")
                found.append(
                    {
                        "name": gateway.name,
                        "stage": lowered.stage,
                        "direction": "sidecar" if component else place,
                        **({"component": component} if component else {}),
                        "listeners": [f"{one}:{port.port}" for port in gateway.ports for one in port.addresses],
                        "proxies": {"synced": done.synced, "wanted": done.wanted} if done else None,
                    }
                )
    stages = [one.stage for one in compiled.stages]
    return sorted(found, key=lambda one: (stages.index(one["stage"]), _ORDER.index(one["direction"])))


def dependencies_view(compiled: Compiled, cell: str, component: str | None = None) -> list[Json]:
    """What a cell depends on, in every stage that it is in: resolved, or refused and why."""
    found = []
    for lowered in compiled.stages:
        one = lowered.cells.get(cell)
        for exit_ in one.exits if one is not None else ():
            used_by = list(exit_.dependency.from_)
            if one is not None and (component is None or not used_by or component in used_by):
                found.append({"stage": lowered.stage, **_dependency(exit_, one, lowered)})
    return found


def _dependency(one: Exit, sections: Sections, lowered: Lowered) -> Json:
    dependency, ports = one.dependency, sections.cell.bound.ports
    name = dependency.name.upper().replace("-", "_") + "_URL"
    if one.direction == "east":
        host, port = _logical_name(one, lowered), ports.east
        target = f"{dependency.cell}.{dependency.component}.{one.endpoint or dependency.endpoint or 'http'}"
    else:
        host, port = f"{dependency.external}.external.{lowered.domain}", ports.south
        target = f"external {dependency.external}"
    return {
        "name": dependency.name,
        "direction": one.direction,
        "target": target,
        "from": list(dependency.from_),
        "state": "Refused" if one.refusal else "Resolved",
        "reason": one.reason,
        "message": one.message,
        "variable": name,
        "url": "" if one.refusal or not _speaks_http(one) else f"http://{host}:{port}",
        "gateway": f"{sections.cell.address(one.direction)}:{port}",
    }


def _logical_name(one: Exit, lowered: Lowered) -> str:
    """The shortest name of what a dependency on a cell leads to."""
    if one.provider is None or one.dependency.component is None:
        return ""
    return logical_names(one.provider, one.dependency.component, one.endpoint, lowered.domain)[-1]


def _speaks_http(one: Exit) -> bool:
    return one.external is None or any(port.reads_requests for port in one.external.spec.ports)


def topology_view(compiled: Compiled, used: Report = Report()) -> Json:  # noqa: B008 - frozen
    """Who may call whom, by declarations: cells and external services of every stage, and edges with their state.

    `requests` is how often an edge was used; None where no Envoy was asked.
    """
    nodes: dict[tuple[str, str], Json] = {}
    edges = []
    for lowered in compiled.stages:
        for cell, sections in sorted(lowered.cells.items()):
            node: Json = {"id": cell, "kind": "Cell", "stage": lowered.stage}
            nodes[lowered.stage, cell] = {**node, "sidecars": list(sections.cell.sidecars)}
            if "north" in sections.directions():
                nodes[lowered.stage, "internet"] = {"id": "internet", "kind": "Internet", "stage": lowered.stage}
                edge: Json = {"stage": lowered.stage, "from": "internet", "to": cell, "direction": "north"}
                edges.append({**edge, "dependency": "", "state": "Resolved", "reason": "", "requests": None})
            for one in sections.exits:
                to = one.dependency.cell or f"external {one.dependency.external}"
                kind = "Cell" if one.direction == "east" else "ExternalService"
                nodes.setdefault((lowered.stage, to), {"id": to, "kind": kind, "stage": lowered.stage})
                edges.append(
                    {
                        "stage": lowered.stage,
                        "from": cell,
                        "to": to,
                        "direction": one.direction,
                        "dependency": one.dependency.name,
                        "components": _users(one, sections),
                        "enforcement": "Component" if is_enforced(sections.cell, one) else "Cell",
                        "state": "Refused" if one.refusal else "Resolved",
                        "reason": one.reason,
                        "requests": used.requests_of(lowered.stage, cell, one.dependency.name),
                    }
                )
    return {"nodes": list(nodes.values()), "edges": edges}


def _users(one: Exit, sections: Sections) -> list[str]:
    """The components that a dependency is for: those that `from` names, else all."""
    names = dict.fromkeys(each.name for each in sections.cell.spec.components)
    return [name for name in names if not one.dependency.from_ or name in one.dependency.from_]


def releases_view(shown: CellsShown, cell: str) -> Json:
    """The releases of a cell, what its working copy would be called, and what was live where, the newest first."""
    objects = release_of(shown.compiled.objects, cell)
    return {
        "workingCopy": release_name(objects, cell, shown.stored) if objects else "",
        "stored": sorted(name for name in shown.stored.stored if shown.stored.has(name, cell)),
        "stages": [
            {
                "stage": lowered.stage,
                "release": lowered.releases.get(cell, ""),
                "history": [asdict(one) for one in reversed(list(shown.history(lowered.stage, cell)))],
            }
            for lowered in shown.compiled.stages
        ],
    }


def has_cell(compiled: Compiled, cell: str) -> bool:
    """Whether there is a cell of this name, written or in a stage."""
    written = any(isinstance(item.spec, CellSpec) and item.name == cell for item in compiled.objects)
    return written or any(cell in lowered.cells for lowered in compiled.stages)


def _binding(compiled: Compiled, cell: str, stage: str) -> Object | None:
    for item in compiled.objects:
        if isinstance(item.spec, CellBindingSpec) and (item.spec.cell, item.spec.stage) == (cell, stage):
            return item
    return None
