"""How long do people wait for answers? `cellway validate` and `cellway explain` as commands of their own, by number of routes.

In: `--routes`, sizes of worlds; `--times` of each. Out: a table of seconds, with the start of Python, and the ratio to the
smallest world; the same for `explain` of a running server, which has compiled before. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.results import keep, option
from bench.world import write_world
from tests.e2e.running import Cellway, reserve_block

_ANSWERS = ("validate", "explain from files", "explain by the server")
_ASKED = ("GET", "http://host-3.example.com/path/37")


def seconds(times: int, *words: str) -> float:
    """The mean of a command's times."""
    taken = []
    for _ in range(times):
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "xds_server.cli.main", *words], capture_output=True, text=True, check=False
        )
        taken.append(time.monotonic() - began)
        if done.returncode != 0:
            raise RuntimeError(done.stdout + done.stderr)
    return statistics.mean(taken)


def measured(routes: int, times: int) -> list[float]:
    """validate, explain from files, explain by the server."""
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        root = Path(folder)
        write_world(root / "policies", routes)
        cellway = Cellway(root / "policies", root / "state", reserve_block(), ("--no-envoy",))
        policies = str(root / "policies")
        found = [seconds(times, "validate", policies), seconds(times, "explain", *_ASKED, policies)]
        try:
            cellway.start()
            return [*found, seconds(times, "explain", *_ASKED, "--admin", cellway.admin.removeprefix("http://"))]
        finally:
            cellway.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.answers", description=__doc__)
    parser.add_argument("--routes", type=int, nargs="*", default=[100, 1000, 10_000])
    parser.add_argument("--times", type=int, default=2)
    option(parser)
    chosen = parser.parse_args()
    found = {routes: measured(routes, chosen.times) for routes in chosen.routes}
    print(f"{'routes':>10}" + "".join(f"{name:>28}" for name in _ANSWERS))
    first = next(iter(found.values()))
    for routes, row in found.items():
        cells = (f"{one:8.2f} s  {one / base:6.1f} times" for one, base in zip(row, first, strict=True))
        figures = {f"{name.replace(' ', '_')}_s": one for name, one in zip(_ANSWERS, row, strict=True)}
        keep(chosen.keep, "answers", {"routes": routes}, figures)
        print(f"{routes:>10,}" + "".join(f"{one:>28}" for one in cells))


if __name__ == "__main__":
    main()
