"""One local Envoy process: start, look, drain, stop.

In: a binary, a gateway's folder, a seat in it and what is to run there. Out: a process in a session of its own, so that
neither the end of the server nor a Ctrl-C in its terminal reaches it. Whether it was started by this server or by one
before makes no difference afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import structlog

from xds_server.files import write_file
from xds_server.graph import Process
from xds_server.serve.tokens import without_words
from xds_server.supervise.command import SHELL, Launch, Seat, command_of, handover_version
from xds_server.supervise.records import Record, start_time

_LOG = structlog.get_logger("cellway.envoy")
ADMIN = "admin.sock"
"""The socket of an Envoy's admin interface in its gateway's folder: that of the newest one, which takes it over."""
_POLL = 0.1
_PATIENCE = 5.0
_KILLED = 128
_USUAL = Process()
_SETTLED = {
    "cluster_manager.warming_clusters": "0",
    "listener_manager.total_listeners_warming": "0",
    "listener_manager.workers_started": "1",
}


@dataclass(slots=True)
class Envoy:
    """A running Envoy. `home` is its gateway's folder. `child`, which ends with it, is there if this server started it."""

    record: Record
    home: Path
    child: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def folder(self) -> Path:
        """The files of this process alone."""
        return self.home / self.record.run

    @property
    def seat(self) -> Seat:
        """Where it sits."""
        return Seat(self.record.run, self.record.family, self.record.epoch)

    @property
    def admin(self) -> str:
        """Where its admin interface is: a path, or `HOST:PORT`; empty as long as it has not said."""
        try:
            said = (self.folder / "admin-address").read_text(encoding="utf-8").strip()
        except OSError:
            return ""
        return str(self.home / ADMIN) if said == ADMIN else said

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        if self.child is not None:
            return self.child.poll() is None
        return start_time(self.record.pid) == self.record.start_time

    async def ended(self) -> None:
        """Return when the process has ended."""
        while self.alive:  # noqa: ASYNC110 (the kernel tells nobody but the parent, which may be long gone)
            await asyncio.sleep(_POLL)

    def why(self) -> str:
        """How it ended: a signal or exit code where that is known, and the last line of its log."""
        code = None
        if self.child is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self.child.wait(_POLL)
        how = (
            ""
            if code is None
            else f"killed by signal {abs(code) % _KILLED}"
            if code < 0 or code > _KILLED
            else f"exit code {code}"
        )
        return ": ".join(part for part in (how, _last_line(self.folder / "envoy.log")) if part)


def start_envoy(binary: Path, home: Path, seat: Seat, launch: Launch) -> Envoy:
    """Start an Envoy. OSError if the binary cannot be run; a bootstrap that it refuses shows in how it ends."""
    folder = home / seat.run
    folder.mkdir(mode=0o700, exist_ok=True)
    write_file(folder / "bootstrap.yaml", launch.bootstrap, lasting=False)
    (folder / "admin-address").unlink(missing_ok=True)
    command = command_of(binary, home, seat, launch)
    log = os.open(folder / "envoy.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    try:
        child, pid = _spawn(command, log, home, alone=seat.family < 0)
    finally:
        os.close(log)
    version = handover_version(binary) if seat.family >= 0 else ""
    begun, digest = start_time(pid) or 0, launch.digest(binary)
    record = Record(launch.gateway, launch.node_id, pid, begun, digest, seat.run, seat.family, seat.epoch, version)
    return Envoy(record, home, child)


def _spawn(command: list[str], log: int, home: Path, *, alone: bool) -> tuple[subprocess.Popen[bytes], int]:
    """Start an Envoy: what is to be waited for, and the Envoy's id.

    An Envoy that can hand over asks the kernel to be ended with its parent. So its parent is not this server, whose end must
    not be theirs, but a shell that does nothing but wait for it.
    """
    if alone:
        child = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=home
        )
        return child, child.pid
    words = [str(SHELL), "-c", '"$@" >&2 & echo $!; exec >&-; wait $!', "cellway", *command]
    child = subprocess.Popen(  # noqa: S603
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True, cwd=home
    )
    assert child.stdout is not None
    with child.stdout as said:
        return child, int(said.readline())


