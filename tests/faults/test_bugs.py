"""Bugs of our own: they end nothing, or they end the process."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from xds_server import app
from xds_server.app import Server
from xds_server.compile import Options
from xds_server.listening import XdsSettings
from xds_server.settings import Clocks, Settings, Told
from xds_server.supervise.bootstrap import Address

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: NAME}
spec: {listeners: [{name: http, protocol: HTTP, port: 8080}]}
"""
STUCK = """
import asyncio, time
from xds_server.watchdog import watch_loop
async def main():
    watching = asyncio.create_task(watch_loop(1.0))
    await asyncio.sleep(2.5)
    print("lives", flush=True)
    time.sleep(60)
asyncio.run(main())
"""


async def test_a_bug_in_compiling_leaves_in_force_what_was_and_heals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one.yaml").write_text(GATEWAY.replace("NAME", "one"))
    here = Address("127.0.0.1", 0)
    server = Server(
        Settings((tmp_path,), here, XdsSettings(here, insecure=True), Options()),
        Clocks(time.time, time.monotonic),
        Told(),
    )
    await server.reload()
    (tmp_path / "two.yaml").write_text(GATEWAY.replace("NAME", "two"))

    def broken(*_: Any, **__: Any) -> Any:
        raise KeyError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr(app, "reload", broken)
        await server.reload()
        assert "a bug" in await server.in_force(0.1)
        assert server.not_ready() == ""
        assert [one["metadata"]["name"] for one in await server.objects(derived=False)] == ["one"]
    assert await server.in_force(30) == ""
    assert [one["metadata"]["name"] for one in await server.objects(derived=False)] == ["one", "two"]


def test_a_server_that_stands_still_ends_and_says_where() -> None:
    ended = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, check=False, timeout=50)
    assert (ended.stdout, ended.returncode) == ("lives\n", 1)
    assert "in main" in ended.stderr
