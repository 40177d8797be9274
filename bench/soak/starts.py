"""Starts with 2,000 routes: from the folder, and from what the last server kept when the folder is gone."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.rig import started
from bench.soak.rig import Row
from bench.workers import processor
from bench.world import write_world
from tests.e2e.running import Cellway, reserve_block

_ROUTES = 2000


def starts(_seconds: float) -> Row:
    """G18: seconds from the start of Python until everything is ready for Envoys, and how many of them it worked."""
    with TemporaryDirectory(prefix="soak") as folder:
        root = Path(folder)
        cellway = Cellway(root / "policies", root / "state", reserve_block(), ("--no-envoy",))
        (root / "policies").mkdir()
        write_world(root / "policies", _ROUTES)
        try:
            first = _ready(cellway)
            cellway.kill()
            again = _ready(cellway)
            _until_kept(root / "state")
            cellway.kill()
            shutil.move(root / "policies", root / "away")
            saved = _ready(cellway)
        finally:
            cellway.close()
    measured = (
        f"{_ROUTES:,} routes: ready after {_words(first)}, after a kill {_words(again)}, "
        f"without the folder {_words(saved)}"
    )
    return Row("G18 starts", measured, max(first[0], again[0]) <= 3 and saved[0] <= 2)


def _words(taken: tuple[float, float]) -> str:
    return f"{taken[0]:.1f} s ({taken[1]:.1f} s of a processor)"


def _ready(cellway: Cellway) -> tuple[float, float]:
    seconds = started(cellway)
    assert cellway.process is not None
    return seconds, processor(cellway.process.pid)


def _until_kept(state: Path) -> None:
    index = state / "in-force" / "in-force.json"
    while not index.exists() or index.read_text(encoding="utf-8").count(".yaml") < _ROUTES // 100:
        time.sleep(0.05)
