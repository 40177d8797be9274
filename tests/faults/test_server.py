"""What can go wrong around the server while an Envoy serves 200 requests a second: none of them may fail.

One server and its Envoy for all of it. A fault begins, an edit is made where one can be, the fault ends, and what was
edited counts.
"""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.load import Load
from tests.e2e.running import Cellway
from tests.e2e.test_live import get, load, prepare, route

GUARD = """
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {someone: the-key}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: guard}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: other}]
  apiKeyAuth: {credentialRefs: [{name: keys}], extractFrom: [{headers: [x-api-key]}]}
"""
MORE = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: more}
spec:
  addresses: [{type: IPAddress, value: ADDR.2}]
  listeners: [{name: http, protocol: HTTP, port: 8080}]
"""


@pytest.fixture(scope="module")
def server(shared: Callable[..., Cellway]) -> Cellway:
    cellway = shared()
    cellway.odd_machine()
    prepare(cellway)
    cellway.write("guard.yaml", GUARD)
    cellway.start()
    return cellway


@pytest.fixture
def steady(server: Cellway) -> Iterator[Load]:
    """Requests before, during and after a fault."""
    if server.process is None:
        server.start()
    with load(server) as requests:
        until(lambda: requests.total > 20)
        yield requests
        seen = requests.total
        until(lambda: requests.total > seen + 20)
    assert requests.failures() == {}


def until(check: Callable[[], bool], timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while not check():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.02)


def edited(server: Cellway, value: str) -> None:
    """Edit the route, and see the edit in an answer."""
    server.write("routes/web.yaml", route("web", value))
    server.wait()
    assert get(server, "web.example").headers["x-edit"] == value


def pid_of(server: Cellway) -> int:
    assert server.process is not None
    return server.process.pid


def in_force(server: Cellway) -> str:
    return (server.state / "in-force" / "in-force.json").read_text(encoding="utf-8")


def digest(server: Cellway, name: str) -> str:
    return hashlib.sha256((server.folder / name).read_bytes()).hexdigest()


def alarm(server: Cellway) -> str:
    return httpx.get(f"{server.admin}/api/v1/wait", params={"timeout": "100ms"}, timeout=30).text


def test_a_restart_with_broken_files_serves_what_was_in_force(server: Cellway, steady: Load) -> None:
    edited(server, "before")
    until(lambda: "guard.yaml" in in_force(server))
    server.kill()
    server.write("routes/web.yaml", "rules: [")
    server.write("guard.yaml", "spec: {")
    server.start()
    assert get(server, "web.example").headers["x-edit"] == "before"
    assert get(server, "other.example").status_code == 401, "a guard that cannot be read any more still guards"
    assert "guard.yaml:" in str(server.api("diagnostics"))
    server.write("guard.yaml", GUARD)
    edited(server, "after")
    assert steady.failures() == {}


def test_a_restart_without_its_folder_serves_what_was_in_force(server: Cellway, steady: Load) -> None:
    edited(server, "before")
    until(lambda: "guard.yaml" in in_force(server))
    server.kill()
    away = server.folder.with_name("away")
    shutil.move(server.folder, away)
    server.start(wait=False)
    server.until_up()
    until(lambda: "what was in force when the server ended is served" in alarm(server))
    assert httpx.get(f"{server.admin}/readyz", timeout=30).status_code == 200
    assert get(server, "other.example").status_code == 401
    shutil.move(away, server.folder)
    edited(server, "after")
    assert steady.failures() == {}


def test_a_full_disk_holds_up_no_edit(server: Cellway, steady: Load) -> None:
    edited(server, "before")
    pid, limits = pid_of(server), resource.prlimit(pid_of(server), resource.RLIMIT_FSIZE)
    stored = in_force(server)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, limits[1]))
    edited(server, "on a full disk")
    time.sleep(0.2)
    kept = in_force(server)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
    until(lambda: in_force(server) not in (stored, kept))
    assert pid_of(server) == pid
    edited(server, "after")
    assert steady.failures() == {}


def test_a_slow_disk_holds_up_neither_an_edit_nor_a_new_envoy(server: Cellway, steady: Load) -> None:
    edited(server, "before")
    until(lambda: digest(server, "routes/web.yaml") in in_force(server))
    stored, slow = in_force(server), Path(server.environment["MACHINE"]) / "slow"
    slow.touch()
    edited(server, "while nothing gets to the disk")
    server.write("more.yaml", MORE)
    server.wait()
    edited(server, "and once more")
    assert in_force(server) == stored
    slow.unlink()
    until(lambda: digest(server, "routes/web.yaml") in in_force(server))
    (server.folder / "more.yaml").unlink()
    edited(server, "after")
    assert steady.failures() == {}


def test_without_descriptors_it_waits_and_goes_on(server: Cellway, steady: Load) -> None:
    edited(server, "before")
    pid, limits = pid_of(server), resource.prlimit(pid_of(server), resource.RLIMIT_NOFILE)
    highest = max(int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir())
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
    server.write("routes/web.yaml", route("web", "while there are none"))
    time.sleep(1)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    until(lambda: get(server, "web.example").headers["x-edit"] == "while there are none")
    edited(server, "after")
    assert pid_of(server) == pid
    assert steady.failures() == {}


def test_a_stopped_server_is_not_missed(server: Cellway, steady: Load) -> None:
    edited(server, "before")
    os.kill(pid_of(server), signal.SIGSTOP)
    server.write("routes/web.yaml", route("web", "while it stands still"))
    time.sleep(1)
    os.kill(pid_of(server), signal.SIGCONT)
    until(lambda: get(server, "web.example").headers["x-edit"] == "while it stands still")
    assert steady.failures() == {}
