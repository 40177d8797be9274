"""What a run of the measurements found, kept as lines of JSON: one for the machine and its versions, one for each figure's world.

In: figures by name, with the parameters of their world. Out: lines, and runs read back. `results.jsonl` beside this module holds
the last runs of all measurements; the charts and tables of the documentation are made of it and of nothing else.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from tests.e2e.running import ENVOY
from xds_server import __version__

KEPT = Path(__file__).with_name("results.jsonl")
RUNS = 2
"""How many runs are kept."""
_LIBRARIES = ("grpcio", "protobuf", "pydantic", "PyYAML")
Parameters = Mapping[str, str | int | float]


@dataclass(frozen=True)
class Result:
    """Figures of one world: of which measurement, and which world."""

    name: str
    parameters: Parameters
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Run:
    """All that one run found: when it began, on what machine, with which versions."""

    began: str
    machine: Mapping[str, str | float]
    versions: Mapping[str, str]
    results: tuple[Result, ...]

    def of(self, name: str, **parameters: str | int) -> list[Result]:
        """The results of a measurement in worlds that have these parameters."""
        wanted = parameters.items()
        return [one for one in self.results if one.name == name and wanted <= dict(one.parameters).items()]

    def lines(self) -> str:
        """The run as lines of JSON."""
        head = {"run": self.began, "machine": self.machine, "versions": self.versions}
        return "".join(json.dumps(one) + "\n" for one in (head, *map(vars, self.results)))


def in_all(runs: Iterable[Run], world: Result, figure: str) -> list[float]:
    """A figure of one world in each run that has it, the first run first."""
    found = (one for run in runs for one in run.of(world.name) if one.parameters == world.parameters)
    return [one.figures[figure] for one in found if figure in one.figures]


def option(parser: argparse.ArgumentParser) -> None:
    """Let a measurement have the file in which it keeps what it finds."""
    parser.add_argument("--keep", type=Path, help="a file to which figures are added as lines of JSON")


def keep(file: Path | None, name: str, parameters: Parameters, figures: Mapping[str, float]) -> None:
    """Add what was found to a file, if there is one. Four digits of a figure say something."""
    if file is not None:
        rounded = {key: float(f"{figure:.4g}") for key, figure in figures.items()}
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(vars(Result(name, parameters, rounded))) + "\n")


def read_runs(text: str) -> list[Run]:
    """All runs of a file, the first one first."""
    runs: list[Run] = []
    for line in map(json.loads, text.splitlines()):
        if "run" in line:
            runs.append(Run(line["run"], line["machine"], line["versions"], ()))
        else:
            last = runs[-1]
            runs[-1] = Run(last.began, last.machine, last.versions, (*last.results, Result(**line)))
    return runs


def this_run(results: Iterable[Result], began: datetime.datetime, load: float) -> Run:
    """What was found now, on this machine. `load` is how much others had to do when it began."""
    machine: dict[str, str | float] = {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release().partition("-")[0],
        "load": round(load, 1),
    }
    versions = {"cellway": __version__, "python": platform.python_version(), "envoy": _envoy()}
    versions |= {name: metadata.version(name) for name in _LIBRARIES}
    return Run(began.strftime("%Y-%m-%d %H:%M UTC"), machine, versions, tuple(results))


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _envoy() -> str:
    said = subprocess.run([str(ENVOY), "--version"], stdout=subprocess.PIPE, check=True, text=True).stdout
    return next(word for word in said.split("/") if word[:1].isdigit() and word.count(".") == 2)
