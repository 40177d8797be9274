"""Edits that never end, with and without a server that is killed; files that are written by the thousand."""

from __future__ import annotations

import time

import httpx

from bench.soak.rig import Row, answer, broken_rules, rig, told
from tests.e2e.test_live import load, route

_RATE = 1000.0


def flips(seconds: float) -> Row:
    """G1: routes and clusters switch as fast as they take effect while 1,000 requests a second are asked."""
    with rig() as cellway:
        with load(cellway, rate=_RATE) as steady:
            end, edit = time.monotonic() + seconds, 0
            while time.monotonic() < end:
                edit += 1
                cellway.write("routes/web.yaml", route("web", edit, "one" if edit % 2 else "two"))
                cellway.wait()
        failed, broken = sum(steady.failures().values()), broken_rules(cellway)
        newest = answer(cellway).headers["x-edit"] == str(edit)
    measured = (
        f"{edit:,} edits in force one after the other, {failed} of {steady.total:,} requests failed{told(broken)}"
    )
    return Row("G1 edits under load", measured, not failed and not broken and newest)


def kills(seconds: float) -> Row:
    """G2: the server is killed every ten seconds, and edited meanwhile."""
    slowest, count, edit = 0.0, 0, 0
    with rig() as cellway:
        with load(cellway, rate=_RATE) as steady:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                cellway.kill()
                edit, count = edit + 1, count + 1
                cellway.write("routes/web.yaml", route("web", edit))
                began = time.monotonic()
                cellway.start()
                slowest = max(slowest, time.monotonic() - began)
                for _ in range(20):
                    edit += 1
                    cellway.write("routes/web.yaml", route("web", edit))
                    cellway.wait()
                time.sleep(max(0.0, min(10.0 - (time.monotonic() - began), end - time.monotonic())))
        failed, broken = sum(steady.failures().values()), broken_rules(cellway)
    measured = (
        f"{count} kills, everything in force again after {slowest:.1f} s at most (with the start of Python), "
        f"{failed} of {steady.total:,} requests failed{told(broken)}"
    )
    return Row("G2 kills", measured, not failed and not broken)


def storm(_seconds: float) -> Row:
    """G10: 10,000 writes of files in about ten seconds."""
    with rig() as cellway:
        before = _reloads(cellway.admin)
        began = time.monotonic()
        for number in range(10_000):
            cellway.write(f"generated/{number % 500}.yaml", route(f"made-{number % 500}", number))
            time.sleep(max(0.0, began + number / 1000 - time.monotonic()))
        writing = time.monotonic() - began
        cellway.wait()
        late = time.monotonic() - began - writing
        reloads = _reloads(cellway.admin) - before
    measured = f"10,000 writes in {writing:.1f} s: {reloads:.0f} builds, the last write in force after {late:.2f} s"
    return Row("G10 many writes", measured, reloads <= 4 * writing and late < 5)


def _reloads(admin: str) -> float:
    lines = httpx.get(f"{admin}/metrics", timeout=30).text.splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith('cellway_reloads_total{result="applied"'))
