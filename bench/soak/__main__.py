"""Run goals and print what they measured.

In: names of goals (none: all), `--seconds` for each. Out: a line each, as soon as it is known. Nothing is asserted but that
what was promised held: exit code 1 says that one was not reached.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping

from bench.soak.acks import acks, stuck
from bench.soak.certificates import certificates
from bench.soak.edits import flips, kills, storm
from bench.soak.faults import faults
from bench.soak.inputs import mutants, replicas
from bench.soak.isolation import isolation
from bench.soak.lasting import cancels, endings, lasting
from bench.soak.mix import mix
from bench.soak.refused import refused
from bench.soak.rig import Row
from bench.soak.starts import starts

GOALS: Mapping[str, Callable[[float], Row]] = {
    one.__name__: one
    for one in (
        flips,
        mix,
        kills,
        storm,
        acks,
        refused,
        stuck,
        cancels,
        lasting,
        endings,
        certificates,
        isolation,
        faults,
        starts,
        mutants,
        replicas,
    )
}


def main() -> int:
    """Run them."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("goals", nargs="*", metavar="goal", choices=[*GOALS, []], help=", ".join(GOALS))
    parser.add_argument("--seconds", type=float, default=600)
    arguments = parser.parse_args()
    reached = True
    for name in arguments.goals or GOALS:
        row = GOALS[name](arguments.seconds)
        print(f"{'reached' if row.reached else 'MISSED '}  {row.goal:<26} {row.measured}", flush=True)
        reached = reached and row.reached
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
