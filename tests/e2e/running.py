"""`cellway run` as a process of its own, on addresses that no other test uses."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.upstream import Upstream

ENVOY = Path(__file__).parents[2] / ".envoy" / "bin" / "envoy"


def ask_envoy(place: object, path: str, timeout: float = 30) -> httpx.Response:
    """A GET on an Envoy's admin interface, which is the path of a socket, or HOST:PORT."""
    socket_file = Path(str(place))
    if not socket_file.is_absolute():
        return httpx.get(f"http://{place}{path}", timeout=timeout)
    folder = os.open(socket_file.parent, os.O_PATH)  # an address has room for 107 bytes
    try:
        way = httpx.HTTPTransport(uds=f"/proc/self/fd/{folder}/{socket_file.name}")
        with httpx.Client(transport=way, timeout=timeout) as client:
            return client.get(f"http://envoy{path}")
    finally:
        os.close(folder)


@dataclass
class Block:
    """254 loopback addresses that belong to one test: `block.address(7)` is 127.A.B.7."""

    prefix: str
    _lock: socket.socket

    def address(self, number: int) -> str:
        """One of the addresses, 1 to 250."""
        return f"{self.prefix}.{number}"

    def release(self) -> None:
        """Let others have the block."""
        self._lock.close()


def reserve_block() -> Block:
    """A block that no other process holds: holding one means to be bound to its address 254."""
    start = os.getpid() * 131 + int(time.monotonic() * 1000)
    for step in range(20_000):
        second, third = divmod((start + step * 7) % (200 * 250), 250)
        prefix = f"127.{20 + second}.{third + 1}"
        lock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            lock.bind((f"{prefix}.254", 9))
        except OSError:
            lock.close()
            continue
        return Block(prefix, lock)
    raise RuntimeError("no free block of loopback addresses")


@dataclass
class Cellway:
    """A policy folder, and the server and Envoys that run on it. `module` is what is run, with `environment` more."""

    folder: Path
    state: Path
    block: Block
    arguments: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    upstreams: list[Upstream] = field(default_factory=list)
    module: str = "xds_server.cli.main"
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def admin(self) -> str:
        """The admin API's base URL."""
        return f"http://{self.block.address(250)}:19001"

    def write(self, name: str, text: str) -> Path:
        """Write a policy file by atomic rename, as careful editors do. `ADDR` in the text is the block's prefix."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_text(text.replace("ADDR", self.block.prefix), encoding="utf-8")
        fresh.replace(path)
        return path

    def upstream(self, number: int, port: int = 3000, name: str = "") -> Upstream:
        """Start a server on the block's address of this number."""
        server = Upstream(name or f"up{number}", self.block.address(number), port)
        server.start()
        self.upstreams.append(server)
        return server

    def start(self, *, wait: bool = True) -> None:
        """Run, and return when everything on disk is in force."""
        command = [sys.executable, "-m", self.module, "run", str(self.folder)]
        command += ["--admin", f"{self.block.address(250)}:19001", "--xds", f"{self.block.address(250)}:18000"]
        command += ["--state-dir", str(self.state), *self.arguments]
        log = (self.state.parent / "cellway.log").open("ab")
        environment = {"CELLWAY_ENVOY": str(ENVOY), **os.environ, **self.environment}
        self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder.parent, env=environment)
        log.close()
        if wait:
            self.until_up()
            self.wait()

    def until_up(self, timeout: float = 60) -> None:
        """Return when the admin API answers."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{self.admin}/livez", timeout=2).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            if self.process is not None and self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"cellway does not answer:\n{self.log()}")

    def wait(self, timeout: float = 60) -> None:
        """Return when everything that is on disk now is acknowledged by every Envoy."""
        answer = httpx.get(f"{self.admin}/api/v1/wait", params={"timeout": f"{timeout:g}s"}, timeout=timeout + 5)
        assert answer.status_code == 200, f"{answer.text}\n{self.log()}"

    def api(self, path: str) -> Any:
        """A GET on the admin API, as JSON."""
        answer = httpx.get(f"{self.admin}/api/v1/{path}", timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def object(self, kind: str, name: str) -> dict[str, Any]:
        """One object with its status, as the admin API shows it."""
        found = [
            item for item in _items(self.api("objects")) if item["kind"] == kind and item["metadata"]["name"] == name
        ]
        assert found, f"no {kind} {name}"
        return found[0]

    def odd_machine(self) -> Path:
        """From the next start on, run on a machine whose clock and disk are what the files of this folder say."""
        folder = self.state.with_name("machine")
        folder.mkdir(exist_ok=True)
        self.module = "tests.faults.machine"
        self.environment = {"MACHINE": str(folder), "PYTHONPATH": str(Path(__file__).parents[2])}
        return folder

    def log(self) -> str:
        """What the server printed."""
        return (self.state.parent / "cellway.log").read_text(encoding="utf-8", errors="replace")[-8000:]

    def kill(self) -> None:
        """kill -9 of the server alone; its Envoys live on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        self.process = None

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        self.process = None
        return code

    def close(self) -> None:
        """End everything that this test started."""
        if self.process is not None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
        for server in self.upstreams:
            server.stop()
        # Envoys outlive a killed server on purpose; a test that killed it ends them here by their state folder.
        subprocess.run(["pkill", "-KILL", "-f", str(self.state)], check=False)
        self.block.release()


def _items(answer: Any) -> list[dict[str, Any]]:
    return list(answer["items"] if isinstance(answer, dict) else answer)
