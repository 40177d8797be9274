"""A storm: thousands of clients connect at the same time. How long until all are served, and who suffers meanwhile?

In: `--clients`, and `--workers`, how many processes serve. A real `cellway serve` has one gateway of 200 resources for them,
and another for twenty streams that are told of an edit four times a second all the while. First the clients come with nothing
and get everything; then they come again, with the versions of what they have, and get nothing: each asks for a name that does
not exist, and the answer shows that it was served. Out: for each storm the time until all are served, the processor's time of
the server and of the busiest of its processes, the growth of its memory (the peak), and the time from saving a file until the
others have it. Nothing is asserted but that clients who have everything are sent no resource.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.results import keep, option
from bench.scout import asked, everything
from bench.serving import Running, server
from bench.workers import Crowd, crowd, memory, processor
from bench.world import CLASS, Route, backend, gateway, replace, write

BACKENDS = 99
OTHERS = 20
_EVERY = 0.25


def save(folder: Path, edit: int) -> float:
    """Edit the route of the others by rename: when."""
    return replace(folder / "others.yaml", "---\n".join(documents("others", 0, 9, edit)))


def documents(gateway: str, number: int, port: int, edit: int) -> tuple[str, str]:
    """A route of a gateway, and its backend."""
    name = f"{gateway}-{number}"
    headers = {"x-edit": f"edit-{edit}-"}
    return backend(name, port), Route(name, gateway, name, f"host-{number}.example.com", "/", headers).text()


def write_world(folder: Path) -> None:
    """Both gateways."""
    gateways = gateway("storm", {"http": 8081}), gateway("others", {"http": 8082})
    write(folder / "gateways.yaml", [CLASS, *gateways])
    write(folder / "routes.yaml", (text for one in range(BACKENDS) for text in documents("storm", one, 1000 + one, 0)))
    save(folder, 0)


@contextmanager
def edits(folder: Path, saved: dict[int, float]) -> Iterator[None]:
    """Edit again and again; when each was saved."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(_EVERY):
            saved[len(saved) + 1] = save(folder, len(saved) + 1)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def delays(saved: Mapping[int, float], others: Crowd, first: int) -> list[float]:
    """For each edit from the first on, and each of the others, the seconds until it had that or a later one."""
    found, seen_by = [], others.workers[0].ask({"do": "marks"})["marks"]
    while any(not marks or marks[-1][0] < max(saved) for marks in seen_by):
        time.sleep(0.1)
        seen_by = others.workers[0].ask({"do": "marks"})["marks"]
    for marks in seen_by:
        for edit, began in saved.items():
            if edit >= first:
                found.append(next(moment for seen, moment in marks if seen >= edit) - began)
    return found


@dataclass(frozen=True)
class Storm:
    """Seconds until all are served, of the server's processor, and of its busiest process; growth of memory in MiB at its peak;
    what was sent."""

    seconds: float
    processor: float
    busiest: float
    memory: float
    sent: int


def storm(running: Running, clients: Crowd, count: int, words: list[bytes], brought: int) -> Storm:
    """All connect."""
    for pid in running.pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")  # the peak counts from here
    before, used, began = sum(map(memory, running.pids)), [processor(one) for one in running.pids], time.monotonic()
    clients.connect(count, words, "default/storm")
    said = clients.until(brought=brought, removed=1)
    seconds = max(float(one["last"]) for one in said) - began
    spent = [processor(one) - was for one, was in zip(running.pids, used, strict=True)]
    grown = (sum(memory(pid, "VmHWM") for pid in running.pids) - before) / 1024
    return Storm(seconds, sum(spent), max(spent), grown, sum(int(one["brought"]) for one in said))


def until_alone(running: Running) -> None:
    """Return when only the others are connected."""
    while f'cellway_streams{{protocol="delta"}} {OTHERS:.1f}' not in _metrics(running):
        time.sleep(0.2)


def _metrics(running: Running) -> str:
    return httpx.get(f"http://127.0.0.1:{running.admin}/metrics", timeout=60).text


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.reconnects", description=__doc__)
    parser.add_argument("--clients", type=int, default=2_000)
    parser.add_argument("--workers", type=int, default=1, help="processes that serve")
    option(parser)
    chosen = parser.parse_args()
    count = chosen.clients
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        folder = Path(name)
        write_world(folder)
        with (
            server(folder, chosen.workers) as running,
            crowd(f"127.0.0.1:{running.port}") as clients,
            crowd(f"127.0.0.1:{running.port}", 1) as others,
        ):
            others.connect(OTHERS, [asked({})[-1]], "default/others", "other")
            others.until(1)
            have = everything(f"127.0.0.1:{running.port}", "default/storm")
            number = sum(map(len, have.values()))
            print(f"{count:,} clients at the same time, {number} resources; the others are {OTHERS} streams")
            head = f"{'they have':<12}{'sent':>10}{'all served, s':>16}{'processor, s':>14}{'busiest':>10}{'memory, MiB':>14}"
            print(f"{head}{'others p50, ms':>17}{'p99':>8}")
            saved: dict[int, float] = {}
            for words, initial, brought in (("nothing", {}, number), ("everything", have, 0)):
                until_alone(running)
                first = len(saved) + 1
                with edits(folder, saved):
                    found = storm(running, clients, count, asked(initial), brought)
                    time.sleep(1)
                late = delays(saved, others, first)
                p99 = statistics.quantiles(late, n=100, method="inclusive")[98] * 1e3
                half = statistics.median(late) * 1e3
                print(
                    f"{words:<12}{found.sent:>10,}{found.seconds:>16.1f}{found.processor:>14.1f}{found.busiest:>10.1f}"
                    f"{found.memory:>14.0f}{half:>17.0f}{p99:>8.0f}",
                    flush=True,
                )
                figures = {
                    "sent": found.sent,
                    "served_s": found.seconds,
                    "processor_s": found.processor,
                    "busiest_s": found.busiest,
                    "memory_mib": found.memory,
                    "others_p50_ms": half,
                    "others_p99_ms": p99,
                }
                keep(chosen.keep, "reconnects", {"clients": count, "have": words, "workers": chosen.workers}, figures)
                if found.sent != brought * count:
                    raise RuntimeError(f"{brought * count} resources were to be sent")
                clients.close()


if __name__ == "__main__":
    main()
