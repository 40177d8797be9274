"""From a saved file to the first request that sees it: a real server, a real Envoy, by number of routes.

In: `--routes`, sizes of worlds, and `--edits`, edits of each kind. Out: a table for one edited route and one for one edited
endpoint: from rename to request; from sending to acknowledgement, which may come after that; what processors spent on it
until then and a moment longer in the server and in Envoy's main thread, with ratios to the smallest world; and how often
was looked. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.results import keep, option
from bench.rig import PATIENCE, Look, Rig, look_for, rig
from bench.world import write_backends, write_routes

_PAUSE = 0.001
_REST = 0.07
"""Seconds between an effect and the next edit: such as follow each other at once are gathered, which is another matter."""
_SAID = {
    "effect p10": "save to effect, p10",
    "effect p50": "save to effect, p50",
    "effect slowest": "save to effect, the slowest one",
    "acknowledged p50": "sent to acknowledged, p50",
    "acknowledged slowest": "sent to acknowledged, the slowest one",
    "server": "processor: server, mean",
    "envoy": "processor: Envoy's main thread, mean",
    "look": "a look with its pause, p50",
}


@dataclass
class Taken:
    """Seconds of every edit of one kind in one world. `looks`: how long one look and its pause took."""

    seen: list[float] = field(default_factory=list)
    acknowledged: list[float] = field(default_factory=list)
    looks: list[float] = field(default_factory=list)
    server: float = 0.0
    envoy: float = 0.0


def measure(made: Rig, kind: str, look: Look, edits: Sequence[tuple[Path, Path, str]]) -> Taken:
    """Rename each file to its place, and look until an answer has its text."""
    taken = Taken()
    look()
    for fresh, place, text in edits:
        seconds, count = made.pushes(kind)
        server, taker = made.server(), made.taker()
        began = looked = time.monotonic()
        fresh.replace(place)
        while look() != text:
            time.sleep(_PAUSE)
            now = time.monotonic()
            taken.looks.append(now - looked)
            looked = now
            if now - began > PATIENCE:
                raise TimeoutError(f"{place.name}: no answer says {text!r}")
        taken.seen.append(time.monotonic() - began)
        asked = 0.0
        while True:
            time.sleep(_REST)
            used, took = made.server(), made.taker()
            summed, counted = made.pushes(kind)
            if counted > count:
                break
            asked += made.server() - used
        taken.server += used - server - asked
        taken.envoy += took - taker
        taken.acknowledged.append((summed - seconds) / (counted - count))
    return taken


def world(routes: int, edits: int) -> tuple[Taken, Taken]:
    """Edited routes, and edited endpoints, in one world."""
    with rig(routes) as made:
        made.cellway.start()
        return _routes(made, edits), _endpoints(made, edits)


def _routes(made: Rig, edits: int) -> Taken:
    middle = made.routes // 2
    files = []
    for edit in range(1, edits + 1):
        (folder := made.root / f"edit-{edit}").mkdir()
        fresh = write_routes(folder, middle, made.routes, edit)
        files.append((fresh, made.root / "policies" / fresh.name, f"{middle} {edit}"))
    return measure(made, "RouteConfiguration", look_for(made, "x-route"), files)


def _endpoints(made: Rig, edits: int) -> Taken:
    files = []
    for edit in range(1, edits + 1):
        (folder := made.root / f"endpoint-{edit}").mkdir()
        chosen = made.upstreams[edit % 2]
        fresh = write_backends(folder, made.routes, made.upstreams[0].port, (made.routes // 20, chosen.port))
        files.append((fresh, made.root / "policies" / fresh.name, chosen.name))
    return measure(made, "ClusterLoadAssignment", look_for(made, ""), files)


def show(what: str, found: dict[int, Taken], file: Path | None) -> None:
    """A table; its figures are kept."""
    print(f"one edited {what}, ms".ljust(44) + "".join(f"{routes:>10,}" for routes in found))
    rows: dict[str, Callable[[Taken], float]] = {
        "effect p10": lambda one: statistics.quantiles(one.seen, n=10, method="inclusive")[0],
        "effect p50": lambda one: statistics.median(one.seen),
        "effect slowest": lambda one: max(one.seen),
        "acknowledged p50": lambda one: statistics.median(one.acknowledged),
        "acknowledged slowest": lambda one: max(one.acknowledged),
        "server": lambda one: one.server / len(one.seen),
        "envoy": lambda one: one.envoy / len(one.seen),
        "look": lambda one: statistics.median(one.looks),
    }
    for name, row in rows.items():
        print(f"  {_SAID[name]:<42}" + "".join(f"{row(one) * 1000:10.1f}" for one in found.values()))
    for routes, one in found.items():
        figures = {f"{name.replace(' ', '_')}_ms": row(one) * 1000 for name, row in rows.items()}
        keep(file, "effective", {"edited": what, "routes": routes, "edits": len(one.seen)}, figures)
    medians = [statistics.median(one.seen) for one in found.values()]
    print(f"  {'ratio to the smallest, p50':<42}" + "".join(f"{one / medians[0]:10.2f}" for one in medians))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.effective", description=__doc__)
    parser.add_argument("--routes", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--edits", type=int, default=40)
    option(parser)
    chosen = parser.parse_args()
    found = {routes: world(routes, chosen.edits) for routes in chosen.routes}
    show("route", {routes: one[0] for routes, one in found.items()}, chosen.keep)
    show("endpoint", {routes: one[1] for routes, one in found.items()}, chosen.keep)


if __name__ == "__main__":
    main()
