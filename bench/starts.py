"""How long is a server away? A first start until Envoy answers, and a start after kill -9 until everybody is back and current.

In: `--routes`, sizes of worlds; `--streams`, how many light clients come back beside an Envoy; `--times` of each. Out: tables
of seconds from the start of Python, and of the server's processor. Clients come back in the moment in which the server is ready,
Envoy when its own pause is over, with the versions of what they have. Nothing is asserted but that they are sent no resource
and that Envoy is told nothing new.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from dataclasses import dataclass
from http.client import HTTPException

import httpx

from bench.results import keep, option
from bench.rig import PATIENCE, Rig, look_for, rig, started
from bench.scout import asked, everything
from bench.workers import Crowd, crowd
from tests.e2e.running import ask_envoy

GATEWAY = "default/bench"
ROUTES = 1_000
_PAUSE, _PAUSE_OF_SERVER = 0.005, 0.05
_UPDATES = re.compile(r"update_success: (\d+)")
_SYNCED = re.compile(r'cellway_proxies\{.*state="synced".*\} (\S+)')


@dataclass(frozen=True)
class Start:
    """Seconds until the server is ready, until Envoy answers the first request, and of the server's processor."""

    ready: float
    answered: float
    processor: float


@dataclass(frozen=True)
class Return:
    """Seconds until the server is ready, until all are back and current, and of the server's processor; what was sent."""

    ready: float
    current: float
    processor: float
    sent: int


def first(routes: int) -> Start:
    """A start with nothing but the files of policies."""
    with rig(routes) as made:
        began = time.monotonic()
        ready = started(made.cellway)
        while not _answers(made):
            if time.monotonic() - began > PATIENCE:
                raise TimeoutError(f"Envoy does not answer:\n{made.cellway.log()}")
            time.sleep(_PAUSE)
        return Start(ready, time.monotonic() - began, made.server())


def _answers(made: Rig) -> bool:
    try:
        return look_for(made, "x-route")() == f"{made.routes // 2} 0"
    except (OSError, HTTPException, ValueError):  # it does not listen yet, or has no route
        return False


def again(streams: int) -> Return:
    """A start after kill -9, with so many clients that had everything, and an Envoy."""
    with rig(ROUTES, "--xds-insecure") as made:
        made.cellway.start()
        address = f"{made.cellway.block.address(250)}:18000"
        have = asked(everything(address, GATEWAY))
        admin = next(one["admin"] for one in made.cellway.api("proxies")["items"] if one["admin"])
        with crowd(address) as clients:
            come(clients, streams, have)
            taken = _updates(admin)
            made.cellway.kill()
            clients.close()
            began = time.monotonic()
            ready = started(made.cellway)  # streams before that are refused
            brought = come(clients, streams, have)
            while _synced(made) < streams + 1:
                if time.monotonic() - began > PATIENCE:
                    raise TimeoutError(f"{_synced(made):.0f} of {streams + 1} are current")
                time.sleep(_PAUSE_OF_SERVER)
            current = time.monotonic() - began
            sent = brought + _updates(admin) - taken
            return Return(ready, current, made.server(), sent)


def come(clients: Crowd, streams: int, have: list[bytes]) -> int:
    """So many connect, with what they have: how many resources they were sent."""
    clients.connect(streams, have, GATEWAY)
    return sum(int(one["brought"]) for one in clients.until(removed=1))


def _synced(made: Rig) -> float:
    return sum(map(float, _SYNCED.findall(httpx.get(f"{made.cellway.admin}/metrics", timeout=60).text)))


def _updates(admin: str) -> int:
    """How many updates of any kind an Envoy has taken."""
    return sum(map(int, _UPDATES.findall(ask_envoy(admin, "/stats").text)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.starts", description=__doc__)
    parser.add_argument("--routes", type=int, nargs="*", default=[100, 1_000, 10_000])
    parser.add_argument("--streams", type=int, nargs="*", default=[1, 100, 1_000])
    parser.add_argument("--times", type=int, default=2)
    option(parser)
    chosen = parser.parse_args()
    print(f"a first start, s\n{'routes':>10}{'ready':>10}{'first answer':>16}{'processor':>12}")
    for routes in chosen.routes:
        starts = [first(routes) for _ in range(chosen.times)]
        ready, answered, used = (
            statistics.mean(getattr(one, name) for one in starts) for name in ("ready", "answered", "processor")
        )
        figures = {"ready_s": ready, "answered_s": answered, "processor_s": used}
        keep(chosen.keep, "starts", {"routes": routes}, figures)
        print(f"{routes:>10,}{ready:>10.2f}{answered:>16.2f}{used:>12.2f}", flush=True)
    print(f"a start after kill -9 with {ROUTES:,} routes, an Envoy and clients that have everything, s")
    print(f"{'clients':>10}{'ready':>10}{'all current':>16}{'processor':>12}{'sent':>8}")
    for streams in chosen.streams:
        returns = [again(streams) for _ in range(chosen.times)]
        ready, current, used = (
            statistics.mean(getattr(one, name) for one in returns) for name in ("ready", "current", "processor")
        )
        sent = sum(one.sent for one in returns)
        figures = {"ready_s": ready, "current_s": current, "processor_s": used, "sent": sent}
        keep(chosen.keep, "returns", {"clients": streams, "routes": ROUTES}, figures)
        print(f"{streams:>10,}{ready:>10.2f}{current:>16.2f}{used:>12.2f}{sent:>8}", flush=True)
        if sent:
            raise RuntimeError("who has everything was sent something")


if __name__ == "__main__":
    main()
