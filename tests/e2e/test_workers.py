"""Several processes serve on one port, and nobody notices: not what counts, not the death of one.

In: `cellway run --workers 2` with two Envoys of one gateway, each of which another process serves. Out: failures where a
change, a refusal or a question reaches only one process, or the death of a process costs a request, or anything twice.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.running import ENVOY, Cellway, ask_envoy
from tests.e2e.test_live import get, load, prepare, route
from tests.e2e.test_serving import BUSY, command

_UPDATES = "/stats?filter=(cds|lds|rds.*|update)[.](update_success|update_rejected)|cluster.*update_success"
_CONNECTED = "/stats?filter=control_plane.connected_state"


@dataclass
class Second:
    """An Envoy that the server did not start, of the same gateway as the one that it did."""

    process: subprocess.Popen[bytes]
    admin: str


@dataclass
class Both:
    """A server with two processes that serve, and an Envoy on each."""

    cellway: Cellway
    second: Second

    def admins(self) -> list[object]:
        """Where the Envoys tell of themselves."""
        return [self.second.admin, *(one["admin"] for one in proxies(self.cellway) if one["admin"])]

    def updates(self) -> list[str]:
        """What each Envoy counts of what it was sent."""
        return [ask_envoy(one, _UPDATES).text for one in self.admins()]


def until(done: Callable[[], bool], said: Callable[[], object]) -> None:
    """Wait for something, not for ever."""
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline, said()
        time.sleep(0.05)


def proxies(cellway: Cellway) -> list[dict[str, Any]]:
    return list(cellway.api("proxies")["items"])


def processes(cellway: Cellway) -> list[dict[str, Any]]:
    return list(cellway.api("proxies")["processes"])


def start_second(cellway: Cellway, folder: Path) -> Second:
    """Which process a connection comes to is the kernel's choice: an Envoy is started until it is the other one."""
    admin, path = f"{cellway.block.address(251)}:19000", folder / "second.yaml"
    xds = f"{cellway.block.address(250)}:18000"
    state = ("--state-dir", str(cellway.state))
    printed = command("bootstrap", "default/edge", "--xds", xds, "--node-id", "second", "--admin", admin, *state)
    assert printed.returncode == 0, printed.stderr
    path.write_text(printed.stdout, encoding="utf-8")
    options = ["--use-dynamic-base-id", "--concurrency", "1", "--log-level", "error"]
    for _ in range(30):
        process = subprocess.Popen([str(ENVOY), "-c", str(path), *options])
        until(lambda: len(proxies(cellway)) == 2, cellway.log)
        if len({one["process"] for one in proxies(cellway)}) == 2:
            return Second(process, admin)
        process.kill()
        process.wait(20)
        until(lambda: len(proxies(cellway)) == 1, cellway.log)
    raise AssertionError("all connections come to one process")


