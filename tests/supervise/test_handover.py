"""One Envoy takes over from another: what happens when it cannot."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.running import Block, reserve_block
from xds_server.graph import Process
from xds_server.supervise import handover
from xds_server.supervise.bootstrap import Address, Bootstrap
from xds_server.supervise.command import Launch, Seat, shared_memory
from xds_server.supervise.envoys import Envoys
from xds_server.supervise.handover import can_hand_over, hand_over
from xds_server.supervise.process import Envoy, is_settled, start_envoy, stop_envoy
from xds_server.supervise.records import StateFolder

BINARY = Path(os.environ.get("CELLWAY_ENVOY") or Path(__file__).parents[2] / ".envoy" / "bin" / "envoy").resolve()
STATIC = """
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  listeners:
  - name: only
    address: {socket_address: {address: ADDRESS, port_value: 8080}}
    filter_chains:
    - filters:
      - name: echo
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}
"""


@pytest.fixture
def block() -> Iterator[Block]:
    block = reserve_block()
    yield block
    block.release()


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateFolder]:
    state = StateFolder(tmp_path / "state")
    yield state
    state.close()


def echoes(address: str) -> bool:
    """Whether somebody listens there and sends everything back."""
    with socket.create_connection((address, 8080), timeout=10) as connection:
        connection.sendall(b"x")
        return connection.recv(1) == b"x"


async def started(launch: Launch, state: StateFolder) -> Envoy:
    envoy = start_envoy(BINARY, state.gateway(launch.gateway), Seat("").anew(alone=False), launch)
    while not await is_settled(envoy.admin):
        assert envoy.alive, envoy.why()
    state.record(envoy.record)
    return envoy


async def test_one_that_does_not_come_leaves_the_other_and_the_turn(
    block: Block, state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = block.address(1)
    launch = Launch("default/edge", "here", STATIC.replace("ADDRESS", address), Process(drain=1.0, quiet=0.0))
    old = await started(launch, state)
    try:
        assert can_hand_over(old, BINARY)
        unread = await hand_over(old, BINARY, replace(launch, bootstrap="admin: {nothing: 1}"), state)
        assert isinstance(unread, str)
        assert "nothing" in unread
        monkeypatch.setattr(handover, "_COMING", 1.0)
        waits = Bootstrap("default/edge", "here", Address("127.0.0.1", 1)).text()
        late = await hand_over(old, BINARY, replace(launch, bootstrap=waits), state)
        assert isinstance(late, str)
        assert old.alive
        assert echoes(address)
        assert state.records() == {"default/edge": old.record}
        assert state.formers() == ()

        monkeypatch.undo()
        new = await hand_over(old, BINARY, replace(launch, process=Process(drain=1.0, quiet=0.0, level="error")), state)
        assert isinstance(new, Envoy), new
        assert echoes(address)
        assert state.records() == {"default/edge": new.record}
        await old.ended()
        assert echoes(address)
        await stop_envoy(new, 0)
    finally:
        await stop_envoy(old, 0)
        shared_memory(old.home, old.seat.family).unlink(missing_ok=True)


async def test_one_that_dies_after_its_turn_leaves_nobody(
    block: Block, state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = Launch("default/edge", "here", STATIC.replace("ADDRESS", block.address(1)), Process(drain=30.0))
    old = await started(launch, state)

    async def dies(admin: str) -> bool:
        if await is_settled(admin):
            (pid,) = [record.pid for record in state.records().values()]
            os.kill(pid, signal.SIGKILL)
        return False

    monkeypatch.setattr(handover, "is_settled", dies)
    try:
        assert isinstance(await hand_over(old, BINARY, replace(launch, process=Process(level="error")), state), str)
        assert not old.alive, "it listens no longer, so another has to be started"
    finally:
        await stop_envoy(old, 0)
        shared_memory(old.home, old.seat.family).unlink(missing_ok=True)


async def test_a_server_that_was_killed_on_the_way_finds_who_still_serves(block: Block, state: StateFolder) -> None:
    launch = Launch("default/edge", "here", STATIC.replace("ADDRESS", block.address(1)), Process())
    old = await started(launch, state)
    try:
        state.remember_former(old.record)
        state.record(replace(old.record, pid=2**22 + 1))  # the new one, which did not live to serve
        later = Envoys(BINARY, state, Address("127.0.0.1", 1), "here", lambda _: "")
        assert (later._found, later._formers) == ({"default/edge": old.record}, {})
        state.record(old.record)
        state.remember_former(replace(old.record, pid=2**22 + 1))
        assert state.formers() == (old.record,)
        state.forget_former(old.record)
        assert not list(old.home.glob("former-*"))
    finally:
        await stop_envoy(old, 0)
        shared_memory(old.home, old.seat.family).unlink(missing_ok=True)
