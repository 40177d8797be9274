"""Long faults of the machine: no disk, a slow one, no descriptors, a wrong clock, a standstill; each a while, then healed."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

from bench.soak.rig import Row, answer, broken_rules, rig, told
from tests.e2e.running import Cellway
from tests.e2e.test_live import load, prepare, route

_HEALED = 5.0
_PATIENCE = 30.0
_HOUR, _YEAR = 3600, 365 * 24 * 3600
Fault = tuple[str, bool, Callable[[], object], Callable[[], object]]
"""Its name, whether edits take effect meanwhile, how it begins, and how it ends."""


def faults(seconds: float) -> Row:
    """G20: each fault for its share of the time under load; afterwards, and during most, an edit takes effect soon."""
    words, reached = [], True
    with rig(prepared=False) as cellway:
        machine = cellway.odd_machine()
        prepare(cellway)
        cellway.start()
        assert cellway.process is not None
        pid = cellway.process.pid
        several = (*_disks(pid, machine), _no_descriptors(pid), *_clocks(machine), _standstill(pid))
        with load(cellway, rate=500) as steady:
            for name, edits, begin, end in several:
                begin()
                over = time.monotonic() + seconds / len(several)
                during = _edit(cellway, f"{name}-begins") if edits else 0.0
                time.sleep(max(0.0, over - time.monotonic()))
                end()
                after = _edit(cellway, f"{name}-ended")
                words.append(f"{name} {f'{during:.1f} s' if edits else '-'} and {after:.1f} s")
                reached = reached and max(during, after) < _HEALED
        failed, broken = sum(steady.failures().values()), broken_rules(cellway)
        reached = reached and not failed and not broken and cellway.process.poll() is None
    measured = (
        f"an edit takes effect, during a fault and after it: {', '.join(words)}; "
        f"{failed} of {steady.total:,} requests failed{told(broken)}"
    )
    return Row("G20 faults of the machine", measured, reached)


def _edit(cellway: Cellway, value: str) -> float:
    """How long an edit takes until an answer shows it."""
    began = time.monotonic()
    cellway.write("routes/web.yaml", route("web", value))
    while answer(cellway).headers["x-edit"] != value and time.monotonic() < began + _PATIENCE:
        time.sleep(0.02)
    return time.monotonic() - began


def _disks(pid: int, machine: Path) -> tuple[Fault, Fault]:
    limits, slow = resource.prlimit(pid, resource.RLIMIT_FSIZE), machine / "slow"
    return (
        (
            "full-disk",
            True,
            lambda: resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, limits[1])),
            lambda: resource.prlimit(pid, resource.RLIMIT_FSIZE, limits),
        ),
        ("slow-disk", True, slow.touch, slow.unlink),
    )


def _no_descriptors(pid: int) -> Fault:
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)

    def begin() -> None:
        highest = max(int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir())
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 1, limits[1]))

    return "no-descriptors", False, begin, lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


def _clocks(machine: Path) -> tuple[Fault, Fault]:
    clock = machine / "clock"

    def jump(by: int) -> Callable[[], object]:
        return lambda: clock.write_text(str(by), encoding="ascii")

    return ("a-year-later", True, jump(_YEAR), jump(0)), ("an-hour-earlier", True, jump(-_HOUR), jump(0))


def _standstill(pid: int) -> Fault:
    return "standstill", False, lambda: os.kill(pid, signal.SIGSTOP), lambda: os.kill(pid, signal.SIGCONT)
