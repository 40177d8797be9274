"""Several clients on paper, of one gateway: what one of them says concerns the others.

In: worlds as in `playbook.py`. Out: clients whose streams belong to one `Sessions`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.serve.playbook import Client, world
from xds_server.serve.messages import Event
from xds_server.serve.records import ProxyRecord
from xds_server.serve.requests import Node, Request
from xds_server.serve.sessions import Session, Sessions
from xds_server.snapshot.resource import Snapshot

GATEWAY = "default/web"


@dataclass
class Member(Client):
    """A client of a fleet."""

    sessions: Sessions | None = None
    node: str = "one"
    session: Session | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        assert self.sessions is not None
        self.session = Session(self.stream, Node(self.node, GATEWAY), GATEWAY, "", self.now, self.now, lambda: None)
        self.sessions.open(self.session)

    def receive(self, request: Request, now: float) -> Event | None:
        assert self.sessions is not None
        assert self.session is not None
        return self.sessions.receive(self.session, request, now)

    def leave(self) -> None:
        """End the stream."""
        assert self.sessions is not None
        assert self.session is not None
        self.sessions.close(self.session, self.now)


@dataclass
class Fleet:
    """The server's side, and the clients that came."""

    state: Snapshot
    sessions: Sessions = field(default_factory=Sessions)

    def __post_init__(self) -> None:
        self.sessions.publish({GATEWAY: self.state})

    def client(self, node: str, *, delta: bool = True, only: str = "") -> Member:
        """One more stream."""
        return Member(delta, self.state, only, sessions=self.sessions, node=node)

    def ready(self, node: str, *shorts: str, delta: bool = True) -> Member:
        """One more stream that has taken everything of these types."""
        client = self.client(node, delta=delta)
        for short in shorts:
            client.ask(short)
            client.settle()
        return client

    def publish(self, state: Snapshot) -> None:
        """Something else is wanted."""
        self.state = state
        self.sessions.publish({GATEWAY: state})

    def change(self, *lines: str) -> None:
        """Another world is wanted."""
        self.publish(world(*lines))

    def record(self, node: str) -> ProxyRecord:
        """What is known of a client."""
        return next(one for one in self.sessions.records() if one.node_id == node)


def fleet(*lines: str) -> Fleet:
    """A server that wants this world."""
    return Fleet(world(*lines))
