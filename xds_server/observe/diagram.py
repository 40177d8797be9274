"""A picture of the cells of a stage as Mermaid text: components, gateways, and who may call whom through them.

In: what a stage means. Out: the text of one flowchart. Refused dependencies are dotted, with the reason; components
with a sidecar have a double border.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from xds_server.cells.ingress import north_hosts
from xds_server.cells.lower import Lowered
from xds_server.cells.sections import Exit, Sections

_INTERNET = "internet"


def mermaid(lowered: Lowered) -> str:
    """The flowchart of a stage. The order of cells is that of their names."""
    cells = dict(sorted(lowered.cells.items()))
    ids = {name: f"c{number}" for number, name in enumerate(cells)}
    services = sorted(
        {one.dependency.external for cell in cells.values() for one in cell.exits if one.dependency.external}
    )
    outside = {name: f"e{number}" for number, name in enumerate(services)}
    lines = [f'{_INTERNET}(("internet"))']
    for name, sections in cells.items():
        lines += _box(sections, ids[name])
    lines += [f'{outside[name]}[/"{_text(name)}"/]' for name in services]
    lines += dict.fromkeys(edge for name in cells for edge in _edges(cells[name], ids, outside))
    return "flowchart LR\n" + "".join(f"  {line}\n" for line in lines)


def _box(sections: Sections, cell: str) -> Iterator[str]:
    """The border of a cell, and what is in it."""
    yield f'subgraph {cell}["cell {_text(sections.cell.name)}"]'
    for direction in sections.directions():
        yield f'  {cell}_{direction}{{{{"{direction}"}}}}'
    for name, node in _components(sections, cell).items():
        # A double border: there is a sidecar.
        first, last = ("[[", "]]") if name in sections.cell.sidecars else ("[", "]")
        yield f'  {node}{first}"{_text(name)}"{last}'
    yield "end"


def _components(sections: Sections, cell: str) -> dict[str, str]:
    names = dict.fromkeys(one.name for one in sections.cell.spec.components)
    return {name: f"{cell}_{number}" for number, name in enumerate(names)}


def _edges(sections: Sections, ids: Mapping[str, str], outside: Mapping[str, str]) -> Iterator[str]:
    cell, nodes = ids[sections.cell.name], _components(sections, ids[sections.cell.name])
    if "north" in sections.directions():
        yield _edge(_INTERNET, f"{cell}_north", ", ".join(north_hosts(sections.cell)))
    for door in sections.doors:
        told = door.endpoint.base_path if door.direction == "north" else door.endpoint.name
        yield _edge(f"{cell}_{door.direction}", nodes[door.component], told)
    for one in sections.exits:
        users = [name for name in nodes if not one.dependency.from_ or name in one.dependency.from_]
        yield from (f"{nodes[name]} --> {cell}_{one.direction}" for name in users)
        if target := _target(one, ids, outside):
            yield _edge(f"{cell}_{one.direction}", target, one.dependency.name, one.refusal)


def _target(one: Exit, ids: Mapping[str, str], outside: Mapping[str, str]) -> str:
    """The node that a dependency leads to; empty if there is nothing of the kind in the stage."""
    if one.dependency.external is not None:
        return outside[one.dependency.external]
    node = ids.get(one.dependency.cell or "", "")
    has_west = one.provider is not None and not one.refusal
    return f"{node}_west" if has_west else node


def _edge(source: str, target: str, told: str, refusal: str = "") -> str:
    if refusal:
        return f'{source} -. "{_text(told)}: {refusal}" .-> {target}'
    return f'{source} -->|"{_text(told)}"| {target}' if told else f"{source} --> {target}"


def _text(name: str) -> str:
    """A name between quotation marks."""
    return name.replace("&", "#amp;").replace('"', "#quot;").replace("<", "#lt;")
