"""Runs -> the tables in the documentation, between `<!-- bench: NAME -->` and `<!-- end -->`.

In: the text of a page, and runs. Out: the page with its tables made anew. A cell has the figure of each run, the first one first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.results import Parameters, Run, in_all

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
_PLACE = re.compile(r"(<!-- bench: (\w+) -->\n).*?(?=<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Table:
    """One measurement. `worlds` and `figures` are columns: heads by key; behind a figure's stand how many digits it has.

    `only`: worlds that have these parameters.
    """

    name: str
    worlds: Mapping[str, str]
    figures: Mapping[str, tuple[str, int]]
    only: Mapping[str, str | int] = field(default_factory=dict)

    def text(self, runs: Sequence[Run]) -> str:
        """The table, as Markdown."""
        heads = [*self.worlds.values(), *(head for head, _ in self.figures.values())]
        lines = [heads, ["---"] * len(heads)]
        for world in runs[-1].of(self.name, **self.only):
            cells = [
                " / ".join(f"{figure:,.{digits}f}" for figure in in_all(runs, world, key))
                for key, (_, digits) in self.figures.items()
            ]
            lines.append([*(_said(world.parameters, key) for key in self.worlds), *cells])
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _said(parameters: Parameters, key: str) -> str:
    value = parameters[key]
    return value if isinstance(value, str) else f"{value:,}"


_EFFECT = {
    "effect_p50_ms": ("save to effect: p50", 0),
    "effect_slowest_ms": ("slowest", 0),
    "acknowledged_p50_ms": ("sent to acknowledged: p50", 0),
    "acknowledged_slowest_ms": ("slowest", 0),
    "server_ms": ("processor: server", 1),
    "envoy_ms": ("Envoy", 1),
}
TABLES: Mapping[str, Table] = {
    "edits": Table(
        "edits",
        {"routes": "Routes"},
        {
            "edit_ms": ("one edit, ms", 1),
            "load_ms": ("reading", 1),
            "attach_ms": ("attaching", 1),
            "translate_ms": ("translating", 1),
            "snapshot_ms": ("snapshot", 1),
        },
    ),
    "cold": Table(
        "edits",
        {"routes": "Routes"},
        {
            "cold_s": ("from nothing, s", 2),
            "load_s": ("reading the documents", 3),
            "compose_s": ("PyYAML's C composer", 3),
            "compose_without_collector_s": ("the same, collector off", 3),
            "memory_kib": ("memory a route, KiB", 0),
        },
    ),
    "answers": Table(
        "answers",
        {"routes": "Routes"},
        {
            "validate_s": ("`validate`, s", 2),
            "explain_from_files_s": ("`explain` from files, s", 2),
            "explain_by_the_server_s": ("`explain` by the server, s", 2),
        },
    ),
    "routes": Table("effective", {"routes": "One route of", "edits": "edits"}, _EFFECT, {"edited": "route"}),
    "endpoints": Table(
        "effective", {"routes": "One endpoint among routes", "edits": "edits"}, _EFFECT, {"edited": "endpoint"}
    ),
    "starts": Table(
        "starts",
        {"routes": "Routes"},
        {
            "ready_s": ("ready, s", 2),
            "answered_s": ("first answer through Envoy, s", 2),
            "processor_s": ("processor of the server, s", 2),
        },
    ),
    "returns": Table(
        "returns",
        {"clients": "Clients beside an Envoy"},
        {
            "ready_s": ("ready, s", 2),
            "current_s": ("all current, s", 2),
            "processor_s": ("processor of the server, s", 2),
            "sent": ("resources sent", 0),
        },
    ),
    "fanout": Table(
        "fanout",
        {"streams": "Streams", "change": "change"},
        {
            "floor_us": ("floor, µs", 0),
            "cellway_us": ("Cellway, µs", 0),
            "ratio": ("ratio", 2),
            "client_us": ("a client, µs", 0),
            "floor_kib": ("memory a stream: floor, KiB", 0),
            "cellway_kib": ("Cellway, KiB", 0),
        },
    ),
    "saves": Table(
        "saves",
        {"streams": "Streams", "change": "table"},
        {"p50_ms": ("save to last ACK: p50, ms", 0), "p99_ms": ("p99", 0)},
    ),
    "reconnects": Table(
        "reconnects",
        {"clients": "Clients", "have": "have"},
        {
            "sent": ("resources sent", 0),
            "served_s": ("all served, s", 1),
            "processor_s": ("processor, s", 1),
            "memory_mib": ("memory, peak, MiB", 0),
            "others_p50_ms": ("others, save to receipt: p50, ms", 0),
            "others_p99_ms": ("p99", 0),
        },
    ),
    "lasting": Table(
        "lasting",
        {"clients": "Clients", "anew": "anew each second"},
        {
            "changes": ("changes", 0),
            "lost": ("updates lost", 0),
            "processor_ms": ("processor for a change, ms", 0),
            "late_ms": ("event loop late by less than (p99), ms", 0),
            "first_mib": ("memory, MiB", 1),
            "last_mib": ("at the end, MiB", 1),
            "over_s": ("after, s", 0),
        },
    ),
}


def filled(page: str, runs: Sequence[Run]) -> str:
    """The page with its tables made anew."""
    return _PLACE.sub(lambda place: f"{place[1]}{_table(place[2], runs)}", page)


def _table(name: str, runs: Sequence[Run]) -> str:
    return machines(runs) if name == "machines" else TABLES[name].text(runs)


def machines(runs: Sequence[Run]) -> str:
    """When, where and with what each run was made."""
    lines = ["| Run | machine | load before | versions |\n| --- | --- | --- | --- |\n"]
    for run in runs:
        machine = f"{run.machine['cores']} cores of {run.machine['processor']}, {run.machine['memory_gib']} GiB"
        versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
        lines.append(
            f"| {run.began} | {machine}, Linux {run.machine['kernel']} | {run.machine['load']} | {versions} |\n"
        )
    return "".join(lines)
