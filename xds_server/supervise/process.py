"""One local Envoy process: start, look, drain, stop.

In: a binary, a gateway's folder and its bootstrap. Out: a process in a session of its own, so that neither the end
of the server nor a Ctrl-C in its terminal reaches it. Whether it was started by this server or by one before makes
no difference afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import structlog

from xds_server.files import write_file
from xds_server.supervise.records import Record, digest_of, start_time

_LOG = structlog.get_logger("cellway.envoy")
_POLL = 0.1
_SETTLED = {
    "cluster_manager.warming_clusters": "0",
    "listener_manager.total_listeners_warming": "0",
    "listener_manager.workers_started": "1",
}
_OPTIONS = (
    "--disable-hot-restart",
    *("--concurrency", "1"),
    *("--log-level", "warning"),
    # What a removed or changed listener, and a stopping Envoy, gives to requests that are under way.
    *("--drain-time-s", "15"),
    *("--drain-strategy", "immediate"),
)


@dataclass(slots=True)
class Envoy:
    """A running Envoy. `child` is there if this server started it."""

    record: Record
    folder: Path
    child: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def admin(self) -> str:
        """`HOST:PORT` of its admin interface; empty as long as it has not said."""
        try:
            return (self.folder / "admin-address").read_text(encoding="utf-8").strip()
        except OSError:
            return ""

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
        code = self.child.returncode if self.child is not None else None
        how = "" if code is None else f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        return ": ".join(part for part in (how, _last_line(self.folder / "envoy.log")) if part)


def command_of(binary: Path, folder: Path) -> list[str]:
    """The command line of a gateway's Envoy."""
    return [
        *(str(binary), "--config-path", str(folder / "bootstrap.yaml")),
        *("--admin-address-path", str(folder / "admin-address")),
        *("--log-path", str(folder / "envoy.log")),
        *_OPTIONS,
    ]


def digest_of_command(binary: Path, folder: Path, bootstrap: str) -> str:
    """A hash of all that decides how this Envoy runs: a running one with another hash is replaced."""
    return digest_of(bootstrap, *command_of(binary, folder))


def start_envoy(binary: Path, folder: Path, gateway: str, node_id: str, bootstrap: str) -> Envoy:
    """Start an Envoy. OSError if the binary cannot be run; a bootstrap that it refuses shows in how it ends."""
    write_file(folder / "bootstrap.yaml", bootstrap)
    (folder / "admin-address").unlink(missing_ok=True)
    command = command_of(binary, folder)
    log = os.open(folder / "envoy.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        child = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=folder
        )
    finally:
        os.close(log)
    record = Record(gateway, node_id, child.pid, start_time(child.pid) or 0, digest_of(bootstrap, *command))
    return Envoy(record, folder, child)


async def stop_envoy(envoy: Envoy, drain: float) -> None:
    """Let requests under way end, at most `drain` seconds, then end the process; it is gone afterwards."""
    if envoy.alive and drain > 0:
        await _drain(envoy, drain)
    for number, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        if not envoy.alive:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(envoy.record.pid, number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(envoy.ended(), patience)
    if envoy.alive:
        _LOG.error("this Envoy does not end", gateway=envoy.record.gateway, pid=envoy.record.pid)


async def _drain(envoy: Envoy, patience: float) -> None:
    """Ask clients to go elsewhere and wait until no request, or better no connection, is left."""
    loop = asyncio.get_running_loop()
    end, quiet = loop.time() + patience, loop.time() + min(1.0, patience)
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
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=patience)
    try:
        connection.request(method, path)
        return connection.getresponse().read().decode("utf-8", errors="replace")
    finally:
        connection.close()


def _last_line(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return lines[-1][-500:] if lines else ""
