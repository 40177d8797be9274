"""A process that serves, started by the one that compiles: `python -m xds_server.workers.worker DESCRIPTOR`.

In: frames from a socket that it inherits. Out: Envoys served on the ports that it is told, and what they say. It knows nothing of
files of policies, and ends with the process that started it: when the socket ends, and at once if that process was killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
import time
import traceback
from collections import deque
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

from xds_server.collector import collect_rarely, keep_for_good
from xds_server.serve.counters import Counters, Listeners
from xds_server.serve.grpc import XdsServer
from xds_server.serve.revocation import Revocations
from xds_server.serve.sessions import Session
from xds_server.serve.tls import Credentials, TlsFiles
from xds_server.serve.tokens import Tokens
from xds_server.serve.verdicts import Verdicts
from xds_server.watchdog import watch_loop
from xds_server.workers import frames
from xds_server.workers.follower import Follower
from xds_server.workers.frames import HEAD, MOST_DOWN, decode_down, encode_up, length_of

_DIE_WITH_PARENT = 1
_UNREAD = 64 * 2**20
"""Bytes that may wait to be read: who does not read them has forgotten this process."""
_BUFFER = 2**20
_TIMES = 1000
"""So many times of one type are told together."""
_LAGS = 600


class Worker:
    """The server of this process, and what the one that compiles is told of it."""

    def __init__(self, writer: asyncio.StreamWriter, begin: frames.Begin) -> None:
        self._writer, self._begin = writer, begin
        self._loop = asyncio.get_running_loop()
        told = Listeners(self._acknowledged, self._say)
        self._server = XdsServer(time.monotonic, limits=begin.limits, told=told, identities=begin.identities)
        self._follower = Follower(self._server.sessions, self._send)
        self._server.be_one_of_several(begin.number, self._follower)
        self._counted = Counters()
        self._times: dict[str, list[float]] = {}
        self._lags: deque[float] = deque(maxlen=_LAGS)
        self._numbers: dict[Session, int] = {}
        self._last = 0
        self._looked = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.ended = asyncio.Event()
        self.error: BaseException | None = None
        self._begin_task("changes", self._tell_of_changes())
        self._begin_task("revoked certificates", self._server.watch_revoked())
        self._begin_task("memory", self._server.watch_memory())
        self._begin_task("watchdog", watch_loop(late=self._lags.append))

    def _begin_task(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._over)
        self._tasks.append(task)

    def _over(self, task: asyncio.Task[None]) -> None:
        """No process serves on without what it has to do all the time: its error ends it, and another one begins."""
        if task.cancelled() or (error := task.exception()) is None:
            return
        self._send(frames.Listening(f"lost '{task.get_name()}' by an error ({type(error).__name__})"))
        self.error = error
        self.ended.set()

    # -- what it is told ---------------------------------------------------------------------------------------

    async def obey(self, frame: frames.Down) -> None:
        """Do what a frame says."""
        match frame:
            case frames.Published():
                await self._publish(frame)
            case frames.Took() | frames.Refused():
                self._follower.hear(frame)
            case frames.Look():
                self._look(frame)
            case frames.Forgotten():
                self._server.forget(frame.gateway)
            case frames.Known():
                await self._serve(frame.verdicts)
            case frames.Stop():
                self._begin_task("stop", self._stop(frame.grace))
            case frames.Begin():
                raise frames.FrameError("it has begun already")

    async def _serve(self, verdicts: Mapping[str, Verdicts] | None) -> None:
        """Listen. What is known is known before: no Envoy that comes is sent away."""
        if verdicts is not None:
            await self._server.adopt(verdicts)
            keep_for_good()
        try:
            self._listen()
            await self._server.start()
        except (OSError, ValueError) as error:
            self._send(frames.Listening(str(error)))
            self.ended.set()
        else:
            self._send(frames.Listening())

    def _listen(self) -> None:
        begin, server = self._begin, self._server
        if begin.key is not None:
            server.ask_for_tokens(Tokens(begin.key))
        files = TlsFiles(*map(Path, begin.files)) if begin.files else None
        if files is not None and files.revoked is not None:
            # The process that compiles reads the lists, too, and tells what is wrong with them: those that it took
            # count from the start here, whatever has become of the file.
            told = files.revoked, files.authorities, time.time, lambda _: None
            server.refuse_revoked(Revocations(*told, begin.lists))
        for address, with_tls in begin.ports:
            credentials = None
            if with_tls and files is not None:
                credentials = Credentials(files, lambda text: self._say(f"TLS of the xDS port: {text}"))
            server.listen(address, credentials)

    async def _publish(self, frame: frames.Published) -> None:
        first = not self._server.sessions.gateways
        await self._server.publish(self._follower.wanted(frame))
        if first:
            keep_for_good()

    async def _stop(self, grace: float) -> None:
        await self._server.stop(grace)
        self.ended.set()

    # -- what it tells -----------------------------------------------------------------------------------------

    def _look(self, asked: frames.Look) -> None:
        server, records, gone = self._server, {}, []
        server.pressure.others = tuple(pid for pid in asked.pids if pid != os.getpid())
        touched, server.sessions.touched = server.sessions.touched or set(), set()
        for session in touched:
            if server.sessions.is_open(session):
                records[self._number(session)] = server.sessions.record(session)
            elif (number := self._numbers.pop(session, None)) is not None:
                gone.append(number)
        for type_url in list(self._times):
            self._tell_times(type_url)
        counted, self._counted = self._counted, server.counters.copy()
        news, lags = self._counted.since(counted), tuple(self._lags)
        self._lags.clear()
        self._send(frames.Seen(asked.number, records, tuple(gone), news, server.loads.take(), lags))
        self._looked.set()

    def _number(self, session: Session) -> int:
        if session not in self._numbers:
            self._last += 1
            self._numbers[session] = self._last
        return self._numbers[session]

    async def _tell_of_changes(self) -> None:
        """Once, until somebody looks."""
        while True:
            if not self._server.sessions.touched:
                await self._server.changed()
            self._looked.clear()
            self._send(frames.Changed())
            await self._looked.wait()

    def _acknowledged(self, type_url: str, seconds: float) -> None:
        times = self._times.setdefault(type_url, [])
        times.append(seconds)
        if len(times) >= _TIMES:
            self._tell_times(type_url)

    def _tell_times(self, type_url: str) -> None:
        self._send(frames.Acknowledged(type_url, tuple(self._times.pop(type_url))))

    def _say(self, sentence: str) -> None:
        """From whatever thread."""
        self._loop.call_soon_threadsafe(self._send, frames.Said(sentence))

    def _send(self, frame: frames.Up) -> None:
        if self._writer.transport.get_write_buffer_size() > _UNREAD:
            self.ended.set()
            return
        self._writer.write(encode_up(frame))


async def _next(reader: asyncio.StreamReader) -> frames.Down:
    head = await reader.readexactly(HEAD)
    return decode_down(await reader.readexactly(length_of(head, MOST_DOWN)))


async def _obey(reader: asyncio.StreamReader, worker: Worker) -> None:
    while True:
        await worker.obey(await _next(reader))


async def _run(connection: socket.socket) -> None:
    """Until it is told to stop, or there is nobody any more who could tell."""
    reader, writer = await asyncio.open_connection(sock=connection, limit=_BUFFER)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # they come to all processes of a terminal or a unit
        asyncio.get_running_loop().add_signal_handler(number, lambda: None)
    begin = await _next(reader)
    if not isinstance(begin, frames.Begin):
        raise frames.FrameError("it has not begun")
    worker = Worker(writer, begin)
    obeying = asyncio.create_task(_obey(reader, worker), name="orders")
    ended = asyncio.create_task(worker.ended.wait(), name="end")
    await asyncio.wait({obeying, ended}, return_when=asyncio.FIRST_COMPLETED)
    if obeying.done() and isinstance(obeying.exception(), EOFError | ConnectionError):
        os._exit(1)  # there is nobody to serve for: streams do not end gently
    if worker.error is not None:
        traceback.print_exception(worker.error)
        os._exit(1)
    if obeying.done():
        obeying.result()


def main() -> None:
    """Serve until the end."""
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    collect_rarely()
    with contextlib.suppress(EOFError, ConnectionError):
        asyncio.run(_run(socket.socket(fileno=int(sys.argv[1]))))


if __name__ == "__main__":
    main()
