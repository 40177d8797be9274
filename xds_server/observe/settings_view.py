"""The settings that count in the sections of cells, with who set each: for `render --as settings` and the admin API.

In: what was compiled. Out: JSON values and text. What a setting replaced is shown below it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from xds_server.cells.origins import SectionSettings, Setter
from xds_server.compile import Compiled
from xds_server.types import CELLWAY_GROUP, Key

Json = dict[str, Any]


def settings_view(settings: Iterable[SectionSettings]) -> list[Json]:
    """One entry for every cell and stage, with its sections in order."""
    cells: dict[tuple[str, str], dict[str, Json]] = {}
    for one in settings:
        section = cells.setdefault((one.cell, one.stage), {}).setdefault(one.section, {"section": one.section})
        section.setdefault("settings", []).extend(
            {
                "field": _name(one, leaf.path),
                "value": leaf.value,
                "setBy": _setter(leaf.setter),
                "overridden": [{"value": lost.value, **_setter(lost)} for lost in leaf.overridden],
            }
            for leaf in one.leaves
        )
        if one.closed_by is not None:
            section["closedBy"] = str(one.closed_by)
    return [
        {"cell": cell, "stage": stage, "sections": list(sections.values())}
        for (cell, stage), sections in sorted(cells.items())
    ]


def cell_settings(compiled: Compiled, cell: str, stage: str | None) -> list[Json] | None:
    """The same for one cell, in all stages or in one; None if there is no such cell."""
    if Key(CELLWAY_GROUP, "Cell", "", cell) not in compiled.statuses:
        return None
    return settings_view(one for one in compiled.settings if one.cell == cell and stage in (None, one.stage))


def settings_text(settings: Iterable[SectionSettings]) -> str:
    """The same for people: a line for every setting, and below it what it replaced."""
    return "".join(f"{line}\n" for cell in settings_view(settings) for line in _lines(cell))


def _lines(cell: Json) -> Iterator[str]:
    yield f"{cell['cell']} ({cell['stage']})"
    for section in cell["sections"]:
        closed_by = section.get("closedBy")
        yield f"  {section['section']}" + (f"  answers 500: {closed_by} has errors" if closed_by else "")
        for one in section["settings"]:
            yield f"    {one['field']} = {_text(one['value'])}  <- {_by(one['setBy'])}"
            for lost in reversed(one["overridden"]):
                yield f"        not {_text(lost['value'])}  of {_by(lost)}"


def _by(setter: Json) -> str:
    return f"{setter['layer']}, {setter['object']} ({setter['source']})"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _name(one: SectionSettings, path: tuple[str | int, ...]) -> str:
    return ".".join(str(step) for step in (one.field, *path))


def _setter(setter: Setter) -> Json:
    return {"layer": setter.layer, "object": str(setter.key), "source": str(setter.span)}
