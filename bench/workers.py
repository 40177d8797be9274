"""The processes of a measurement: each obeys lines of JSON and answers each with one.

In: the words of a command. Out: answers. A process ends with the measurement.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLIENTS = 2
"""Processes that hold streams together."""


def memory(pid: int | str = "self", what: str = "VmRSS") -> float:
    """Resident memory of a process in KiB, or what else its status says."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{what}:"))


def processor(pid: int) -> float:
    """Seconds of a processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Worker:
    """A process that obeys lines of JSON."""

    process: subprocess.Popen[str]

    def tell(self, order: dict[str, Any]) -> None:
        """Give an order."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def line(self) -> str:
        """What it says next."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("a process of the measurement ended")
        return line

    def answer(self) -> dict[str, Any]:
        """What it answers."""
        found: dict[str, Any] = json.loads(self.line())
        return found

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """Give an order, and wait for it to be done."""
        self.tell(order)
        return self.answer()


@contextmanager
def worker(*words: str) -> Iterator[Worker]:
    """A process of this project's Python."""
    process = subprocess.Popen([sys.executable, "-m", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Worker(process)
    finally:
        process.kill()
        process.communicate()


@dataclass(slots=True)
class Crowd:
    """Processes that hold streams together."""

    workers: list[Worker]

    def connect(self, streams: int, asked: Iterable[bytes], gateway: str, name: str = "bench") -> None:
        """So many streams more, shared among the processes."""
        words = [one.hex() for one in asked]
        for number, one in enumerate(self.workers):
            share = streams // len(self.workers) + (number < streams % len(self.workers))
            order = {"do": "connect", "streams": share, "asked": words, "gateway": gateway, "name": f"{name}-{number}"}
            one.tell(order)
        for one in self.workers:
            one.answer()

    def until(self, responses: int = 0, *, brought: int = 0, removed: int = 0) -> list[dict[str, Any]]:
        """Every stream has so many responses, with so many resources: what the processes say."""
        self.expect(responses, brought=brought, removed=removed)
        return self.answers()

    def expect(self, responses: int = 0, *, brought: int = 0, removed: int = 0) -> None:
        """Begin to take responses until every stream has so many."""
        for one in self.workers:
            one.tell({"do": "until", "responses": responses, "brought": brought, "removed": removed})

    def answers(self) -> list[dict[str, Any]]:
        """What the processes say when that is done."""
        return [one.answer() for one in self.workers]

    def close(self) -> None:
        """All streams vanish."""
        for one in self.workers:
            one.ask({"do": "close"})


@contextmanager
def crowd(address: str, processes: int = CLIENTS) -> Iterator[Crowd]:
    """Client processes."""
    with ExitStack() as held:
        yield Crowd([held.enter_context(worker("bench.light", address)) for _ in range(processes)])
