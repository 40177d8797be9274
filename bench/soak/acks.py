"""From a saved file to the last acknowledgement: of a hundred clients and two Envoys, and beside clients that are stuck."""

from __future__ import annotations

import datetime
import statistics
import time
from collections.abc import Callable

from bench.soak.clients import Clients, clients
from bench.soak.envoys import Elsewhere, envoys
from bench.soak.rig import Row, broken_rules, memory, rig, told, until
from tests.e2e.running import Cellway
from tests.e2e.test_live import GATEWAY, route

_ROUTES = 200
_CLIENTS, _STUCK = 500, 50


def acks(seconds: float) -> Row:
    """G3: one file of 200 routes, one of which is edited; 100 clients and 2 Envoys take it."""
    with rig("--no-envoy", prepared=False) as cellway:
        start(cellway)
        with envoys(cellway, *[Elsewhere("default/edge")] * 2) as admins, clients(cellway) as raw:
            raw.ask("open", 100, "plain")
            slowest, end, edit = [], time.monotonic() + seconds, 0
            while time.monotonic() < end:
                edit += 1
                began, wall = save(cellway, edit), time.time()
                seen = raw.ask("seen", edit)
                assert not seen["missing"], "a client does not have an edit after a minute"
                slowest.append(max(max(seen["times"]) - began, last_of_envoys(cellway) - wall))
            broken = broken_rules(cellway, elsewhere=admins)
    middle, most = statistics.median(slowest), late(slowest)
    measured = f"{edit} edits, the last of 102 has it after {middle * 1000:.0f} ms (median), {most * 1000:.0f} ms (p99)"
    return Row("G3 edit to last ACK", f"{measured}{told(broken)}", middle <= 0.15 and most <= 0.5 and not broken)


def stuck(seconds: float) -> Row:
    """G13: 50 of 500 clients never read or never acknowledge; with and without them in turns, since machines have moods."""
    without: list[float] = []
    beside: list[float] = []
    with rig("--no-envoy", prepared=False) as cellway:
        start(cellway)
        assert cellway.process is not None
        with clients(cellway) as raw, clients(cellway) as others:
            raw.ask("open", _CLIENTS - _STUCK, "plain")
            others.ask("open", _STUCK, "plain")
            edits = iter(range(1, 1_000_000))
            grown = 0.0
            for _ in range(3):
                without += _edits(cellway, raw, seconds / 6, lambda: next(edits))
                others.ask("close", _STUCK, "plain")
                before = memory(cellway.process.pid)
                for kind in ("mute", "deaf"):
                    others.ask("open", _STUCK // 2, kind)
                beside += _edits(cellway, raw, seconds / 6, lambda: next(edits))
                grown = max(grown, memory(cellway.process.pid) - before)
                for kind in ("mute", "deaf"):
                    others.ask("close", _STUCK // 2, kind)
                others.ask("open", _STUCK, "plain")
    ratio = late(beside) / late(without)
    measured = (
        f"p99 of the others {late(beside) * 1000:.0f} ms, without {late(without) * 1000:.0f} ms ({ratio:.2f} times); "
        f"{grown / _STUCK:.2f} MiB more for each that is stuck"
    )
    return Row("G13 clients that are stuck", measured, ratio <= 1.2 and grown <= 4 * _STUCK)


def _edits(cellway: Cellway, raw: Clients, seconds: float, number: Callable[[], int]) -> list[float]:
    """How long each client waited for each edit."""
    found: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end or not found:
        edit = number()
        began = save(cellway, edit)
        seen = raw.ask("seen", edit)
        assert not seen["missing"], "a client does not have an edit after a minute"
        found += [at - began for at in seen["times"]]
        time.sleep(0.2)
    return found


def start(cellway: Cellway, routes: int = _ROUTES) -> None:
    """Start the server on a gateway and a file of all routes."""
    cellway.write("gateway.yaml", GATEWAY)
    save(cellway, 0, routes)
    cellway.start()


def save(cellway: Cellway, edit: int, routes: int = _ROUTES) -> float:
    """Save the file of all routes with another edit; when that was."""
    texts = [route(f"web-{number}", f"edit-{edit}" if number == 7 else 0) for number in range(routes)]
    cellway.write("routes.yaml", "---".join(texts))
    return time.monotonic()


def last_of_envoys(cellway: Cellway) -> float:
    """When the last Envoy has taken the newest routes, in seconds since the epoch."""

    def kinds() -> list[dict[str, str]]:
        proxies = cellway.api("proxies")["items"]
        return [one["types"]["RouteConfiguration"] for one in proxies if one["node"].startswith("envoy-")]

    until(lambda: all(one["acknowledged"] == one["wanted"] for one in kinds()))
    return max(datetime.datetime.fromisoformat(one["acknowledged_at"]).timestamp() for one in kinds())


def late(seconds: list[float]) -> float:
    """p99."""
    return sorted(seconds)[int(len(seconds) * 0.99)]
