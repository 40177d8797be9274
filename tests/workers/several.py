"""Several processes on paper: sessions that follow one court, and frames that are on their way until a test delivers them.

In: worlds as in `tests/serve/playbook.py`. Out: clients whose streams belong to one of the processes. What goes from one process
to another goes as bytes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from tests.serve.fleet import GATEWAY, Member
from tests.serve.playbook import world
from xds_server.serve.sessions import Sessions
from xds_server.snapshot.resource import Snapshot
from xds_server.workers import frames
from xds_server.workers.court import Court
from xds_server.workers.follower import Follower
from xds_server.workers.frames import HEAD, decode_down, decode_up, encode, encode_up


@dataclass(eq=False)
class Paper:
    """One process. `up` and `down` are frames on their way from and to it."""

    state: Snapshot
    sessions: Sessions = field(default_factory=Sessions)
    up: deque[bytes] = field(default_factory=deque)
    down: deque[bytes] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.follower = Follower(self.sessions, lambda frame: self.up.append(encode_up(frame)))
        self.sessions.court, self.sessions.touched = self.follower, set()

    def hear(self) -> None:
        """Take the next frame."""
        match decode_down(self.down.popleft()[HEAD:]):
            case frames.Known(verdicts):
                self.sessions.adopt(verdicts or {})
            case frames.Published() as frame:
                self.sessions.publish(self.follower.wanted(frame))
            case frames.Took() | frames.Refused() as frame:
                self.follower.hear(frame)
            case frames.Forgotten(gateway):
                self.sessions.forget(gateway)

    def client(self, node: str, *, delta: bool = True) -> Member:
        """One more stream here."""
        return Member(delta, self.state, sessions=self.sessions, node=node)

    def ready(self, node: str, short: str) -> Member:
        """One more stream here that has taken everything of a type."""
        client = self.client(node)
        client.ask(short)
        client.settle()
        return client


class Several:
    """The court, and processes that follow it."""

    def __init__(self, processes: int, *lines: str) -> None:
        self.court = Court(self._send)
        self.processes: list[Paper] = []
        self.court.publish({GATEWAY: world(*lines)})
        for _ in range(processes):
            self.start()
        self.deliver()

    def _send(self, frame: frames.Down) -> None:
        for one in self.processes:
            one.down.append(encode(frame))

    def start(self) -> Paper:
        """One more process, or one in place of another."""
        wanted = self.court.sessions.snapshot(GATEWAY)
        assert wanted is not None
        begun = Paper(wanted)
        begun.down.append(encode(self.court.known()))
        self.processes.append(begun)
        return begun

    def change(self, *lines: str) -> None:
        """Another world is wanted, and everything arrives."""
        self.court.publish({GATEWAY: world(*lines)})
        self.deliver()

    def listen(self, process: Paper) -> None:
        """The court takes the next frame of a process."""
        frame = decode_up(process.up.popleft()[HEAD:])
        assert isinstance(frame, frames.Took | frames.Refused)
        self.court.hear(frame)

    def deliver(self) -> None:
        """Everything that is on its way arrives."""
        while any(one.up or one.down for one in self.processes):
            for one in self.processes:
                if one.down:
                    one.hear()
                elif one.up:
                    self.listen(one)
