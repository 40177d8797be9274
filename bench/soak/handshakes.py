"""TLS handshakes at a steady rate, in a process of their own: that leaves the other processor to what they are made with.

In: where, the name to ask for, how many a second, and an authority in PEM on standard input, up to an empty line. Out: when
standard input ends, how many there were and what became of those that failed, as JSON. `handshakes` is the other end, for goals.
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_PATIENCE = 15.0


@dataclass
class Handshakes:
    """What came of all processes, when they have ended. `rate`: how many a second there were."""

    total: int = 0
    rate: float = 0.0
    failed: Counter[str] = field(default_factory=Counter)


@contextmanager
def handshakes(address: str, port: int, name: str, authority: str, rate: float, processes: int) -> Iterator[Handshakes]:
    """So many a second, verified, each on a connection of its own; counted when this ends."""
    found = Handshakes()
    words = [sys.executable, "-m", "bench.soak.handshakes", address, str(port), name, str(rate / processes)]
    made = [subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    try:
        for one in made:
            assert one.stdin is not None
            one.stdin.write(f"{authority.strip()}\n\n")
            one.stdin.flush()
        yield found
        for one in made:
            said = json.loads(one.communicate(timeout=60)[0])
            found.total += said["total"]
            found.rate += said["total"] / said["seconds"]
            found.failed.update(said["failed"])
    finally:
        for one in made:
            one.kill()
            one.wait(30)


def _one(address: str, port: int, name: str, context: ssl.SSLContext) -> str:
    """What was wrong; empty if nothing."""
    try:
        with socket.create_connection((address, port), _PATIENCE) as plain:
            # Not to wait minutes for the same port: a server must not close first, and a client's thousands run out.
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            with context.wrap_socket(plain, server_hostname=name):
                return ""
    except OSError as error:
        return type(error).__name__


def _until_closed(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


def _main(address: str, port: str, name: str, rate: str) -> None:
    context = ssl.create_default_context(cadata="".join(iter(sys.stdin.readline, "\n")))
    ended = threading.Event()
    threading.Thread(target=_until_closed, args=(ended,), daemon=True).start()
    began = due = time.monotonic()
    total, failed = 0, Counter[str]()
    while not ended.is_set():
        wrong = _one(address, int(port), name, context)
        total += 1
        failed.update((wrong,) if wrong else ())
        due += 1 / float(rate)
        time.sleep(max(0.0, due - time.monotonic()))
    print(json.dumps({"total": total, "seconds": time.monotonic() - began, "failed": failed}), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
