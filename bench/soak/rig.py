"""What the goals share: a server with one Envoy on addresses of its own, a load, and what must hold after every run.

In: a folder for its files. Out: a running rig; rows of the table. A goal says what it measured and whether it was reached;
only `main` decides what that means.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from tests.e2e.running import Cellway, reserve_block
from tests.e2e.test_live import get, prepare


@dataclass(frozen=True)
class Row:
    """What a goal measured, in words, and whether it was reached."""

    goal: str
    measured: str
    reached: bool


@contextmanager
def rig(*arguments: str) -> Iterator[Cellway]:
    """A running server, its Envoy and two backends."""
    with TemporaryDirectory(prefix="soak") as folder:
        root = Path(folder)
        (root / "policies").mkdir()
        cellway = Cellway(root / "policies", root / "state", reserve_block(), arguments)
        try:
            prepare(cellway)
            cellway.start()
            yield cellway
        finally:
            cellway.close()


def answer(cellway: Cellway) -> httpx.Response:
    """One more request."""
    return get(cellway, "web.example")


_NONE = ("init_fetch_timeout", "assignment_use_cached", "update_rejected", "no_route", "no_cluster")


def broken_rules(cellway: Cellway, *expected: str) -> list[str]:
    """What Envoy counted that it never may; `expected` are counters that this goal provokes."""
    found = []
    for proxy in cellway.api("proxies")["items"]:
        stats = httpx.get(f"http://{proxy['admin']}/stats", timeout=30).text
        for line in stats.splitlines():
            name, _, value = line.partition(": ")
            bad = name.rpartition(".")[2] in {one for one in _NONE if one not in expected} and value != "0"
            if bad or (name == "control_plane.connected_state" and value != "1"):
                found.append(f"{name} {value}")
    return found


def told(broken: list[str]) -> str:
    """The rules that were broken, as words."""
    return f"; Envoy counted {', '.join(broken)}" if broken else ""


def processor(pid: int) -> float:
    """Seconds of a processor that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """Resident memory of a process in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))
