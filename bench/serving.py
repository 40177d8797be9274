"""A `cellway serve` on a folder, for as long as a measurement takes.

In: a folder. Out: where it serves, and its process. Whoever connects is served: no token is asked for.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


@dataclass(frozen=True)
class Running:
    """A server: its xDS port, its admin port, its process, and all of them where several serve."""

    port: int
    admin: int
    pid: int
    pids: tuple[int, ...]


@contextmanager
def server(folder: Path, workers: int = 1) -> Iterator[Running]:
    """`cellway serve` on a folder, ready."""
    port, admin = free_port(), free_port()
    command = [sys.executable, "-m", "xds_server.cli.main", "serve", str(folder)]
    command += ["--admin", f"127.0.0.1:{admin}", "--xds", f"127.0.0.1:{port}", "--xds-insecure"]
    command += ["--workers", str(workers)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not is_ready(f"http://127.0.0.1:{admin}"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("cellway serve does not start")
            time.sleep(0.05)
        serving = httpx.get(f"http://127.0.0.1:{admin}/api/v1/proxies", timeout=30).json()["processes"]
        yield Running(port, admin, process.pid, (process.pid, *(one["pid"] for one in serving)))
    finally:
        process.terminate()
        process.wait()


def is_ready(admin: str) -> bool:
    """Whether a server has everything for its Envoys."""
    try:
        return httpx.get(f"{admin}/readyz", timeout=30).status_code == 200
    except httpx.TransportError:
        return False
