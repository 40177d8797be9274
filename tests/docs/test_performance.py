"""The charts and tables of the page on performance are what the kept results say, and nothing else."""

from __future__ import annotations

import datetime
import re
from dataclasses import replace
from pathlib import Path

import pytest

from bench.__main__ import add, warning
from bench.charts import draw
from bench.results import KEPT, RUNS, Result, Run, in_all, keep, read_runs
from bench.tables import PAGE, TABLES, filled
from xds_server import __version__

TEXT = KEPT.read_text(encoding="utf-8")
KEPT_RUNS = read_runs(TEXT)


def faster(run: Run) -> Run:
    """The same run with other figures."""
    results = (
        Result(one.name, one.parameters, {key: figure / 3 + 1 for key, figure in one.figures.items()})
        for one in run.results
    )
    return replace(run, results=tuple(results))


def test_charts_are_what_the_kept_results_draw() -> None:
    drawn = draw(KEPT_RUNS)
    folder = PAGE.with_suffix("")
    assert {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()} == drawn
    assert all(drawn[name] != other for name, other in draw([faster(run) for run in KEPT_RUNS]).items())


def test_tables_are_what_the_kept_results_say() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page, KEPT_RUNS) == page, "`python -m bench --draw` makes them anew"
    assert set(re.findall(r"<!-- bench: (\w+) -->", page)) == {*TABLES, "machines"}
    others = filled(page, [faster(run) for run in KEPT_RUNS])
    assert page.count("<!-- end -->") == others.count("<!-- end -->") == len(TABLES) + 1
    assert others != page


def test_the_last_runs_are_kept_as_they_are_read() -> None:
    assert 1 <= len(KEPT_RUNS) <= RUNS
    assert "".join(run.lines() for run in KEPT_RUNS) == TEXT


def test_a_run_takes_the_place_of_the_older_one_of_two(tmp_path: Path) -> None:
    kept, found = tmp_path / "kept", tmp_path / "found"
    for day in (1, 2, 3):
        found.unlink(missing_ok=True)
        keep(found, "starts", {"routes": 100}, {"ready_s": day / 7})
        add(kept, found, datetime.datetime(2026, 1, day, tzinfo=datetime.UTC), 0.04)
    runs = read_runs(kept.read_text(encoding="utf-8"))
    assert [run.began for run in runs] == ["2026-01-02 00:00 UTC", "2026-01-03 00:00 UTC"]
    assert in_all(runs, runs[-1].results[0], "ready_s") == [0.2857, 0.4286]
    assert (runs[-1].machine["load"], runs[-1].versions["cellway"]) == (0.0, __version__)


def test_charts_say_how_much_others_had_to_do() -> None:
    run = replace(KEPT_RUNS[-1], machine={**KEPT_RUNS[-1].machine, "load": 19.8})
    quiet = replace(run, machine={**run.machine, "load": 0.1})
    assert all("(load before: 19.8)" in picture for picture in draw([run]).values())
    assert all("(load before: 0.1 and 19.8)" in picture for picture in draw([quiet, run]).values())


@pytest.mark.parametrize(
    ("load", "cores", "warned"), [(0.4, 2, False), (0.6, 2, True), (0.6, 8, False), (19.8, 8, True)]
)
def test_a_machine_with_other_work_is_told_of(load: float, cores: int, warned: bool) -> None:
    assert warning(load, cores).startswith(f"warning: the load is {load} on {cores} cores: ") is warned
    assert bool(warning(load, cores)) is warned
