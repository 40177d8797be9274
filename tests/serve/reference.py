"""A reference client: what an Envoy has after each response, told by the protocol's description alone.

In: responses as they are on the wire, and the wishes of a test. Out: requests, and the client's view: which resources
it has in which version. A version that ends in 9 is bad: the client refuses a response that holds one, names it, and
takes any part of the rest, as Envoy does. It fails at once when a message is needless or breaks the protocol.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

from tests.serve.playbook import DRAIN, SCOPE_DELAY, SHORT, TYPE_URLS
from xds_server.envoy_api.envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse
from xds_server.serve.differences import Differences
from xds_server.serve.requests import Request
from xds_server.serve.stream import Stream
from xds_server.serve.wire import Envelope
from xds_server.snapshot.resource import Snapshot

FULL = ("CDS", "LDS", "SRDS")
BAD = "9"


@dataclass
class Answer:
    """A response that the client has not read yet."""

    nonce: str
    resources: dict[str, str]
    removed: tuple[str, ...]


@dataclass
class Kind:
    """What the client wants and has of one type."""

    short: str
    started: bool = False
    named: bool = False
    wildcard: bool = False
    names: set[str] = field(default_factory=set)
    view: dict[str, str] = field(default_factory=dict)
    due: set[str] = field(default_factory=set)
    """Names that may come again although the client has them: asked for, or in doubt after a refusal."""
    inbox: list[Answer] = field(default_factory=list)
    nonces: list[str] = field(default_factory=list)

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self.names

    def drop_unwanted(self) -> None:
        self.view = {name: version for name, version in self.view.items() if self.wants(name)}


class Reference:
    """One client over any number of streams. `random` decides which part of a refused response it takes."""

    def __init__(
        self, delta: bool, snapshot: Snapshot, random: Random, shared: tuple[Envelope, Differences] | None = None
    ) -> None:
        self.delta, self.snapshot, self.random = delta, snapshot, random
        self.envelope, self.differences = shared or (Envelope(), Differences())
        self.kinds = {short: Kind(short) for short in TYPE_URLS}
        self.now = 0.0
        self.connect()

    def connect(self) -> None:
        """A new stream; the client says what it has, and wants what it wanted."""
        self.stream = Stream(self.delta, self.envelope, DRAIN, differences=self.differences)
        self.stream.replace_snapshot(self.snapshot)
        self.nonces: set[str] = set()
        for kind in self.kinds.values():
            kind.inbox, kind.nonces, kind.started = [], [], False
            # Scopes come again: a listener of the last stream may wait for them.
            kind.due = set() if self.delta and kind.short != "SRDS" else set("abcd")
        for kind in self.kinds.values():
            names = {*kind.names, *(("*",) if kind.wildcard else ())}
            if names:
                kind.named = True
                if self.delta:
                    self._request(kind, subscribe=names, initial=dict(kind.view))
                else:
                    self._request(kind, names=names)

    def change(self, snapshot: Snapshot) -> None:
        """The server wants another world."""
        self.snapshot = snapshot
        self.stream.replace_snapshot(snapshot)
        self._poll()

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds
        self._poll()

    def subscribe(self, short: str, subscribe: set[str], unsubscribe: set[str], *, stale: bool) -> None:
        """A delta request that changes the subscription."""
        kind = self.kinds[short]
        unsubscribe = unsubscribe - subscribe
        if not kind.started and not subscribe and not unsubscribe and short in FULL:
            kind.wildcard = True
        kind.wildcard = (kind.wildcard or "*" in subscribe) and "*" not in unsubscribe
        for name in kind.names & unsubscribe:
            kind.view.pop(name, None)
        kind.due |= (subscribe | (kind.names & unsubscribe)) - {"*"}
        kind.names = (kind.names | (subscribe - {"*"})) - unsubscribe
        kind.drop_unwanted()
        self._request(kind, stale=stale, subscribe=subscribe, unsubscribe=unsubscribe)

    def name(self, short: str, names: set[str], *, stale: bool) -> None:
        """A request of the state of the world, which says all names."""
        kind = self.kinds[short]
        kind.named = kind.named or bool(names)
        kind.wildcard = "*" in names or (short in FULL and not kind.named)
        kind.due |= set("abcd") if short in FULL or names == kind.names else names
        kind.names = names - {"*"}
        kind.drop_unwanted()
        self._request(kind, stale=stale, names=names)

    def _request(
        self,
        kind: Kind,
        *,
        stale: bool = False,
        error: str | None = None,
        nonce: str = "",
        names: Iterable[str] = (),
        subscribe: Iterable[str] = (),
        unsubscribe: Iterable[str] = (),
        initial: dict[str, str] | None = None,
    ) -> None:
        kind.started = True
        if not nonce and kind.nonces:
            nonce = self.random.choice(kind.nonces) if stale else kind.nonces[-1]
        unread = {one.nonce for one in kind.inbox}
        nonce = "" if nonce in unread else nonce  # the client cannot know it yet
        request = Request(
            TYPE_URLS[kind.short],
            nonce,
            error,
            names=tuple(names),
            subscribe=tuple(subscribe),
            unsubscribe=tuple(unsubscribe),
            initial=initial or {},
        )
        if self.stream.take(request, self.now) is None:
            self.stream.receive(request, self.now)
        idle, before = self.stream.is_idle(), len(self.nonces)
        self._poll()
        assert not idle or len(self.nonces) == before, "it was said to have nothing to say"

    def answer(self, short: str) -> bool:
        """Read the oldest response of a type and acknowledge or refuse it; False if there is none."""
        kind = self.kinds[short]
        if not kind.inbox:
            return False
        answer = kind.inbox.pop(0)
        bad = [name for name, version in answer.resources.items() if version.endswith(BAD)]
        self._take(kind, answer, bad)
        names = {*kind.names, *(("*",) if kind.wildcard and kind.named else ())}
        error = f"refused: {', '.join(bad)}" if bad else None
        self._request(kind, nonce=answer.nonce, error=error, names=() if self.delta else names)
        return True

    def _take(self, kind: Kind, answer: Answer, bad: list[str]) -> None:
        view = dict(kind.view)
        for name in answer.removed:
            view.pop(name, None)
        if not self.delta and kind.short in FULL:
            view = {name: version for name, version in view.items() if name in answer.resources}
        view |= {name: version for name, version in answer.resources.items() if name not in bad and kind.wants(name)}
        if bad:
            changed = {name for name in {*view, *kind.view} if view.get(name) != kind.view.get(name)}
            missed = {name for name in changed if self.random.random() < 0.5}
            view = {
                name: version
                for name in {*view, *kind.view}
                if (version := (kind.view if name in missed else view).get(name)) is not None
            }
            kind.due |= {*answer.resources, *answer.removed}
        kind.view = view

    def _poll(self) -> None:
        for type_url, data in self.stream.poll(self.now):
            kind = self.kinds[SHORT[type_url]]
            if self.delta:
                delta = DeltaDiscoveryResponse.FromString(data)
                resources = {one.name: one.version for one in delta.resources}
                assert len(resources) == len(delta.resources)
                answer = Answer(delta.nonce, resources, tuple(delta.removed_resources))
            else:
                whole = DiscoveryResponse.FromString(data)
                tokens = [one.value.decode() for one in whole.resources]
                answer = Answer(whole.nonce, {token[0]: token[1:] for token in tokens}, ())
                assert len(answer.resources) == len(tokens)
            self._check(kind, answer)
            kind.inbox.append(answer)
            kind.nonces.append(answer.nonce)

    def _check(self, kind: Kind, answer: Answer) -> None:
        """One response on its way, no nonce twice, and nothing that the client has already."""
        assert answer.nonce
        assert answer.nonce not in self.nonces
        self.nonces.add(answer.nonce)
        assert not kind.inbox, f"{kind.short}: a response while another is on its way"
        if self.delta or kind.short not in FULL:
            for name, version in answer.resources.items():
                assert kind.view.get(name) != version or name in kind.due, f"{kind.short} {name}{version}: needless"
        if kind.short == "CDS":
            self.kinds["EDS"].due |= set(answer.resources)
        kind.due -= set(answer.resources)

    def quiet(self) -> int:
        """Answer everything and let time pass until nothing comes any more; how many responses that took."""
        answered, idle = 0, 0
        while idle < 3:
            progress = sum(self.answer(short) for short in self.kinds)
            answered += progress
            assert answered < 60, "it does not end"
            if not progress:
                idle += 1
                self.wait(SCOPE_DELAY + 20)
            else:
                idle = 0
        return answered

    def compare(self) -> None:
        """What the client has is what is wanted, but for what it refused and what that keeps in use."""
        stuck = any(
            version.endswith(BAD)
            for short in ("LDS", "SRDS", "RDS")
            for name, version in self._wanted(short).items()
            if self.kinds[short].started and self.kinds[short].wants(name)
        )
        for short, kind in self.kinds.items():
            if not kind.started:
                continue
            wanted = {name: version for name, version in self._wanted(short).items() if kind.wants(name)}
            good = {name: version for name, version in wanted.items() if not version.endswith(BAD)}
            has = {name: version for name, version in kind.view.items() if name in good}
            assert has == good, f"{short}: has {kind.view}, should have {wanted}"
            # Nobody can tell what a client had that comes back with the state of the world and refuses the answer.
            keeps = (stuck and short != "LDS") or (not self.delta and good != wanted)
            if (self.delta or short in FULL) and not keeps:
                assert set(kind.view) <= set(wanted), f"{short}: has {kind.view}, should have {wanted}"

    def _wanted(self, short: str) -> dict[str, str]:
        return {name: one.version for name, one in self.snapshot.get(TYPE_URLS[short]).items()}
