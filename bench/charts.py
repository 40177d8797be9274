"""Runs -> charts: from a save to its effect, what a change costs for each Envoy, and how long a server is away.

In: runs. Out: SVG by file name, the same text for the same runs. Of several runs each figure is the slowest one's, and the title
says how much others had to do. What is drawn can be read on light and on dark paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.etree.ElementTree import Element

from bench.plotting import Bar, Graph, Line, Style
from bench.results import Result, Run, in_all

GOAL = 30
"""Milliseconds from a save to its effect, p50."""
_STEPS = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
_COLORS = ("#2f81f7", "#8250df", "#bf8700", "#cf222e", "#57a65a")
_SHEET = """
svg { font-family: sans-serif; font-size: 11px }
text { fill: #57606a; stroke: none }
.title { font-size: 15px; text-anchor: middle }
.legends text { font-size: 12px }
.axis.y text { text-anchor: end }
.line-graph .axis.x text, .text-overlay text { text-anchor: middle }
.background, .nofill { fill: none; stroke: none }
.line.nofill { stroke: inherit; stroke-width: 2 }
.axis .line { stroke: #8b949e; stroke-width: 1; fill: none }
.axis .guide.line { stroke-opacity: .3 }
.serie-4 { stroke-dasharray: 4 4 }
@media (prefers-color-scheme: dark) { text { fill: #adbac7 } }
""" + "".join(f".color-{number} {{ fill: {color}; stroke: {color} }}\n" for number, color in enumerate(_COLORS))
_STYLE = Style(
    title_font_size=15, label_font_size=11, major_label_font_size=11, legend_font_size=12, value_font_size=10
)
"""How large letters are, for the places of what stands beside them."""


def draw(runs: Sequence[Run]) -> Mapping[str, str]:
    """All charts."""
    return {"effect.svg": _effect(runs), "fanout.svg": _fanout(runs), "away.svg": _away(runs)}


def _slowest(runs: Sequence[Run], name: str, figure: str, **parameters: str | int) -> list[float]:
    """The largest figure of the runs, for each world."""
    return [max(in_all(runs, world, figure)) for world in _worlds(runs, name, **parameters)]


def _worlds(runs: Sequence[Run], name: str, **parameters: str | int) -> list[Result]:
    return runs[-1].of(name, **parameters)


def _effect(runs: Sequence[Run]) -> str:
    chart = _chart(Line, runs, "From a save to the first answer that has it, ms", logarithmic=True, dots_size=4)
    chart.x_labels = [f"{one.parameters['routes']:,} routes" for one in _worlds(runs, "effective", edited="route")]
    for edited in ("route", "endpoint"):
        for part in ("p50", "slowest"):
            chart.add(f"{edited}, {part}", _slowest(runs, "effective", f"effect_{part}_ms", edited=edited))
    chart.add("goal, p50", [GOAL] * len(chart.x_labels), show_dots=False)
    most = max(_slowest(runs, "effective", "effect_slowest_ms"))
    chart.y_labels = [one for one in _STEPS if one < 2 * most]
    chart.range = (_STEPS[0], chart.y_labels[-1])
    return _text(chart)


def _fanout(runs: Sequence[Run]) -> str:
    chart = _chart(Bar, runs, "Processor for one change to one Envoy, µs")
    worlds = _worlds(runs, "fanout")
    chart.x_labels = [f"{one.parameters['change']} to {one.parameters['streams']:,}" for one in worlds]
    for head, figure in (("bare gRPC server", "floor_us"), ("Cellway", "cellway_us")):
        chart.add(head, _slowest(runs, "fanout", figure))
    return _text(chart)


def _away(runs: Sequence[Run]) -> str:
    chart = _chart(Bar, runs, "Until a server is back, s")
    starts, returns, storms = (_worlds(runs, name) for name in ("starts", "returns", "reconnects"))
    chart.x_labels = [
        *(f"start, {one.parameters['routes']:,} routes" for one in starts),
        *(f"kill -9, {one.parameters['clients']:,} clients" for one in returns),
        *(f"{one.parameters['clients']:,} with {one.parameters['have']}" for one in storms),
    ]
    ready = [_slowest(runs, name, "ready_s") for name in ("starts", "returns")]
    chart.add("ready", [*ready[0], *ready[1], *[None] * len(storms)])
    served = (("starts", "answered_s"), ("returns", "current_s"), ("reconnects", "served_s"))
    chart.add("all served", [second for name, figure in served for second in _slowest(runs, name, figure)])
    return _text(chart)


def _chart(kind: type[Graph], runs: Sequence[Run], title: str, **options: object) -> Graph:
    loads = " and ".join(str(run.machine["load"]) for run in runs)
    chart = kind(
        style=_STYLE,
        title=f"{title} (load before: {loads})",
        width=760,
        height=340,
        explicit_size=True,
        legend_at_bottom=True,
        js=(),
        x_label_rotation=0 if kind is Line else 20,
        print_values=kind is Bar,
        print_values_position="top",
        value_formatter=_figure,
        truncate_legend=-1,
        pretty_print=True,
        **options,
    )
    chart.uuid = "chart"  # else a random one
    chart.add_xml_filter(_still)
    return chart


def _figure(value: float) -> str:
    """Three digits that say something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _still(root: Element) -> Element:
    """The chart in a style of its own, without scripts, what only they would show, and the date."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == "style":
                child.text = _SHEET
            shown = isinstance(child.tag, str) and not child.tag.endswith(("script", "desc"))
            if not shown or "tooltip-overlay" in child.get("class", ""):
                parent.remove(child)
    return root


def _text(chart: Graph) -> str:
    lines = (line.rstrip() for line in str(chart.render(is_unicode=True)).splitlines())
    return "\n".join(line for line in lines if line) + "\n"
