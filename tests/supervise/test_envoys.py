"""Local Envoys as real processes: started, found again, restarted, replaced, drained."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from xds_server.graph import Process
from xds_server.supervise.bootstrap import Address
from xds_server.supervise.envoys import Envoys, LocalEnvoy
from xds_server.supervise.process import ask_admin
from xds_server.supervise.records import StateFolder, StateInUseError, start_time

BINARY = Path(os.environ.get("CELLWAY_ENVOY") or Path(__file__).parents[2] / ".envoy" / "bin" / "envoy").resolve()
NOWHERE = Address("127.0.0.1", 1)


def usual(names: Iterable[str]) -> dict[str, Process | None]:
    """These gateways, with nothing said about how their Envoys run."""
    return dict.fromkeys(names, Process())


@pytest_asyncio.fixture
async def supervise(tmp_path: Path) -> AsyncIterator[Callable[..., Envoys]]:
    """Makes supervisors on one state folder, as a server and its successors do."""
    state: StateFolder | None = None
    last: Envoys | None = None

    def make(xds: Address = NOWHERE) -> Envoys:
        nonlocal state, last
        if state is not None:
            state.close()
        state = StateFolder(tmp_path / "state")
        last = Envoys(BINARY, state, xds, "here", lambda _: "")
        return last

    yield make
    if last is not None and state is not None:
        await last.close(0)
        state.close()


async def until(envoys: Envoys, count: int, *, beside: int = 0) -> tuple[LocalEnvoy, ...]:
    """So many Envoys that tell their admin address, none of which has the id `beside`."""
    async with asyncio.timeout(60):
        while True:
            running = envoys.running
            if len(running) == count and all(one.admin and one.pid != beside for one in running):
                return running
            await asyncio.sleep(0.02)


async def forget(envoys: Envoys) -> None:
    """What kill -9 of the server does to its supervisor: nothing is told to any Envoy."""
    mine = [task for task in asyncio.all_tasks() if task.get_name().startswith("envoy of ")]
    for envoy in envoys._running.values():
        if envoy.child is not None:
            envoy.child.returncode = 0  # a dead server's children are not its children any more
    for task in mine:
        task.cancel()
    if mine:
        await asyncio.wait(mine)


async def test_names_of_gateways_may_be_as_long_as_gateway_api_lets_them(supervise: Callable[..., Envoys]) -> None:
    names = [f"{'n' * 63}/{'g' * 252}{last}" for last in "ab"]
    envoys = supervise()
    envoys.apply(usual(names), 0)
    running = await until(envoys, 2)
    assert [one.gateway for one in running] == names
    await forget(envoys)
    after = supervise()
    after.apply(usual(names), 0)
    assert [(one.gateway, one.pid) for one in await until(after, 2)] == [(one.gateway, one.pid) for one in running]


async def test_one_envoy_for_each_gateway(supervise: Callable[..., Envoys]) -> None:
    envoys = supervise()
    envoys.apply(usual(["default/edge", "shop/west"]), 0)
    running = await until(envoys, 2)
    assert [one.gateway for one in running] == ["default/edge", "shop/west"]
    assert running[0].node_id == "here/default/edge"
    told = await ask_admin(running[0].admin, "GET", "/server_info")
    assert '"cluster": "default/edge"' in told
    assert '"ignore_unknown_dynamic_fields": true' in told
    envoys.apply(usual(["shop/west"]), 0)
    assert (await until(envoys, 1))[0].pid == running[1].pid


async def test_a_dead_envoy_is_started_again(supervise: Callable[..., Envoys]) -> None:
    envoys = supervise()
    envoys.apply(usual(["default/edge"]), 0)
    (first,) = await until(envoys, 1)
    os.kill(first.pid, signal.SIGKILL)
    await until(envoys, 1, beside=first.pid)


async def test_a_later_server_keeps_what_runs(supervise: Callable[..., Envoys]) -> None:
    envoys = supervise()
    envoys.apply(usual(["default/edge", "default/gone"]), 0)
    before = await until(envoys, 2)
    await forget(envoys)
    envoys = supervise()
    envoys.apply(usual(["default/edge"]), 0)
    (kept,) = await until(envoys, 1)
    assert kept == before[0]
    async with asyncio.timeout(10):
        while start_time(before[1].pid) is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_an_envoy_with_another_bootstrap_is_replaced(supervise: Callable[..., Envoys]) -> None:
    envoys = supervise()
    envoys.apply(usual(["default/edge"]), 0)
    (first,) = await until(envoys, 1)
    await forget(envoys)
    envoys = supervise(Address("127.0.0.1", 2))
    envoys.apply(usual(["default/edge"]), 0)
    await until(envoys, 1, beside=first.pid)
    assert start_time(first.pid) is None


async def test_a_gateway_that_comes_back_at_once_gets_a_new_envoy(supervise: Callable[..., Envoys]) -> None:
    envoys = supervise()
    envoys.apply(usual(["default/edge"]), 0)
    (first,) = await until(envoys, 1)
    envoys.apply(usual([]), 0)
    envoys.apply(usual(["default/edge"]), 0)
    await until(envoys, 1, beside=first.pid)
    assert start_time(first.pid) is None


async def test_another_process_with_a_remembered_id_is_left_alone(
    supervise: Callable[..., Envoys], tmp_path: Path
) -> None:
    folder = tmp_path / "state" / "gateways" / "default%2Fedge"
    folder.mkdir(parents=True)
    record = {"gateway": "default/edge", "node_id": "n", "pid": os.getpid(), "start_time": 1, "digest": ""}
    for start in (1, start_time(os.getpid())):
        (folder / "envoy.json").write_text(str(record | {"start_time": start}).replace("'", '"'), encoding="utf-8")
        assert supervise()._found == {}
    (folder / "envoy.json").write_text("{", encoding="utf-8")
    assert supervise()._found == {}


async def test_nothing_is_readable_for_others(supervise: Callable[..., Envoys], tmp_path: Path) -> None:
    envoys = supervise()
    envoys.apply(usual(["default/edge"]), 0)
    await until(envoys, 1)
    state = tmp_path / "state"
    own = [path for path in (state, *state.rglob("*")) if path.name not in ("admin-address", "envoy.log")]
    assert [path for path in own if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


def test_a_state_folder_has_one_owner(tmp_path: Path) -> None:
    first = StateFolder(tmp_path / "state")
    with pytest.raises(StateInUseError):
        StateFolder(tmp_path / "state")
    first.close()
    StateFolder(tmp_path / "state").close()


async def test_an_envoy_that_nobody_can_look_after_is_told_of(
    supervise: Callable[..., Envoys], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no bootstrap")

    monkeypatch.setattr(Envoys, "_bootstrap", broken)
    with capture_logs() as said:
        supervise().apply(usual(["default/edge"]), 0)
        (keeper,) = (task for task in asyncio.all_tasks() if task.get_name() == "envoy of default/edge")
        await asyncio.wait([keeper])
        await asyncio.sleep(0)  # callbacks come after those who wait
    (line,) = said
    assert (line["event"], str(line["exc_info"])) == ("an Envoy is not looked after any more", "no bootstrap")
