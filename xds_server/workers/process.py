"""One process that serves, as the one that started it sees it.

In: frames to send. Out: frames that came, one after the other, until the process ends, and why it did. A process that does not
read what it is sent, or says what is no frame, is ended. It holds one end of a pair of sockets that has no name.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from xds_server.serve.records import ProxyRecord, Serving
from xds_server.workers.frames import HEAD, MOST_UP, FrameError, Up, decode_up, length_of

_LOG = structlog.get_logger("cellway")
_UNREAD, _STILL = 256 * 2**20, 30.0
"""So many bytes may wait to be read by a process that has read nothing for so many seconds; one frame may have more."""
_BUFFER = 2**20
_LEAVING = 2.0
"""Seconds in which a process that was told to stop is gone after its last word."""
_GLANCE = 0.02


@dataclass(slots=True)
class _Unread:
    """What a process was sent and has not read. `moved`: when it was last seen to have read anything."""

    moved: float
    waiting: int = 0
    """Bytes after the last frame was given."""

    def is_too_much(self, waiting: int, more: int, now: float) -> bool:
        """Whether it shall be sent nothing any more. `waiting`: bytes before this frame, of which there are `more`."""
        if waiting < self.waiting or not waiting:
            self.moved = now
        self.waiting = waiting + more
        return waiting > _UNREAD and now - self.moved > _STILL


@dataclass(slots=True)
class Process:
    """`records` are its streams by number. `told`: it hears of all that changes; `listening`: it serves.

    `cannot` is why it will end, if that is known. `asked` is the last look that it was sent, `seen` the last that it
    answered, `waited` since when it owes an answer, and `begun` when it was started.
    """

    number: int
    pid: int = 0
    starts: int = 0
    told: bool = False
    listening: bool = False
    problem: str = ""
    cannot: str = ""
    asked: int = 0
    seen: int = 0
    waited: float = 0.0
    begun: float = 0.0
    records: dict[int, ProxyRecord] = field(default_factory=dict)
    _writer: asyncio.StreamWriter | None = None
    _unread: _Unread = field(default_factory=lambda: _Unread(0.0))

    @property
    def serving(self) -> Serving:
        """For people."""
        return Serving(self.number, self.pid, self.starts, len(self.records), self.trouble())

    def trouble(self) -> str:
        """Why it does not serve; empty if it does."""
        name = f"serving process {self.number}"
        if not self.listening:
            return f"{name} {self.problem or 'starts'}"
        return f"{name} does not answer" if self.waited and self.problem else ""

    def send(self, data: bytes) -> None:
        """Send a frame, if there is somebody to hear it."""
        if self._writer is None or not self.told:
            return
        if self._unread.is_too_much(self._writer.transport.get_write_buffer_size(), len(data), _now()):
            self._writer.transport.abort()
            return
        self._writer.write(data)

    def ask(self, number: int, data: bytes, now: float) -> None:
        """Send a look."""
        self.asked, self.waited = number, self.waited or now
        self.send(data)

    def answered(self, number: int) -> None:
        """A look was answered."""
        self.seen = number
        if number >= self.asked:
            self.waited, self.problem = 0.0, ""

    def end(self) -> None:
        """End it: whoever looks after it starts another."""
        if self._writer is not None:
            self._writer.transport.abort()

    async def live(self, first: Callable[[], tuple[bytes, ...]], heard: Callable[[Process, Up], None]) -> str:
        """Start it and hear it until it ends: why it ended. `first` is what it is told at the start. OSError if it cannot."""
        ours, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as undone:
            undone.callback(ours.close)
            running = _started(theirs)
            undone.pop_all()
        self.pid, self.starts, self.seen, self.asked = running.pid, self.starts + 1, 0, 0
        try:
            reader, self._writer = await asyncio.open_connection(sock=ours, limit=_BUFFER)
            self.told, self._unread = True, _Unread(_now())
            for data in first():
                self.send(data)
            while True:
                head = await reader.readexactly(HEAD)
                heard(self, decode_up(await reader.readexactly(length_of(head, MOST_UP))))
        except (EOFError, OSError):
            reason = "ended"
        except FrameError as error:
            reason = f"said what nobody understands: {error}"
        # The outermost boundary of all that such a process says: whatever it is must not end this one.
        except Exception as error:
            trace = "".join(traceback.format_exception(error))  # without values: keys may be among them
            _LOG.error("a serving process said what does not fit", number=self.number, trace=trace)
            reason = "said what does not fit"
        finally:
            self.told = self.listening = False
            self.records, self.waited = {}, 0.0
            writer, self._writer = self._writer, None
            (writer or ours).close()
            code = await _ended(running)
            self.pid = 0
        return f"{reason} ({code})"


def _started(connection: socket.socket) -> subprocess.Popen[bytes]:
    """A new interpreter: gRPC cannot be forked."""
    number = connection.fileno()
    command = [sys.executable, "-P", "-m", "xds_server.workers.worker", str(number)]
    nothing = subprocess.DEVNULL
    return subprocess.Popen(command, pass_fds=(number,), stdin=nothing, stdout=nothing)  # noqa: S603 - own words


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _ended(running: subprocess.Popen[bytes]) -> str:
    """See to it that a process is gone; how it ended."""
    loop = asyncio.get_running_loop()
    latest = loop.time() + _LEAVING
    try:
        # No thread waits for it: there may be no room for one.
        while (code := running.poll()) is None and loop.time() < latest:  # noqa: ASYNC110
            await asyncio.sleep(_GLANCE)
    finally:
        running.kill()
        running.wait()
    if code is None:
        return "it was killed"
    return f"signal {-code}" if code < 0 else f"exit code {code}"
