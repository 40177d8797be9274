"""What hundreds of streams cost over time: streams that come and go, a fleet for long, and the end of the server."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.soak.acks import save, start
from bench.soak.clients import clients
from bench.soak.envoys import Elsewhere, envoys
from bench.soak.rig import Row, broken_rules, memory, rig, told, until
from bench.workers import processor
from tests.e2e.running import Cellway
from tests.e2e.test_live import load, prepare, route

_SHORT = 200_000
_MORE = 64.0
_REST = 15.0
"""Seconds in which memory is given back after the last stream; the server looks every five."""
_BEGUN = "cellway_begun_streams_total"
FLEET = 500
AGAIN = 5
_AT_WORK = 5
"""Descriptors and tasks that the server may just have for something else, such as the question how many there are."""
_ROUTES = 20
_HOUR = 3600.0
ENOUGH = 600.0
"""Seconds after which the growth of memory says something."""
_GRACE = 5.0


def cancels(seconds: float) -> Row:
    """G8: 200,000 streams are opened, asked on and cancelled, and get to the server; fewer if there is no time for so many."""
    with rig("--no-envoy", prepared=False) as cellway:
        start(cellway)
        pid = _pid(cellway)
        with clients(cellway) as raw:
            raw.ask("cancel", 2000)  # what is made once
            open_before = _settled(cellway)
            before, came = memory(pid), _metric(cellway, _BEGUN)
            begun, opened, end = 0.0, 0, time.monotonic() + seconds
            while begun < _SHORT and time.monotonic() < end:
                opened += raw.ask("cancel", 2000)["opened"]
                begun = _metric(cellway, _BEGUN) - came
        after = _settled(cellway)
        until(lambda: memory(pid) - before <= _MORE, _REST)
        grown, most = memory(pid) - before, memory(pid, "VmHWM") - before
    back = all(now <= then + _AT_WORK for now, then in zip(after, open_before, strict=True))
    measured = (
        f"{begun:,.0f} of {opened:,} streams got to the server: {grown:.1f} MiB more when it had settled, {most:.0f} at most; "
        f"descriptors {open_before[0]:.0f} and then {after[0]:.0f}, tasks {open_before[1]:.0f} and then {after[1]:.0f}"
    )
    return Row("G8 streams that come and go", measured, back and grown <= _MORE)


@dataclass(frozen=True)
class Fleet:
    """What a fleet was given and what that cost. `seen`: when, in seconds, and the resident memory in MiB.

    `worked` are seconds of a processor for each change, `late` the p99 of the event loop in seconds; `whole`: all have
    the newest change.
    """

    changes: int
    lost: int
    worked: float
    late: float
    whole: bool
    seen: tuple[tuple[float, float], ...]

    @property
    def slope(self) -> float:
        """MiB an hour, by least squares."""
        middle = sum(at for at, _ in self.seen) / len(self.seen), sum(size for _, size in self.seen) / len(self.seen)
        spread = sum((at - middle[0]) ** 2 for at, _ in self.seen)
        return sum((at - middle[0]) * (size - middle[1]) for at, size in self.seen) / spread * _HOUR if spread else 0.0

    @property
    def seconds(self) -> float:
        """For how long memory was looked at."""
        return self.seen[-1][0] - self.seen[0][0]


def fleet(seconds: float) -> Fleet:
    """500 clients, a change a second, five of them come anew each second. The first sixth of the time does not count."""
    seen: list[tuple[float, float]] = []
    edit = lost = 0
    with rig("--no-envoy", prepared=False) as cellway:
        start(cellway, _ROUTES)
        pid = _pid(cellway)
        with clients(cellway) as raw:
            raw.ask("open", FLEET, "plain")
            began, worked = time.monotonic(), processor(pid)
            lag = _lags(cellway)
            while (now := time.monotonic() - began) < seconds:
                if now > seconds / 6:
                    lag = lag if seen else _lags(cellway)
                    seen.append((now, memory(pid)))
                edit += 1
                save(cellway, edit, _ROUTES)
                raw.ask("close", AGAIN, "plain")
                raw.ask("open", AGAIN, "plain")
                lost += raw.ask("seen", edit)["missing"]
                time.sleep(max(0.0, began + edit - time.monotonic()))
            worked = (processor(pid) - worked) / edit
            late = _quantile(lag, _lags(cellway), 0.99)
            state = raw.ask("state")
    whole = state["open"] == FLEET and state["newest"] == {str(edit): FLEET}
    return Fleet(edit, lost, worked, late, whole, tuple(seen))


def lasting(seconds: float) -> Row:
    """G9: the fleet, for long."""
    found = fleet(seconds)
    flat = found.slope < 2 or seconds < ENOUGH
    measured = (
        f"{found.changes} changes to {FLEET} clients, {found.changes * AGAIN} of them anew: {found.lost} updates lost; "
        f"each costs {found.worked * 1000:.0f} ms of a processor; {found.slope:+.1f} MiB/h "
        f"({found.seen[0][1]:.0f} to {found.seen[-1][1]:.0f} MiB), "
        f"the loop is late by less than {found.late * 1000:.0f} ms (p99)"
    )
    return Row("G9 a fleet for long", measured, found.whole and not found.lost and flat and found.late <= 0.05)


def endings(_seconds: float) -> Row:
    """G19: SIGTERM while there are 500 streams, and requests through an Envoy that lives on."""
    with rig("--no-envoy", prepared=False) as cellway:
        prepare(cellway)
        cellway.write("routes/web.yaml", route("web", "edit-1"))
        cellway.start()
        with envoys(cellway, Elsewhere("default/edge")) as admins, clients(cellway) as raw:
            raw.ask("open", FLEET, "plain")
            broken = broken_rules(cellway, elsewhere=admins)
            with load(cellway, rate=500) as steady:
                steady.lasts(1)
                began = time.monotonic()
                code = cellway.stop()
                took = time.monotonic() - began
                steady.lasts(1)
            state = raw.ask("state")
    times = sorted(at - began for at, _ in state["ended"])
    spread = times[-1] - times[0] if times else 0.0
    most = max((sum(low <= at < low + 1 for at in times) for low in times), default=0)
    failed = sum(steady.failures().values())
    reached = code == 0 and took <= _GRACE + 1 and len(times) == FLEET and most <= FLEET / 2 and not failed
    measured = (
        f"exit code {code} after {took:.1f} s; {len(times)} streams ended over {spread:.1f} s, {most} at most in one second; "
        f"{failed} of {steady.total:,} requests failed{told(broken)}"
    )
    return Row("G19 the end of a server", measured, reached and not broken)


def _pid(cellway: Cellway) -> int:
    assert cellway.process is not None
    return cellway.process.pid


def _settled(cellway: Cellway) -> tuple[float, float]:
    """Open descriptors and tasks of the server, as soon as no stream is left and they no longer become fewer."""
    last, deadline = (float("inf"), float("inf")), time.monotonic() + 30
    while time.monotonic() < deadline:
        now = float(sum(1 for _ in Path(f"/proc/{_pid(cellway)}/fd").iterdir())), _metric(cellway, "cellway_tasks")
        if now >= last and not cellway.api("proxies")["items"]:
            return last
        last = min(now, last)
        time.sleep(1)
    return last


def _metric(cellway: Cellway, name: str) -> float:
    return sum(value for key, value in _metrics(cellway).items() if key.partition("{")[0] == name)


def _metrics(cellway: Cellway) -> dict[str, float]:
    lines = httpx.get(f"{cellway.admin}/metrics", timeout=30).text.splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def _lags(cellway: Cellway) -> dict[float, float]:
    """How often the event loop was late by so many seconds at most."""
    name = 'cellway_event_loop_lag_seconds_bucket{le="'
    return {float(key[len(name) : -2]): value for key, value in _metrics(cellway).items() if key.startswith(name)}


def _quantile(before: dict[float, float], after: dict[float, float], share: float) -> float:
    """The upper end of the bucket that it lies in."""
    counted = {bound: after[bound] - before.get(bound, 0) for bound in sorted(after)}
    return next(bound for bound, count in counted.items() if count >= share * max(counted.values()))
