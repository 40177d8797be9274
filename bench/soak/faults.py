"""Long faults: no disk, no descriptors, a server that stands still; each a while, then healed."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

from bench.soak.rig import Row, answer, broken_rules, rig, told
from tests.e2e.test_live import load, route

_HEALED = 30.0


def faults(seconds: float) -> Row:
    """G20: each fault for a third of the time under load; afterwards an edit takes effect."""
    words, reached = [], True
    with rig() as cellway:
        assert cellway.process is not None
        pid = cellway.process.pid
        with load(cellway, rate=500) as steady:
            for name, begin, end in (_full_disk(pid), _no_descriptors(pid), _standstill(pid)):
                begin()
                time.sleep(seconds / 3)
                end()
                began = time.monotonic()
                cellway.write("routes/web.yaml", route("web", name))
                while answer(cellway).headers["x-edit"] != name and time.monotonic() < began + _HEALED:
                    time.sleep(0.02)
                took = time.monotonic() - began
                words.append(f"{name} (healed in {took:.1f} s)")
                reached = reached and took < _HEALED
        failed, broken = sum(steady.failures().values()), broken_rules(cellway)
        reached = reached and not failed and not broken and cellway.process.poll() is None
    measured = f"{', '.join(words)}; {failed} of {steady.total:,} requests failed{told(broken)}"
    return Row("G20 faults of the machine", measured, reached)


Fault = tuple[str, Callable[[], object], Callable[[], object]]


def _full_disk(pid: int) -> Fault:
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    return (
        "full-disk",
        lambda: resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, limits[1])),
        lambda: resource.prlimit(pid, resource.RLIMIT_FSIZE, limits),
    )


def _no_descriptors(pid: int) -> Fault:
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)

    def begin() -> None:
        highest = max(int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir())
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 1, limits[1]))

    return "no-descriptors", begin, lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


def _standstill(pid: int) -> Fault:
    return "standstill", lambda: os.kill(pid, signal.SIGSTOP), lambda: os.kill(pid, signal.SIGCONT)
