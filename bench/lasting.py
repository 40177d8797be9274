"""Does the server's memory stay where it is, while a fleet of clients is told of changes and some of them come anew?

In: `--seconds`. Out: one line: changes, updates that were lost, the processor's time for each change, how late the event loop
was, and memory at the begin and the end. The slope in MiB an hour is only said of ten minutes and more: before that it is
noise. Nothing is asserted but that no update was lost.
"""

from __future__ import annotations

import argparse

from bench.results import keep, option
from bench.soak.lasting import AGAIN, ENOUGH, FLEET, fleet


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.lasting", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    option(parser)
    chosen = parser.parse_args()
    seconds = chosen.seconds
    found = fleet(seconds)
    print(f"{FLEET} clients, a change a second, {AGAIN} clients anew each second, for {seconds:.0f} s")
    print(
        f"{found.changes} changes, {found.lost} updates lost, {found.worked * 1000:.0f} ms of a processor for each, "
        f"the event loop late by less than {found.late * 1000:.0f} ms (p99)"
    )
    slope = f", {found.slope:+.1f} MiB an hour" if seconds >= ENOUGH else ""
    print(f"memory {found.seen[0][1]:.1f} MiB, {found.seconds:.0f} s later {found.seen[-1][1]:.1f} MiB{slope}")
    figures = {
        "changes": found.changes,
        "lost": found.lost,
        "processor_ms": found.worked * 1000,
        "late_ms": found.late * 1000,
        "first_mib": found.seen[0][1],
        "last_mib": found.seen[-1][1],
        "over_s": found.seconds,
    }
    keep(chosen.keep, "lasting", {"clients": FLEET, "anew": AGAIN}, figures)
    if found.lost or not found.whole:
        raise RuntimeError("not everybody has the newest change")


if __name__ == "__main__":
    main()
