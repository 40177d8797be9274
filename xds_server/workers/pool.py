"""Several processes that serve on the same ports, as one: what the one that compiles knows of them and tells them.

In: snapshots; what each process says of its streams. Out: the same for all of them, and what is known of all streams. A process
that ends is started anew, with all that counts at that time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from xds_server.serve.counters import Counters, Listeners
from xds_server.serve.identity import Identities
from xds_server.serve.limits import Limits
from xds_server.serve.loads import Loads
from xds_server.serve.pressure import REST, Pressure
from xds_server.serve.records import ProxyRecord, Serving
from xds_server.serve.revocation import Revocations
from xds_server.serve.tls import Credentials
from xds_server.serve.tokens import Tokens
from xds_server.snapshot.resource import Snapshot
from xds_server.workers import frames
from xds_server.workers.court import Court
from xds_server.workers.frames import encode
from xds_server.workers.process import Process

_SOON, _LATEST, _LONG = 0.05, 10.0, 30.0
"""Seconds before another process is started in place of one that ended: at first, at most, and after which life anew."""
_ANSWER, _PATIENCE = 5.0, 30.0
"""Seconds for which somebody waits for an answer, and after which a process that owes one is ended."""
_BIRTH = 4
"""A process may take so many times as long until it listens: on a busy machine starts are slow."""
_LOOK = 2.0
"""Seconds between looks that nobody asked for."""
_REVOKED = 1.0
"""Seconds between looks at revocation lists."""
_AFTER = 3.0
"""Seconds for which streams that should have ended by now are waited for."""


@dataclass(frozen=True, slots=True)
class Share:
    """How many processes there are, and what holds for all of them together."""

    processes: int
    limits: Limits = field(default_factory=Limits)
    identities: Identities = field(default_factory=Identities)

    def of_one(self) -> Limits:
        """What one of them may serve. Memory is not shared out: each looks at that of all."""
        most = self.limits
        streams, peer = (-(-one // self.processes) for one in (most.streams, most.streams_per_peer))
        return replace(most, streams=streams, streams_per_peer=peer)


class Pool:
    """Serves snapshots to Envoys, by others."""

    def __init__(self, share: Share, clock: Callable[[], float], told: Listeners = Listeners()) -> None:  # noqa: B008
        self.counters, self.loads = Counters(), Loads()
        self.pressure = Pressure(clock, share.limits.memory)
        self._share, self._clock, self._told = share, clock, told
        self._court = Court(self._send)
        self._processes = [Process(number + 1) for number in range(share.processes)]
        self._tokens: Tokens | None = None
        self._revocations: Revocations | None = None
        self._files: tuple[str, ...] = ()
        self._ports: list[tuple[str, bool]] = []
        self._held: list[socket.socket] = []
        self._stopping = asyncio.Event()
        self._looks = 0
        self._changed: set[asyncio.Future[None]] = set()
        self._answered: set[asyncio.Future[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []

    # -- before it starts --------------------------------------------------------------------------------------

    def ask_for_tokens(self, tokens: Tokens) -> None:
        """Whoever comes in plain text has to show one. Without this its own word counts."""
        self._tokens = tokens

    def refuse_revoked(self, revocations: Revocations) -> None:
        """Nobody with one of these certificates has a stream: each process reads the lists itself."""
        self._revocations = revocations

    @property
    def revocations(self) -> Revocations | None:
        """What was given to `refuse_revoked`."""
        return self._revocations

    async def watch_revoked(self) -> None:
        """Until cancelled, read the lists again and again, to tell what is wrong with them."""
        while True:
            await asyncio.sleep(_REVOKED)
            if self._revocations is not None:
                await asyncio.to_thread(self._revocations.look)

    async def watch_memory(self, every: float = REST) -> None:
        """Until cancelled, give back what frames have left here; each process does the same."""
        while True:
            await asyncio.sleep(every)
            await asyncio.to_thread(self.pressure.tidy)

    async def watch_processes(self) -> None:
        """Until cancelled, raise what goes wrong where processes are looked after: none would be started anew."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()

    def listen(self, address: str, credentials: Credentials | None = None) -> int:
        """Keep one more address for the processes; returns the port. OSError if it cannot be had.

        The socket that keeps it takes no connections: they go to those that listen there.
        """
        held = _bound(address)
        self._held.append(held)
        port: int = held.getsockname()[1]
        if credentials is not None:
            files = credentials.files
            named = (files.certificate, files.key, files.authorities, files.revoked)
            self._files = tuple(str(one) for one in named if one is not None)
        self._ports.append((f"{address.rpartition(':')[0]}:{port}", credentials is not None))
        return port

    # -- life --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start all processes, and return when they listen. OSError if one cannot."""
        listening = [asyncio.create_task(self._first(one), name="a serving process starts") for one in self._processes]
        self._tasks = [asyncio.create_task(self._look_after(one), name="a serving process") for one in self._processes]
        self._tasks.append(asyncio.create_task(self._tend(), name="serving processes"))
        begun = asyncio.gather(*listening)
        lost = asyncio.create_task(self.watch_processes(), name="serving processes are looked after")
        first: set[asyncio.Future[Any]] = {begun, lost}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if not begun.done():
            lost.result()
        lost.cancel()
        problems = [one for one in await begun if one]
        if problems:
            self._stopping.set()
            await self._end()
            raise OSError(problems[0])

    async def _first(self, process: Process) -> str:
        """Why a process cannot listen at its first start; empty if it does."""
        while not (process.listening or process.problem):
            await self._wait(self._changed)
        return "" if process.listening else process.trouble()

    async def _look_after(self, process: Process) -> None:
        pause = _SOON
        while True:
            began = process.begun = self._clock()
            try:
                reason = await process.live(lambda: self._beginning(process.number), self._hear)
            except OSError as error:  # there may be no room for a process now, or no file descriptor
                reason = f"cannot be started: {error.strerror or error}"
            process.problem, process.cannot = f"{process.cannot or reason} and is started anew", ""
            self._tell()
            if self._stopping.is_set():
                return
            self._told.warned(f"serving process {process.number} {process.problem}")
            pause = _SOON if self._clock() - began > _LONG else min(2 * pause, _LATEST)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
                return

    def _beginning(self, number: int) -> tuple[bytes, ...]:
        key = self._tokens.key if self._tokens is not None else None
        lists = self._revocations.lists if self._revocations is not None else None
        share, ports = self._share, tuple(self._ports)
        begin = frames.Begin(number, share.of_one(), share.identities, self._files, key, ports, lists)
        return encode(begin), encode(self._court.known())

    async def _tend(self) -> None:
        """Know of all streams now and then, and end a process that does not answer."""
        while True:
            await asyncio.sleep(_LOOK)
            await self.look()
            now = self._clock()
            for one in self._processes:
                if one.waited and now - one.waited > _PATIENCE:
                    one.cannot = "did not answer"
                    one.end()
                elif one.told and not one.listening and now - one.begun > _BIRTH * _PATIENCE:
                    one.cannot = one.cannot or "did not begin to serve"
                    one.end()

    async def stop(self, grace: float) -> None:
        """Not serving from now on; in each process streams end one after the other within `grace` seconds."""
        self._stopping.set()
        self._send(frames.Stop(grace))
        serving = [one for one, process in zip(self._tasks, self._processes, strict=False) if process.told]
        if serving:
            await asyncio.wait(serving, timeout=grace + _AFTER)
        await self._end()

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for one in self._held:
            one.close()

    # -- what is wanted ----------------------------------------------------------------------------------------

    async def publish(self, snapshots: Mapping[str, Snapshot]) -> None:
        """These snapshots are wanted from now on. A gateway that is not among them keeps its last one.

        Returns when every process that serves has published them.
        """
        self._court.publish(snapshots)
        await self.look()

    def forget(self, gateway: str) -> None:
        """A gateway no longer exists: new streams that name it are refused."""
        self._court.forget(gateway)
        self.loads.forget(gateway)

    def _send(self, frame: frames.Down) -> None:
        data = encode(frame)
        for one in self._processes:
            one.send(data)

    # -- what processes say --------------------------------------------------------------------------------------

    def _hear(self, process: Process, frame: frames.Up) -> None:
        match frame:
            case frames.Seen():
                self._see(process, frame)
            case frames.Took() | frames.Refused():
                self._court.hear(frame)
            case frames.Acknowledged():
                for one in frame.seconds:
                    self._told.acknowledged(frame.type_url, one)
            case frames.Said():
                self._told.warned(frame.sentence)
            case frames.Listening():
                process.listening, process.cannot, process.problem = not frame.problem, frame.problem, frame.problem
                self._tell()
            case frames.Changed():
                self._tell()

    def _see(self, process: Process, frame: frames.Seen) -> None:
        process.records.update({number: self._court.blamed(one) for number, one in frame.records.items()})
        for one in frame.gone:
            process.records.pop(one, None)
        self.counters.add(frame.counters)
        self.loads.join(frame.loads)
        for late in frame.lags:
            self._told.lagged(late)
        process.answered(frame.number)
        _wake(self._answered)

    # -- what is known -------------------------------------------------------------------------------------------

    async def look(self) -> None:
        """Know all that `proxies`, `loads` and `counters` tell; `processes` says of which process it is not known."""
        self._looks += 1
        number, now = self._looks, self._clock()
        self.pressure.others = tuple(one.pid for one in self._processes if one.pid)
        asked = [one for one in self._processes if one.listening]
        data = encode(frames.Look(number, (os.getpid(), *self.pressure.others)))
        for one in asked:
            one.ask(number, data, now)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ANSWER):
                while any(one.listening and one.seen < number and not one.problem for one in asked):
                    await self._wait(self._answered)
        for one in asked:
            if one.listening and one.seen < number:
                one.problem = "does not answer"

    def processes(self) -> tuple[Serving, ...]:
        """The processes that serve."""
        return tuple(one.serving for one in self._processes)

    def proxies(self) -> tuple[ProxyRecord, ...]:
        """All open streams, by node and time."""
        records = (record for one in self._processes for record in one.records.values())
        return tuple(sorted(records, key=lambda one: (one.gateway, one.node_id, one.connected_since)))

    def connected(self) -> set[str]:
        """The gateways that have a stream."""
        return {record.gateway for one in self._processes for record in one.records.values()}

    async def changed(self) -> None:
        """Return when any stream opened, closed or acknowledged something, or a process ended or came."""
        await self._wait(self._changed)

    def _tell(self) -> None:
        _wake(self._changed)
        _wake(self._answered)

    @staticmethod
    async def _wait(waiting: set[asyncio.Future[None]]) -> None:
        waits = asyncio.get_running_loop().create_future()
        waiting.add(waits)
        try:
            await waits
        finally:
            waiting.discard(waits)


def _wake(waiting: set[asyncio.Future[None]]) -> None:
    while waiting:
        waits = waiting.pop()
        if not waits.done():
            waits.set_result(None)


def _bound(address: str) -> socket.socket:
    """A socket on this address that lets others of this user listen there, and nobody else have it."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    held = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        held.bind((host, int(port)))
    except OSError as error:
        held.close()
        raise OSError(f"cannot listen on {address} for xDS: {error.strerror or error}") from None
    return held
