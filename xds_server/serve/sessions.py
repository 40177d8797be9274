"""The open streams, by gateway and by Envoy: what one of them acknowledges or refuses concerns the others.

In: snapshots, streams that open and close, requests. Out: sessions to look after again (their `wake` is called), and
records. It awaits nothing and opens nothing: `grpc.py` does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from xds_server.serve.former import Former
from xds_server.serve.messages import Event
from xds_server.serve.order import DRAIN_MARGIN
from xds_server.serve.records import ProxyRecord, type_record
from xds_server.serve.requests import Node, Request
from xds_server.serve.stream import Stream
from xds_server.serve.verdicts import Name, Verdict, Verdicts
from xds_server.snapshot.resource import Resource, Snapshot

_VERDICTS = 1000
"""Of so many resources of one type a record shows the verdicts."""


@dataclass(eq=False, slots=True)
class Session:
    """One open stream of one Envoy. `wake` is called when it may have something to say."""

    core: Stream
    node: Node
    gateway: str
    peer: str
    connected: float
    last_message: float
    wake: Callable[[], None]
    refused_before: frozenset[Name] = frozenset()
    """What the Envoy refused on an earlier stream: tried once more when it has everything else."""
    retried: frozenset[Name] = frozenset()
    twins: Collection[Session] = ()
    """All streams of the same Envoy, this one among them."""


class Court(Protocol):
    """Who takes what Envoys say of resources, where several processes serve: it tells all of them, in one order."""

    def took(self, gateway: str, node: str, resources: Iterable[Resource]) -> None:
        """An Envoy took these."""

    def refused(self, gateway: str, said: Sequence[Verdict]) -> None:
        """An Envoy refused what is in these; there is one at least."""


@dataclass(slots=True)
class Sessions:
    """All open streams, and the verdicts of all Envoys.

    `court`: without one, what an Envoy says counts here at once. `process`: the number of this process among several.
    """

    court: Court | None = None
    process: int = 0
    touched: set[Session] | None = None
    """Sessions whose records may have changed, if somebody asks; who does takes them out."""
    _open: set[Session] = field(default_factory=set)
    _of_node: dict[tuple[str, str], set[Session]] = field(default_factory=dict)
    _verdicts: dict[str, Verdicts] = field(default_factory=dict)
    _former: Former = field(default_factory=Former)

    def __len__(self) -> int:
        return len(self._open)

    @property
    def gateways(self) -> Collection[str]:
        """The gateways that can be asked for."""
        return self._verdicts.keys()

    def snapshot(self, gateway: str) -> Snapshot | None:
        """What is wanted of a gateway; None if there is no such gateway any more."""
        verdicts = self._verdicts.get(gateway)
        return None if verdicts is None else verdicts.wanted

    def snapshots(self) -> Iterable[Snapshot]:
        """What is wanted of each gateway."""
        return [verdicts.wanted for verdicts in self._verdicts.values()]

    def verdicts(self) -> dict[str, Verdicts]:
        """What Envoys said of what is wanted of each gateway, for another process."""
        return {gateway: verdicts.kept() for gateway, verdicts in self._verdicts.items()}

    def adopt(self, verdicts: Mapping[str, Verdicts]) -> None:
        """Begin with what another process knows."""
        self._verdicts.update(verdicts)

    def is_news(self, gateway: str, node: str, resources: Iterable[Resource]) -> bool:
        """Whether it would change anything that an Envoy took these."""
        verdicts = self._verdicts.get(gateway)
        return verdicts is not None and verdicts.is_news(node, resources)

    def took(self, gateway: str, node: str, resources: Iterable[Resource]) -> None:
        """An Envoy took these: that counts now."""
        verdicts = self._verdicts.get(gateway)
        if verdicts is not None and verdicts.accept(node, resources):
            self._serve_all(gateway)

    def refused(self, gateway: str, said: Sequence[Verdict]) -> None:
        """An Envoy refused what is in these: that counts now."""
        verdicts = self._verdicts.get(gateway)
        if verdicts is None:
            return
        if verdicts.refuse(said) or self.touched is not None:  # records of others show it, too
            self._serve_all(gateway)
        else:
            for one in self._of_node.get((gateway, said[0].node), ()):
                self._serve(one)

    def touch(self, session: Session) -> None:
        """The record of a session may have changed."""
        if self.touched is not None:
            self.touched.add(session)

    def publish(self, snapshots: Mapping[str, Snapshot]) -> list[Resource]:
        """These are wanted from now on. A gateway that is not among them keeps its last one.

        The answer is what some gateway wants no more.
        """
        gone: list[Resource] = []
        changed: set[str] = set()
        for gateway, snapshot in snapshots.items():
            verdicts = self._verdicts.get(gateway)
            if verdicts is None:
                self._verdicts[gateway] = Verdicts(snapshot)
            else:
                wanted = _joined(verdicts.wanted, snapshot)
                if wanted is verdicts.wanted:
                    continue
                gone += verdicts.replace(wanted)
            changed.add(gateway)
        for session in self._open:
            if session.gateway in changed:
                self._serve(session)
        return gone

    def forget(self, gateway: str) -> None:
        """A gateway no longer exists: its streams go on with what they have, and there are no new ones."""
        self._verdicts.pop(gateway, None)
        self._former.forget(gateway)
        for session in self._open if self.touched is not None else ():
            self.touch(session)

    def open(self, session: Session) -> None:
        """A stream begins."""
        key = (session.gateway, session.node.id)
        twins = self._of_node.setdefault(key, set())
        verdicts = self._verdicts[session.gateway]
        if not twins:
            session.refused_before = verdicts.refused_by(session.node.id)
        if session.core.only:
            # An aggregated stream knows all of its Envoy itself, and one that was left behind must not hold up the next.
            session.core.peers = lambda: [one.core.channels for one in twins if one is not session and one.core.only]
        if session.core.inherits:
            former = self._former.take(key, session.connected)
            session.core.former = next((left for one in _newest(twins) if (left := one.core.left())), former)
        self._open.add(session)
        twins.add(session)
        session.twins = twins
        session.core.replace_snapshot(verdicts.served(session.node.id))
        self.touch(session)

    def close(self, session: Session, now: float) -> None:
        """A stream ended."""
        key = (session.gateway, session.node.id)
        self._open.discard(session)
        self.touch(session)
        if session.core.inherits and session.core.snapshot is not None and session.gateway in self._verdicts:
            self._former.keep(key, session.core.left(), now, session.core.snapshot.drain + DRAIN_MARGIN)
        twins = self._of_node.get(key, set())
        twins.discard(session)
        if not twins:
            self._of_node.pop(key, None)
        for one in twins:
            one.wake()

    def receive(self, session: Session, request: Request, now: float) -> Event | None:
        """Read a request on a stream."""
        session.last_message = now
        event = session.core.receive(request, now)
        verdicts = self._verdicts.get(session.gateway)
        if verdicts is not None:
            if request.initial:
                # What a client has of an earlier stream it accepted then.
                wanted, differences = (
                    verdicts.wanted.get(request.type_url or session.core.only),
                    session.core.differences,
                )
                had: Iterable[Resource]
                if request.initial == differences.versions(wanted):
                    had = differences.all_of(wanted)
                else:
                    named = [wanted[name] for name in request.initial if name in wanted]
                    had = [one for one in named if one.version == request.initial[one.name]]
                if self.court is None:
                    verdicts.accept(session.node.id, had)
                elif verdicts.is_news(session.node.id, had):
                    self.court.took(session.gateway, session.node.id, had)
            if event is not None and event.resources:
                self._judge(session, verdicts, event, now)
            if session.refused_before:
                self._retry(session, verdicts)
        self._look_after(session)
        return event

    def take(self, session: Session, request: Request, now: float) -> Event | None:
        """The most frequent request, an ACK and nothing else, read on a short way; None: it is to be received."""
        event = session.core.take(request, now)
        if event is not None:
            session.last_message = now
            verdicts = self._verdicts.get(session.gateway)
            if verdicts is not None:
                if event.resources:
                    self._accept(session, verdicts, event.resources)
                if session.refused_before:
                    self._retry(session, verdicts)
            self._look_after(session)
        return event

    def _look_after(self, session: Session) -> None:
        if self.touched is not None:
            self.touched.add(session)
        twins = session.twins
        if len(twins) > 1 or not session.core.is_idle():
            for one in twins:
                one.wake()

    def _serve_all(self, gateway: str) -> None:
        for one in self._open:
            if one.gateway == gateway:
                self._serve(one)

    def _accept(self, session: Session, verdicts: Verdicts, resources: tuple[Resource, ...]) -> None:
        if self.court is None:
            if verdicts.accept(session.node.id, resources):
                self._serve_all(session.gateway)
        elif verdicts.is_news(session.node.id, resources):
            self.court.took(session.gateway, session.node.id, resources)

    def _judge(self, session: Session, verdicts: Verdicts, event: Event, now: float) -> None:
        if not event.refused:
            self._accept(session, verdicts, event.resources)
            return
        version = session.core.channels[event.type_url].sent_version
        said = [Verdict(session.node.id, one, version, event.message, now) for one in event.resources]
        session.retried -= {(one.type_url, one.name) for one in event.resources}
        (self.court or self).refused(session.gateway, said)

    def _retry(self, session: Session, verdicts: Verdicts) -> None:
        """An Envoy that came back and has a set that works is sent once more what it refused before."""
        channels = session.core.channels
        asked = all(channels[type_url].requested for type_url, _ in session.refused_before)
        if asked and session.core.in_sync():
            session.retried, session.refused_before = session.refused_before, frozenset()
            session.core.replace_snapshot(verdicts.served(session.node.id, session.retried))

    def _serve(self, session: Session) -> None:
        verdicts = self._verdicts.get(session.gateway)
        if verdicts is not None:
            snapshot = verdicts.served(session.node.id, session.retried)
            if snapshot is not session.core.snapshot:
                session.core.replace_snapshot(snapshot)
                session.wake()
            self.touch(session)

    def connected(self) -> set[str]:
        """The gateways that have a stream."""
        return {gateway for gateway, _ in self._of_node}

    def records(self) -> tuple[ProxyRecord, ...]:
        """All open streams, by gateway, Envoy and time."""
        records = (self.record(session) for session in self._open)
        return tuple(sorted(records, key=lambda one: (one.gateway, one.node_id, one.connected_since)))

    def is_open(self, session: Session) -> bool:
        """Whether a stream goes on."""
        return session in self._open

    def record(self, session: Session) -> ProxyRecord:
        """What is known of one stream."""
        core, verdicts = session.core, self._verdicts.get(session.gateway)
        standing = verdicts.standing(session.node.id) if verdicts is not None else {}
        types = [
            type_record(
                session.node.id,
                channel,
                standing.get(channel.type_url, ())[:_VERDICTS],
                synced=core.type_in_sync(channel.type_url),
                held=core.holds(channel.type_url),
            )
            for channel in core.requested
        ]
        return ProxyRecord(
            session.node.id,
            session.gateway,
            "delta" if core.delta else "sotw",
            session.peer,
            session.node.version,
            session.node.locality,
            session.connected,
            session.last_message,
            tuple(types),
            self.process,
        )


def _newest(twins: Iterable[Session]) -> list[Session]:
    """Streams that scopes come on, in the state of the world; the newest first."""
    return sorted((one for one in twins if one.core.inherits), key=lambda one: -one.connected)


def _joined(before: Snapshot, after: Snapshot) -> Snapshot:
    """The second, with all of the first that is the same in it; the first, if all is. Streams look only at what is not."""
    kept = {type_url: was for type_url, new in after.resources.items() if _is_same(was := before.get(type_url), new)}
    if len(kept) == len(after.resources) == len(before.resources) and before.drain == after.drain:
        return before
    return replace(after, resources={**after.resources, **kept})


def _is_same(was: Mapping[str, Resource], new: Mapping[str, Resource]) -> bool:
    return was is new or (len(was) == len(new) and all(was.get(name) is one for name, one in new.items()))
