"""The open streams, by gateway and by Envoy: what one of them acknowledges or refuses concerns the others.

In: snapshots, streams that open and close, requests. Out: sessions to look after again (their `wake` is called), and
records. It awaits nothing and opens nothing: `grpc.py` does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from xds_server.serve.records import ProxyRecord, type_record
from xds_server.serve.requests import Node, Request
from xds_server.serve.stream import Event, Stream
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


@dataclass(slots=True)
class Sessions:
    """All open streams, and the verdicts of all Envoys."""

    _open: set[Session] = field(default_factory=set)
    _of_node: dict[tuple[str, str], set[Session]] = field(default_factory=dict)
    _verdicts: dict[str, Verdicts] = field(default_factory=dict)

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

    def publish(self, snapshots: Mapping[str, Snapshot]) -> list[Resource]:
        """These are wanted from now on. A gateway that is not among them keeps its last one.

        The answer is what some gateway wants no more.
        """
        gone: list[Resource] = []
        for gateway, snapshot in snapshots.items():
            verdicts = self._verdicts.get(gateway)
            if verdicts is None:
                self._verdicts[gateway] = Verdicts(snapshot)
            else:
                wanted = _joined(verdicts.wanted, snapshot)
                if wanted is not verdicts.wanted:
                    gone += verdicts.replace(wanted)
        for session in self._open:
            self._serve(session)
        return gone

    def forget(self, gateway: str) -> None:
        """A gateway no longer exists: its streams go on with what they have, and there are no new ones."""
        self._verdicts.pop(gateway, None)

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
        self._open.add(session)
        twins.add(session)
        session.twins = twins
        session.core.replace_snapshot(verdicts.served(session.node.id))

    def close(self, session: Session) -> None:
        """A stream ended."""
        key = (session.gateway, session.node.id)
        self._open.discard(session)
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
                if request.initial == differences.versions(wanted):
                    verdicts.accept(session.node.id, differences.all_of(wanted))
                else:
                    had = [wanted[name] for name in request.initial if name in wanted]
                    verdicts.accept(session.node.id, [one for one in had if one.version == request.initial[one.name]])
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
                if event.resources and verdicts.accept(session.node.id, event.resources):
                    self._serve_all(session.gateway)
                if session.refused_before:
                    self._retry(session, verdicts)
            self._look_after(session)
        return event

    def _look_after(self, session: Session) -> None:
        twins = session.twins
        if len(twins) > 1 or not session.core.is_idle():
            for one in twins:
                one.wake()

    def _serve_all(self, gateway: str) -> None:
        for one in self._open:
            if one.gateway == gateway:
                self._serve(one)

    def _judge(self, session: Session, verdicts: Verdicts, event: Event, now: float) -> None:
        node = session.node.id
        if event.refused:
            version = session.core.channels[event.type_url].sent_version
            said = [Verdict(node, one, version, event.message, now) for one in event.resources]
            session.retried -= {(one.type_url, one.name) for one in event.resources}
            others = verdicts.refuse(said)
        else:
            others = verdicts.accept(node, event.resources)
        if others:
            self._serve_all(session.gateway)
        elif event.refused:
            for one in self._of_node[session.gateway, node]:
                self._serve(one)

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

    def connected(self) -> set[str]:
        """The gateways that have a stream."""
        return {gateway for gateway, _ in self._of_node}

    def records(self) -> tuple[ProxyRecord, ...]:
        """All open streams, by gateway, Envoy and time."""
        records = (self._record(session) for session in self._open)
        return tuple(sorted(records, key=lambda one: (one.gateway, one.node_id, one.connected_since)))

    def _record(self, session: Session) -> ProxyRecord:
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
        )


def _joined(before: Snapshot, after: Snapshot) -> Snapshot:
    """The second, with all of the first that is the same in it; the first, if all is. Streams look only at what is not."""
    kept = {type_url: was for type_url, new in after.resources.items() if _is_same(was := before.get(type_url), new)}
    if len(kept) == len(after.resources) == len(before.resources):
        return before
    return replace(after, resources={**after.resources, **kept})


def _is_same(was: Mapping[str, Resource], new: Mapping[str, Resource]) -> bool:
    return was is new or (len(was) == len(new) and all(was.get(name) is one for name, one in new.items()))
