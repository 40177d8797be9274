"""What the goals share: a server with one Envoy on addresses of its own, a load, and what must hold after every run.

In: a folder for its files. Out: a running rig; rows of the table. A goal says what it measured and whether it was reached;
only `main` decides what that means.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from bench import workers
from tests.e2e.running import Cellway, ask_envoy, reserve_block
from tests.e2e.test_live import get, prepare
from xds_server.serve.tokens import Tokens
from xds_server.supervise.records import read_xds_key


@dataclass(frozen=True)
class Row:
    """What a goal measured, in words, and whether it was reached."""

    goal: str
    measured: str
    reached: bool


@contextmanager
def rig(*arguments: str, prepared: bool = True) -> Iterator[Cellway]:
    """A running server, its Envoy and two backends; not `prepared`: with nothing written yet, and not started."""
    with TemporaryDirectory(prefix="soak") as folder:
        root = Path(folder)
        (root / "policies").mkdir()
        cellway = Cellway(root / "policies", root / "state", reserve_block(), arguments)
        try:
            if prepared:
                prepare(cellway)
                cellway.start()
            yield cellway
        finally:
            cellway.close()


def answer(cellway: Cellway) -> httpx.Response:
    """One more request."""
    return get(cellway, "web.example")


_NONE = ("init_fetch_timeout", "assignment_use_cached", "update_rejected", "no_route", "no_cluster")

_UNDONE = ("error_state", "warming_state", "dynamic_warming_clusters", "dynamic_warming_secrets")
"""What stands in the configuration of an Envoy that has refused something, or waits for something."""


def broken_rules(cellway: Cellway, *expected: str, elsewhere: Iterable[str] = ()) -> list[str]:
    """What Envoys counted that they never may, and what they have that is not wanted.

    `expected` are counters that this goal provokes; `elsewhere` are admin addresses of Envoys that the server did not start.
    """
    proxies = cellway.api("proxies")["items"]
    if not expected:
        # What is replaced stays a while beside what replaces it, and is taken away in an update of its own.
        until(lambda: not _differences(cellway.api("proxies")["items"]), 30)
        proxies = cellway.api("proxies")["items"]
    found = [] if expected else _differences(proxies)
    for admin in (*(proxy["admin"] for proxy in proxies if proxy["admin"]), *elsewhere):
        stats = ask_envoy(admin, "/stats").text
        for line in stats.splitlines():
            name, _, value = line.partition(": ")
            bad = name.rpartition(".")[2] in {one for one in _NONE if one not in expected} and value != "0"
            if bad or (name == "control_plane.connected_state" and value != "1"):
                found.append(f"{name} {value}")
        dumped = ask_envoy(admin, "/config_dump").text
        found += [f"{word} in the configuration" for word in _UNDONE if f'"{word}' in dumped and not expected]
    return found


def _differences(proxies: list[dict[str, Any]]) -> list[str]:
    """Where what an Envoy has taken is not what it should have. Who came back with all of it was sent nothing to take."""
    return [
        f"{proxy['node']} has {kind} {one['acknowledged']} and not {one['wanted']}"
        for proxy in proxies
        for kind, one in proxy["types"].items()
        if one["state"] != "synced" or one["acknowledged"] not in {"", one["wanted"]}
    ]


def told(broken: list[str]) -> str:
    """The rules that were broken, as words."""
    return f"; Envoy counted {', '.join(broken)}" if broken else ""


def memory(pid: int, what: str = "VmRSS") -> float:
    """Resident memory of a process in MiB; with VmHWM the most that it ever had."""
    return workers.memory(pid, what) / 1024


def until(check: Callable[[], bool], patience: float = 120) -> bool:
    """Whether it came true in time."""
    end = time.monotonic() + patience
    while not (done := check()) and time.monotonic() < end:
        time.sleep(0.02)
    return done


def word(cellway: Cellway, gateway: str) -> str:
    """What an Envoy of this gateway shows to the server."""
    key = read_xds_key(cellway.state)
    assert key is not None, "the server has not started yet"
    return Tokens(key).word(gateway)
