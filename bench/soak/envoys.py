"""Envoys that the server did not start, as many and of whichever protocol a goal needs.

In: a running server, and who each Envoy says that it is. Out: their admin addresses, while they run.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.soak.rig import until, word
from tests.e2e.running import ENVOY, Cellway
from xds_server.supervise.bootstrap import Address, Bootstrap

_OPTIONS = ("--use-dynamic-base-id", "--concurrency", "1", "--log-level", "off", "--drain-time-s", "2")


@dataclass(frozen=True)
class Elsewhere:
    """One Envoy of `gateway`; not `delta`: each response holds everything of its type."""

    gateway: str
    delta: bool = True


@contextmanager
def envoys(cellway: Cellway, *wanted: Elsewhere) -> Iterator[list[str]]:
    """They run, and have everything."""
    running, admins = [], []
    try:
        for number, one in enumerate(wanted):
            admin = Address(cellway.block.address(251), 19_000 + number)
            who = f"envoy-{number}"
            xds, token = Address(cellway.block.address(250), 18000), word(cellway, one.gateway)
            text = Bootstrap(one.gateway, who, xds, admin, token=token).text()
            path = Path(cellway.state).with_name(f"{who}.yaml")
            path.write_text(text if one.delta else text.replace("DELTA_GRPC", "GRPC"), encoding="utf-8")
            running.append(subprocess.Popen([str(ENVOY), "-c", str(path), *_OPTIONS]))
            admins.append(str(admin))
        until(lambda: len(cellway.api("proxies")["items"]) >= len(wanted))
        cellway.wait()
        yield admins
    finally:
        for process in running:
            process.kill()
            process.wait(30)
