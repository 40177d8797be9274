"""One local Envoy for each gateway: started, found again after a restart, started anew when it dies, replaced when it is
to run in another way, drained when its gateway goes.

In: the gateways there are and how their Envoys are run, as often as that changes. Out: running processes, and which they
are. What they serve is none of its business: they ask the xDS server.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from xds_server.graph import Process
from xds_server.supervise.bootstrap import Address, Bootstrap, changed_text
from xds_server.supervise.command import Launch, Seat, handover_version, shared_memory
from xds_server.supervise.handover import can_hand_over, hand_over
from xds_server.supervise.memory import heap_size
from xds_server.supervise.process import ADMIN, Envoy, is_live, start_envoy, stop_envoy
from xds_server.supervise.records import Record, StateFolder

_LOG = structlog.get_logger("cellway.envoy")
_BACKOFF = 0.25
_MAX_BACKOFF = 15.0
_GOOD_RUN = 10.0
_LOOK = 0.1
_TRY_AGAIN = 30.0


@dataclass(frozen=True, slots=True)
class LocalEnvoy:
    """What is told of a running Envoy. `admin` is the path of a socket (HOST:PORT of one that an older server
    started), empty as long as it has not said.

    `problem`: why it does not run as it should, when another was to take its place.
    """

    gateway: str
    node_id: str
    pid: int
    admin: str
    problem: str = ""


class Envoys:
    """The Envoys of this machine that this server looks after."""

    def __init__(
        self, binary: Path, state: StateFolder, xds: Address, host_name: str, token: Callable[[str], str]
    ) -> None:
        """`token` says what an Envoy of a gateway shows to the xDS server."""
        self._binary, self._state, self._xds, self._host_name, self._token = binary, state, xds, host_name, token
        self._found = state.records()
        self._heap = heap_size()
        self._wanted: dict[str, Process] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._running: dict[str, Envoy] = {}
        self._problems: dict[str, str] = {}
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._formers: dict[str, Envoy] = {}
        self._farewells: dict[str, asyncio.Task[None]] = {}
        self._silent: set[int] = set()
        self._launches: dict[str, tuple[Launch, str]] = {}
        for record in state.formers():
            known = self._found.setdefault(record.gateway, record)
            if known is not record:
                self._formers[record.gateway] = self._envoy(record)

    @property
    def running(self) -> tuple[LocalEnvoy, ...]:
        """The Envoys that run now and are to stay."""
        return tuple(
            LocalEnvoy(name, envoy.record.node_id, envoy.record.pid, envoy.admin, self._problem(name))
            for name, envoy in sorted(self._running.items())
            if name not in self._leaving
        )

    def replacing(self) -> tuple[str, ...]:
        """The gateways whose Envoys do not run as they should, yet."""
        return tuple(
            name
            for name, envoy in sorted(self._running.items())
            if name not in self._leaving
            and (envoy.record.digest != self._launch(name)[1] or self._launch(name)[0].problem)
        )

    def _problem(self, name: str) -> str:
        return self._problems.get(name) or (self._launch(name)[0].problem if name in self._wanted else "")

    def node_id(self, gateway: str) -> str:
        """The node id of the Envoy of a gateway on this machine."""
        return f"{self._host_name}/{gateway}"

    def apply(self, gateways: Mapping[str, Process | None], drain: float) -> None:
        """Have one Envoy for each of these gateways, run in this way (None: as before), and none for others; returns at once."""
        before = self._wanted
        self._wanted = before | {name: one or before.get(name, Process()) for name, one in gateways.items()}
        for name in sorted((self._keepers.keys() | self._found.keys()) - gateways.keys()):
            _LOG.info("the gateway is gone, its Envoy is drained and stopped", gateway=name)
            self._drop(name, drain)
        for name in sorted(gateways.keys() - self._keepers.keys()):
            keeper = asyncio.create_task(self._keep(name, self._leaving.get(name)), name=f"envoy of {name}")
            keeper.add_done_callback(_tell)
            self._keepers[name] = keeper
        for name in gateways.keys() & self._problems.keys():
            if before.get(name) != self._wanted[name]:
                del self._problems[name]

    async def close(self, drain: float) -> None:
        """Drain and stop all of them. If this is cancelled it may be called again, with less patience."""
        for name in (self._keepers.keys() | self._found.keys() | self._running.keys()) - self._leaving.keys():
            self._drop(name, drain)
        await asyncio.gather(*self._leaving.values())

    def _drop(self, name: str, drain: float) -> None:
        keeper, found, before = self._keepers.pop(name, None), self._found.pop(name, None), self._leaving.get(name)
        self._problems.pop(name, None)
        if found is not None:
            self._running[name] = self._envoy(found)
        first = [task for task in (keeper, before) if task is not None]
        if keeper is not None:
            keeper.cancel()
        self._leaving[name] = asyncio.create_task(self._end(name, first, drain), name=f"end of the envoy of {name}")

    async def _end(self, name: str, first: list[asyncio.Task[None]], drain: float) -> None:
        process = self._wanted.get(name, Process())
        patience = drain if process.drain is None or not drain else process.drain
        try:
            if first:
                await asyncio.wait(first)
            async with asyncio.TaskGroup() as both:
                if (former := self._formers.pop(name, None)) is not None:
                    if (farewell := self._farewells.pop(name, None)) is not None:
                        farewell.cancel()
                    both.create_task(self._see_off(former, patience))
                if (envoy := self._running.get(name)) is not None:
                    both.create_task(stop_envoy(envoy, patience, process))
            if envoy is not None:
                del self._running[name]
                if envoy.seat.family >= 0:
                    with contextlib.suppress(OSError):
                        shared_memory(envoy.home, envoy.seat.family).unlink(missing_ok=True)
            self._state.forget(name)
        finally:
            if self._leaving.get(name) is asyncio.current_task():
                del self._leaving[name]
            if name not in self._keepers:
                self._wanted.pop(name, None)
                self._launches.pop(name, None)

    # -- one gateway -----------------------------------------------------------------------------------------

    async def _keep(self, name: str, before: asyncio.Task[None] | None) -> None:
        """Have this gateway's Envoy run, for ever; first let one that is leaving go."""
        if before is not None:
            await asyncio.wait([before])
        loop, backoff, seat = asyncio.get_running_loop(), _BACKOFF, Seat("")
        while True:
            began = loop.time()
            try:
                self._running[name] = self._adopt(name) or self._start(name, seat)
                await self._look_after(name)
            except OSError as error:
                _LOG.error("Envoy cannot be started", gateway=name, reason=str(error))
            if (envoy := self._running.pop(name, None)) is not None:
                seat = envoy.seat
                _LOG.error("Envoy ended", gateway=name, pid=envoy.record.pid, reason=envoy.why(), restart_in=backoff)
            await asyncio.sleep(backoff)
            backoff = _BACKOFF if loop.time() - began > _GOOD_RUN else min(backoff * 2, _MAX_BACKOFF)

    async def _look_after(self, name: str) -> None:
        """Return when this gateway's Envoy ends. One that is to run in another way is replaced before."""
        loop, tried = asyncio.get_running_loop(), float("-inf")
        while (envoy := self._running[name]).alive:
            launch, digest = self._launch(name)
            self._look_after_former(name, launch.patience)
            if envoy.record.digest == digest:
                self._problems.pop(name, None)
            elif self._may_be_replaced(name, envoy) and (
                name not in self._problems or loop.time() > tried + _TRY_AGAIN
            ):
                await self._replace(name, envoy, launch)
                tried = loop.time()
            await asyncio.sleep(_LOOK)

    def _may_be_replaced(self, name: str, envoy: Envoy) -> bool:
        """Not before it has said where its admin interface is; and only two know each other: a third would end the first
        before its requests are done."""
        return name not in self._formers and (bool(envoy.admin) or envoy.record.pid in self._silent)

    def _look_after_former(self, name: str, patience: float) -> None:
        """The one that took over ends it, unless it dies before."""
        former = self._formers.get(name)
        if former is None:
            return
        if name not in self._farewells:
            farewell = self._see_off(former, patience + _GOOD_RUN)
            self._farewells[name] = asyncio.create_task(farewell, name=f"former envoy of {name}")
        elif self._farewells[name].done():
            del self._farewells[name], self._formers[name]

    async def _replace(self, name: str, old: Envoy, launch: Launch) -> None:
        who = {"gateway": name, "pid": old.record.pid}
        if launch.problem:
            self._problems[name] = launch.problem
            _LOG.error("the Envoy goes on as it is", reason=launch.problem, **who)
            return
        if not can_hand_over(old, self._binary) or (old.admin and not await is_live(old.admin)):
            _LOG.info("an Envoy that is to run in another way is stopped: it has nothing to hand over", **who)
            await stop_envoy(old, 1.0)
            self._running[name] = self._start(name, old.seat)
            return
        _LOG.info("an Envoy that is to run in another way is replaced", **who)
        new = await hand_over(old, self._binary, launch, self._state)
        if isinstance(new, str):
            self._problems[name] = new
            if not old.admin:
                self._silent.add(old.record.pid)
            _LOG.error("the new Envoy does not come up, the one before goes on", reason=new, **who)
            return
        self._running[name], self._formers[name] = new, old
        _LOG.info("the new Envoy serves, the one before ends its requests", gateway=name, pid=new.record.pid)

    def _adopt(self, name: str) -> Envoy | None:
        """The Envoy that an earlier server started for this gateway, if it still runs."""
        record = self._found.pop(name, None)
        if record is None:
            return None
        envoy = self._envoy(record)
        if not envoy.admin:
            self._silent.add(record.pid)
        _LOG.info("an Envoy that runs already is kept", gateway=name, pid=record.pid, admin=envoy.admin)
        return envoy

    def _start(self, name: str, after: Seat) -> Envoy:
        home = self._state.gateway(name)
        former = self._formers.get(name)
        seat = after.anew(alone=not handover_version(self._binary))
        if former is not None and former.seat.run == seat.run:
            seat = seat.anew(alone=seat.family < 0)
        for folder in home.iterdir():
            if folder.is_dir() and (former is None or folder.name != former.seat.run):
                shutil.rmtree(folder, ignore_errors=True)
        envoy = start_envoy(self._binary, home, seat, self._launch(name)[0])
        self._state.record(envoy.record)
        _LOG.info("Envoy started", gateway=name, pid=envoy.record.pid, log=str(envoy.folder / "envoy.log"))
        return envoy

    async def _see_off(self, former: Envoy, drain: float) -> None:
        """Let one that was replaced end what it has begun, but no longer than this."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(former.ended(), drain)
        await stop_envoy(former, 0)
        self._state.forget_former(former.record)
        shutil.rmtree(former.folder, ignore_errors=True)

    def _launch(self, name: str) -> tuple[Launch, str]:
        """What is to run for a gateway, and its hash."""
        process, known = self._wanted[name], self._launches.get(name)
        if known is None or known[0].process != process:
            launch = self._launch_of(name, process)
            known = self._launches[name] = (launch, launch.digest(self._binary))
        return known

    def _launch_of(self, name: str, process: Process) -> Launch:
        text = self._bootstrap(name, process).text()
        try:
            return Launch(name, self.node_id(name), changed_text(text, process.bootstrap), process)
        except ValueError as error:
            return Launch(name, self.node_id(name), text, process, f"its bootstrap cannot be changed so: {error}")

    def _bootstrap(self, name: str, process: Process) -> Bootstrap:
        token = self._token(name)
        # A file, since a port could be led to by a Backend; relative, since the path of a socket has room for 107 bytes.
        place = Path(ADMIN)
        return Bootstrap(name, self.node_id(name), self._xds, place, more=process.start, heap=self._heap, token=token)

    def _envoy(self, record: Record) -> Envoy:
        return Envoy(record, self._state.gateway(record.gateway))


def _tell(keeper: asyncio.Task[None]) -> None:
    """Nobody waits for a keeper: one that breaks must not do so in silence."""
    if not keeper.cancelled() and (error := keeper.exception()) is not None:
        _LOG.error("an Envoy is not looked after any more", task=keeper.get_name(), exc_info=error)