@pytest.fixture(scope="module")
def both(shared: Callable[..., Cellway], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """A server with two processes that serve, and an Envoy on each."""
    cellway = shared("--workers", "2")
    prepare(cellway)
    cellway.start()
    made = Both(cellway, start_second(cellway, tmp_path_factory.mktemp("second")))
    cellway.wait()
    yield made
    made.second.process.terminate()
    made.second.process.wait(20)


def test_a_change_reaches_the_envoys_of_all_processes_and_every_question_counts_them(both: Both) -> None:
    cellway = both.cellway
    with load(cellway) as steady:
        for edit in range(5):
            cellway.write("routes/web.yaml", route("web", edit))
            cellway.wait()
            dumps = [ask_envoy(one, "/config_dump?resource=dynamic_route_configs").text for one in both.admins()]
            assert [f'"value": "{edit}"' in dump for dump in dumps] == [True, True]
    assert steady.failures() == {}
    shown = cellway.api("proxies")
    assert (shown["synced"], len(shown["items"]), sum(one["streams"] for one in shown["processes"])) == (True, 2, 2)
    status = command("status", "--admin", cellway.admin.removeprefix("http://"))
    assert status.returncode == 0, status.stdout
    metrics = httpx.get(f"{cellway.admin}/metrics", timeout=30).text
    assert 'cellway_proxies{gateway="default/edge",state="synced"} 2.0' in metrics
    assert 'cellway_streams{protocol="delta"} 2.0' in metrics
    assert "cellway_serving_processes 2.0" in metrics
    counted = {
        name: float(number)
        for name, _, number in (line.rpartition(" ") for line in metrics.splitlines()[1:])
        if name.startswith(("cellway_acks_total", "cellway_push_ack_seconds_count"))
    }
    assert counted['cellway_acks_total{type="RouteConfiguration"}'] >= 10, counted
    assert (
        counted['cellway_push_ack_seconds_count{type="RouteConfiguration"}']
        == counted['cellway_acks_total{type="RouteConfiguration"}']
    )


def test_a_process_that_is_killed_costs_no_request_and_nothing_is_sent_twice(both: Both) -> None:
    cellway = both.cellway
    before, starts = both.updates(), [one["starts"] for one in processes(cellway)]
    victim = next(one for one in proxies(cellway) if one["node"] == "second")["process"]
    with load(cellway) as steady:
        os.kill(processes(cellway)[victim - 1]["pid"], signal.SIGKILL)
        until(lambda: sum(one["starts"] for one in processes(cellway)) == sum(starts) + 1, cellway.log)
        until(lambda: all(one["pid"] and not one["problem"] for one in processes(cellway)), cellway.log)
        until(lambda: len(proxies(cellway)) == 2, cellway.log)
        cellway.wait()
        assert both.updates() == before
        cellway.write("routes/web.yaml", route("web", "healed"))
        cellway.wait()
        assert get(cellway, "web.example").headers["x-edit"] == "healed"
    assert steady.failures() == {}
    assert "is started anew" in cellway.log()
    metrics = httpx.get(f"{cellway.admin}/metrics", timeout=30).text
    assert f"cellway_serving_process_starts_total {sum(starts) + 1}.0" in metrics


def test_what_an_envoy_of_one_process_refuses_is_withdrawn_for_those_of_the_others(both: Both, tmp_path: Path) -> None:
    cellway = both.cellway
    both.second.process.terminate()
    both.second.process.wait(20)
    until(lambda: len(proxies(cellway)) == 1, cellway.log)
    gateway = (cellway.folder / "gateway.yaml").read_text(encoding="utf-8")
    with socket.create_server((cellway.block.address(1), 8081)), load(cellway) as steady:
        backends = gateway.split("---\n", 1)[1]
        cellway.write("gateway.yaml", f"{BUSY}---\n{backends}")
        answer = httpx.get(f"{cellway.admin}/api/v1/wait", params={"timeout": "20s"}, timeout=25)
        assert (answer.status_code, "gateway.yaml:2:1" in answer.text) == (504, True), answer.text
        both.second = start_second(cellway, tmp_path)
        until(lambda: "connected_state: 1" in ask_envoy(both.second.admin, _CONNECTED).text, cellway.log)
        cellway.write("routes/web.yaml", route("web", "still-live"))
        until(lambda: "still-live" in ask_envoy(both.second.admin, "/config_dump").text, cellway.log)
        told = ask_envoy(both.second.admin, "/stats?filter=lds.update_rejected|total_listeners_active").text
        assert "update_rejected: 0" in told, "it was never sent what the other one refused"
        status = command("status", "--admin", cellway.admin.removeprefix("http://"))
        assert (status.returncode, "gateway.yaml:2:1" in status.stdout) == (1, True), status.stdout
    assert steady.failures() == {}
    cellway.write("gateway.yaml", gateway)
    cellway.wait()
    assert {one["state"] for one in proxies(cellway)} == {"synced"}


def test_processes_end_with_their_server_and_at_its_order(cellway: Cellway) -> None:
    cellway.arguments = ("--workers", "2")
    prepare(cellway)
    cellway.start()
    pids = [one["pid"] for one in processes(cellway)]
    admin = proxies(cellway)[0]["admin"]
    before = ask_envoy(admin, _UPDATES).text
    with load(cellway) as steady:
        cellway.kill()
        until(lambda: not any(is_alive(one) for one in pids), lambda: pids)
        cellway.start()
        assert ask_envoy(admin, _UPDATES).text == before
        pids = [one["pid"] for one in processes(cellway)]
    assert steady.failures() == {}
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    until(lambda: ready(cellway) == 503, cellway.log)
    until(lambda: ready(cellway) == 200, cellway.log)
    pids = [one["pid"] for one in processes(cellway)]
    assert cellway.stop() == 0
    assert not any(is_alive(one) for one in pids)


def ready(cellway: Cellway) -> int:
    return httpx.get(f"{cellway.admin}/readyz", timeout=30).status_code


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return False
