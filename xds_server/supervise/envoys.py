"""One local Envoy for each gateway: started, found again after a restart, started anew when it dies, drained when
its gateway goes.

In: the names of the gateways there are, as often as they change. Out: running processes, and which they are. What
they serve is none of its business: they ask the xDS server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog

from xds_server.supervise.bootstrap import Address, Bootstrap
from xds_server.supervise.process import Envoy, digest_of_command, start_envoy, stop_envoy
from xds_server.supervise.records import Record, StateFolder

_LOG = structlog.get_logger("cellway.envoy")
_BACKOFF = 0.25
_MAX_BACKOFF = 15.0
_GOOD_RUN = 10.0


@dataclass(frozen=True, slots=True)
class LocalEnvoy:
    """What is told of a running Envoy. `admin` is HOST:PORT, empty as long as it has not said."""

    gateway: str
    node_id: str
    pid: int
    admin: str


class Envoys:
    """The Envoys of this machine that this server looks after."""

    def __init__(self, binary: Path, state: StateFolder, xds: Address, host_name: str) -> None:
        self._binary, self._state, self._xds, self._host_name = binary, state, xds, host_name
        self._found = state.records()
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._running: dict[str, Envoy] = {}
        self._leaving: dict[str, asyncio.Task[None]] = {}

    @property
    def running(self) -> tuple[LocalEnvoy, ...]:
        """The Envoys that run now and are to stay."""
        return tuple(
            LocalEnvoy(name, envoy.record.node_id, envoy.record.pid, envoy.admin)
            for name, envoy in sorted(self._running.items())
            if name not in self._leaving
        )

    def node_id(self, gateway: str) -> str:
        """The node id of the Envoy of a gateway on this machine."""
        return f"{self._host_name}/{gateway}"

    def apply(self, gateways: Iterable[str], drain: float) -> None:
        """Have one Envoy for each of these gateways and none for others; returns at once."""
        wanted = set(gateways)
        for name in sorted((self._keepers.keys() | self._found.keys()) - wanted):
            _LOG.info("the gateway is gone, its Envoy is drained and stopped", gateway=name)
            self._drop(name, drain)
        for name in sorted(wanted - self._keepers.keys()):
            keeper = asyncio.create_task(self._keep(name, self._leaving.get(name)), name=f"envoy of {name}")
            keeper.add_done_callback(_tell)
            self._keepers[name] = keeper

    async def close(self, drain: float) -> None:
        """Drain and stop all of them. If this is cancelled it may be called again, with less patience."""
        for name in (self._keepers.keys() | self._found.keys() | self._running.keys()) - self._leaving.keys():
            self._drop(name, drain)
        await asyncio.gather(*self._leaving.values())

    def _drop(self, name: str, drain: float) -> None:
        keeper, found, before = self._keepers.pop(name, None), self._found.pop(name, None), self._leaving.get(name)
        if found is not None:
            self._running[name] = self._envoy(found)
        first = [task for task in (keeper, before) if task is not None]
        if keeper is not None:
            keeper.cancel()
        self._leaving[name] = asyncio.create_task(self._end(name, first, drain), name=f"end of the envoy of {name}")

    async def _end(self, name: str, first: list[asyncio.Task[None]], drain: float) -> None:
        try:
            if first:
                await asyncio.wait(first)
            if (envoy := self._running.get(name)) is not None:
                await stop_envoy(envoy, drain)
                del self._running[name]
            self._state.forget(name)
        finally:
            if self._leaving.get(name) is asyncio.current_task():
                del self._leaving[name]

    async def _keep(self, name: str, before: asyncio.Task[None] | None) -> None:
        """Have this gateway's Envoy run, for ever; first let one that is leaving go."""
        if before is not None:
            await asyncio.wait([before])
        loop, backoff = asyncio.get_running_loop(), _BACKOFF
        while True:
            began = loop.time()
            try:
                envoy = await self._adopt(name) or self._start(name)
            except OSError as error:
                _LOG.error("Envoy cannot be started", gateway=name, reason=str(error))
            else:
                self._running[name] = envoy
                await envoy.ended()
                del self._running[name]
                _LOG.error("Envoy ended", gateway=name, pid=envoy.record.pid, reason=envoy.why(), restart_in=backoff)
            await asyncio.sleep(backoff)
            backoff = _BACKOFF if loop.time() - began > _GOOD_RUN else min(backoff * 2, _MAX_BACKOFF)

    async def _adopt(self, name: str) -> Envoy | None:
        """The Envoy that an earlier server started for this gateway, if it still runs and would be started the same."""
        record = self._found.pop(name, None)
        if record is None:
            return None
        envoy = self._envoy(record)
        if record.digest == digest_of_command(self._binary, envoy.folder, self._bootstrap(name).text()):
            _LOG.info("an Envoy that runs already is kept", gateway=name, pid=record.pid, admin=envoy.admin)
            return envoy
        _LOG.info("an Envoy that runs already has another bootstrap and is replaced", gateway=name, pid=record.pid)
        self._running[name] = envoy
        await stop_envoy(envoy, 1.0)
        del self._running[name]
        return None

    def _start(self, name: str) -> Envoy:
        bootstrap = self._bootstrap(name)
        envoy = start_envoy(self._binary, self._state.gateway(name), name, bootstrap.node_id, bootstrap.text())
        self._state.record(envoy.record)
        _LOG.info("Envoy started", gateway=name, pid=envoy.record.pid, log=str(envoy.folder / "envoy.log"))
        return envoy

    def _bootstrap(self, name: str) -> Bootstrap:
        return Bootstrap(name, self.node_id(name), self._xds)

    def _envoy(self, record: Record) -> Envoy:
        return Envoy(record, self._state.gateway(record.gateway))


def _tell(keeper: asyncio.Task[None]) -> None:
    """Nobody waits for a keeper: one that breaks must not do so in silence."""
    if not keeper.cancelled() and (error := keeper.exception()) is not None:
        _LOG.error("an Envoy is not looked after any more", task=keeper.get_name(), exc_info=error)
