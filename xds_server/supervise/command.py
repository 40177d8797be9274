"""The command line of a local Envoy.

In: how a gateway's Envoys are run, and the seat of one process among those that follow each other. Out: words, and a
hash of all that decides how the process runs: an Envoy with another hash is replaced.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path

from xds_server.graph import Process
from xds_server.supervise.binary import ENVOY_VERSION
from xds_server.supervise.records import digest_of

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - Envoy's own place
SHELL = Path("/bin/sh")
DRAIN = 15.0
"""Seconds that a changed listener, and an Envoy that is replaced, gives to requests under way."""
_GRACE = 1.0
_FAMILIES = 4
_SOCKET = "handover"
_TRUSTING = "--ignore-unknown-dynamic-fields"
"""Else Envoy looks through all that it is sent for unknown fields, only to log them: a third of what a route table costs."""


def drain_of(process: Process) -> float:
    """Seconds that an Envoy on this machine which is run so gives to requests under way."""
    return DRAIN if process.drain is None else process.drain


@dataclass(frozen=True, slots=True)
class Launch:
    """What is to run for a gateway: who it is, what it is told at the start, and how it is run.

    `problem`: why its bootstrap is not changed as it should be.
    """

    gateway: str
    node_id: str
    bootstrap: str
    process: Process
    problem: str = ""

    @property
    def drain(self) -> float:
        """Seconds for requests under way."""
        return drain_of(self.process)

    @property
    def patience(self) -> float:
        """Seconds after which an Envoy that was replaced is gone, whatever it still does."""
        return max(self.drain, self.process.quiet) + _GRACE

    def digest(self, binary: Path) -> str:
        """A hash of all that decides how it runs, wherever it sits."""
        return digest_of(self.bootstrap, self.problem, str(binary), *_options(binary, self))


@dataclass(frozen=True, slots=True)
class Seat:
    """Where one process sits: its folder `run` below its gateway's, and its place among those that hand over.

    Processes of one `family` share memory; `epoch` counts them. A family of -1 hands nothing over.
    """

    run: str
    family: int = -1
    epoch: int = 0

    def next(self) -> Seat:
        """The seat of the one that takes over from this one."""
        return Seat(str(int(self.run or 0) + 1), self.family, self.epoch + 1)

    def anew(self, *, alone: bool) -> Seat:
        """The seat of one that begins from nothing after this one."""
        family = -1 if alone else (self.family + 1) % _FAMILIES
        return Seat(str(int(self.run or 0) + 1), family)


def command_of(binary: Path, folder: Path, seat: Seat, launch: Launch) -> list[str]:
    """The command line; `folder` is the gateway's, and the process's working directory."""
    own = folder / seat.run
    return [
        *(str(binary), "--config-path", str(own / "bootstrap.yaml")),
        *("--admin-address-path", str(own / "admin-address")),
        *("--log-path", str(own / "envoy.log")),
        *_seat_options(folder, seat),
        *_options(binary, launch),
    ]


def _options(binary: Path, launch: Launch) -> tuple[str, ...]:
    """The words that decide how it runs. An Envoy that knows all that it can be sent need not look for what it does not."""
    words = options_of_process(launch)
    return words if _TRUSTING in words or not _is_made_for(binary) else (*words, _TRUSTING)


def shared_memory(folder: Path, family: int) -> Path:
    """The memory that the Envoys of a family share, as Envoy names it."""
    return SHARED_MEMORY / f"envoy_shared_memory_{_number(folder, family)}0"


@cache
def handover_version(binary: Path) -> str:
    """Which Envoys this one can take over from: those that say the same. Empty: none, or this machine has no room."""
    if not os.access(SHARED_MEMORY, os.W_OK) or not os.access(SHELL, os.X_OK):
        return ""
    return _said(binary, "--hot-restart-version")


@cache
def _is_made_for(binary: Path) -> bool:
    """Whether it is the version whose API we speak."""
    return f"/{ENVOY_VERSION}/" in _said(binary, "--version")


def _said(binary: Path, word: str) -> str:
    try:
        done = subprocess.run([str(binary), word], capture_output=True, text=True, check=False, timeout=10)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ""
    return (done.stdout or done.stderr).strip() if done.returncode == 0 else ""


def _seat_options(folder: Path, seat: Seat) -> tuple[str, ...]:
    if seat.family < 0:
        return ("--disable-hot-restart",)
    return (
        *("--base-id", str(_number(folder, seat.family)), "--restart-epoch", str(seat.epoch)),
        # A file that only its owner may open: whoever speaks to it gets the sockets of the Envoy. The path of a socket has
        # room for 107 bytes, so it is relative.
        *("--socket-path", f"{_SOCKET}-{seat.family}", "--socket-mode", "600"),
    )


def options_of_process(launch: Launch) -> tuple[str, ...]:
    """The words of the command line that every Envoy of this gateway gets."""
    process = launch.process
    levels = ",".join(f"{name}:{level}" for name, level in process.levels)
    return (
        *("--concurrency", str(process.concurrency)),
        *("--log-level", process.level),
        *(("--component-log-level", levels) if levels else ()),
        *("--drain-time-s", str(round(launch.drain))),
        *("--drain-strategy", "immediate"),
        *("--parent-shutdown-time-s", str(round(launch.patience))),
        *process.arguments,
    )


def _number(folder: Path, family: int) -> int:
    """A number that no other Envoy of this machine has: a hash of where it is, short enough for Envoy's arithmetic."""
    whole = int.from_bytes(blake2b(str(folder).encode(), digest_size=4).digest(), "big")
    return (whole >> 6) * _FAMILIES + family