async def stop_envoy(envoy: Envoy, drain: float, process: Process = _USUAL) -> None:
    """Let requests under way end, at most `drain` seconds, then end the process; it is gone afterwards."""
    if envoy.alive and drain > 0:
        await asyncio.sleep(min(process.delay, drain))
        await _drain(envoy, drain, process.quiet)
    await _signal(envoy, signal.SIGTERM)
    await kill_envoy(envoy)


async def kill_envoy(envoy: Envoy) -> None:
    """End the process at once; it is gone afterwards."""
    await _signal(envoy, signal.SIGKILL)
    if envoy.alive:
        _LOG.error("this Envoy does not end", gateway=envoy.record.gateway, pid=envoy.record.pid)


async def _signal(envoy: Envoy, number: signal.Signals) -> None:
    if envoy.alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(envoy.record.pid, number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(envoy.ended(), _PATIENCE)


async def _drain(envoy: Envoy, patience: float, least: float) -> None:
    """Ask clients to go elsewhere and wait until no request, or better no connection, is left."""
    loop = asyncio.get_running_loop()
    end, quiet = loop.time() + patience, loop.time() + min(least, patience)
    try:
        await ask_admin(envoy.admin, "POST", "/healthcheck/fail")
        await ask_admin(envoy.admin, "POST", "/drain_listeners?graceful")
        while loop.time() < end and envoy.alive:
            text = await ask_admin(envoy.admin, "GET", r"/stats?filter=^http\..*downstream_(cx|rq)_active$")
            counts = dict(_counts(text))
            if not any(counts.values()) or (loop.time() > quiet and not counts.get("rq")):
                return
            await asyncio.sleep(_POLL)
    except (OSError, ValueError, http.client.HTTPException):
        return  # it does not answer: there is nothing to be gentle with


def _counts(text: str) -> list[tuple[str, int]]:
    """How many connections (cx) and requests (rq) are active, the admin interface's own left out."""
    total = {"cx": 0, "rq": 0}
    for line in text.splitlines():
        name, _, value = line.partition(": ")
        if not name.startswith("http.admin.") and name.endswith("_active") and value.isdecimal():
            total[name.removesuffix("_active")[-2:]] += int(value)
    return list(total.items())


async def is_live(admin: str) -> bool:
    """Whether an Envoy says that it serves: it has had its first configuration."""
    try:
        state = json.loads(await ask_admin(admin, "GET", "/server_info")).get("state")
    except (OSError, ValueError, http.client.HTTPException):
        return False
    return bool(state == "LIVE")


async def is_settled(admin: str) -> bool:
    """Whether an Envoy listens and nothing is warming: what it acknowledged is what requests meet."""
    try:
        text = await ask_admin(admin, "GET", f"/stats?filter=^({'|'.join(_SETTLED)})$")
    except (OSError, ValueError, http.client.HTTPException):
        return False
    return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line) == _SETTLED


async def statistics_of(admin: str, pattern: str) -> str:
    """The statistics of an Envoy whose names fit a pattern, histograms with their buckets; empty if it does not answer."""
    try:
        return await ask_admin(admin, "GET", f"/stats?histogram_buckets=cumulative&filter={quote(pattern)}")
    except (OSError, ValueError, http.client.HTTPException):
        return ""


async def ask_admin(address: str, method: str, path: str, patience: float = 2.0) -> str:
    """The body of an Envoy admin interface's answer. OSError, HTTPException or ValueError if there is none."""
    return await asyncio.to_thread(_ask, address, method, path, patience)


def _ask(address: str, method: str, path: str, patience: float) -> str:
    host, _, port = address.rpartition(":")
    if address.startswith("/"):
        connection: http.client.HTTPConnection = _OverSocket(Path(address), patience)
    else:
        connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=patience)
    try:
        connection.request(method, path)
        return connection.getresponse().read().decode("utf-8", errors="replace")
    finally:
        connection.close()


class _OverSocket(http.client.HTTPConnection):
    """A connection to a Unix socket, however long its path is."""

    def __init__(self, path: Path, patience: float) -> None:
        super().__init__("envoy", timeout=patience)
        self._path = path

    def connect(self) -> None:
        """Connect by way of its folder, since an address has room for 107 bytes."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        folder = os.open(self._path.parent, os.O_PATH)
        try:
            self.sock.connect(f"/proc/self/fd/{folder}/{self._path.name}")
        finally:
            os.close(folder)


def _last_line(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return without_words(lines[-1])[-500:] if lines else ""
