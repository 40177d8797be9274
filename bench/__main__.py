"""All measurements, one after the other: their tables are printed, their figures kept, drawn and put into the documentation.

In: names of measurements (none: all). Out: their tables. A run of all of them replaces the older one of the last two in
`results.jsonl`; the charts and tables in `docs/` are made anew of it. A run of some of them keeps nothing. On a machine that has
other work there is a warning, and the charts and tables say how much.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.charts import draw
from bench.results import KEPT, RUNS, Result, read_runs, this_run
from bench.tables import PAGE, filled

PARTS = ("edits", "answers", "effective", "starts", "fanout", "reconnects", "lasting")
_QUIET = 0.25
"""Of each core others may have so much."""


def main() -> int:
    """Measure; 1 if a measurement failed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", choices=[*PARTS, []], help=", ".join(PARTS))
    parser.add_argument("--draw", action="store_true", help="measure nothing: charts and tables of what is kept")
    chosen = parser.parse_args()
    if chosen.draw:
        show()
        return 0
    began, clock, load = datetime.datetime.now(datetime.UTC), time.monotonic(), os.getloadavg()[0]
    if doubt := warning(load, len(os.sched_getaffinity(0))):
        print(doubt, file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        found = Path(folder) / "found.jsonl"
        for part in chosen.parts or PARTS:
            print(f"-- {part}", flush=True)
            command = [sys.executable, "-m", f"bench.{part}", "--keep", str(found)]
            if subprocess.run(command, check=False).returncode:
                print(f"{part} failed: nothing is kept", file=sys.stderr)
                return 1
        print(f"-- {time.monotonic() - clock:.0f} s", flush=True)
        if not chosen.parts:
            add(KEPT, found, began, load)
            show()
    return 0


def warning(load: float, cores: int) -> str:
    """Why times of this machine would say little now; empty if they say something."""
    if load <= cores * _QUIET:
        return ""
    return f"warning: the load is {load:.1f} on {cores} cores: times will be those of a machine that has other work"


def add(kept: Path, found: Path, began: datetime.datetime, load: float) -> None:
    """Keep what was found, beside the run before."""
    lines = found.read_text(encoding="utf-8").splitlines()
    run = this_run((Result(**json.loads(line)) for line in lines), began, load)
    earlier = read_runs(kept.read_text(encoding="utf-8")) if kept.exists() else []
    kept.write_text("".join(one.lines() for one in [*earlier, run][-RUNS:]), encoding="utf-8")


def show() -> None:
    """Make the charts and the tables of the documentation anew."""
    runs = read_runs(KEPT.read_text(encoding="utf-8"))
    for name, picture in draw(runs).items():
        path = PAGE.with_suffix("") / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(picture, encoding="utf-8")
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), runs), encoding="utf-8")
    print(f"{len(runs)} runs in {KEPT.name}; charts and tables in {PAGE.parent.name} are made of them")


if __name__ == "__main__":
    sys.exit(main())
