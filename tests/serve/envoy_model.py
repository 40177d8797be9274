"""A small model of Envoy: what it keeps, when a cluster is warm, when it acknowledges, and what it refuses.

In: responses, read one at a time. Out: requests as Envoy makes them. It fails as soon as routes that it uses refer to a
cluster that it does not have, or a listener that serves loses its routes. Resources say in their body what they use:
`r 3: a b` is version 3 of table `r`, with clusters `a` and `b`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.serve.playbook import SHORT, TYPE_URLS
from xds_server.envoy_api.envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse
from xds_server.serve.requests import Node, Request
from xds_server.serve.sessions import Session, Sessions
from xds_server.serve.stream import Stream
from xds_server.serve.wire import Envelope
from xds_server.snapshot.resource import CLUSTER, ENDPOINTS, ROUTES, Resource

GATEWAY = "default/web"
WILDCARD = ("CDS", "LDS")


def made(short: str, name: str, version: int, *uses: str) -> Resource:
    """A resource; listeners use tables, tables use clusters, clusters use their endpoints."""
    kinds = {"LDS": ROUTES, "RDS": CLUSTER, "CDS": ENDPOINTS}
    needs = tuple((kinds[short], one) for one in uses) if short in kinds else ()
    body = f"{name} {version}: {' '.join(uses)}".encode()
    return Resource(TYPE_URLS[short], name, body, f"{version}.{'.'.join(uses)}", (), needs)


@dataclass(frozen=True)
class Thing:
    """A resource as the Envoy has it."""

    name: str
    version: str
    number: int
    uses: tuple[str, ...]


@dataclass
class Response:
    """A response that is not read yet, or not acknowledged yet because clusters are warming."""

    nonce: str
    version: str
    things: tuple[Thing, ...]
    removed: tuple[str, ...]
    warming: set[str] = field(default_factory=set)


def thing(body: bytes, version: str = "") -> Thing:
    name, number, *uses = body.decode().replace(":", "").split()
    return Thing(name, version, int(number), tuple(uses))


class Envoy:
    """One Envoy. It refuses versions from `bad` on. `has` is what it uses, by type and name."""

    def __init__(self, sessions: Sessions, node: str, *, delta: bool, bad: int) -> None:
        self.sessions, self.node, self.delta, self.bad = sessions, node, delta, bad
        self.now = 0.0
        self.start()

    def start(self) -> None:
        """A new process: it has nothing."""
        self.has: dict[str, dict[str, Thing]] = {short: {} for short in ("CDS", "EDS", "LDS", "RDS")}
        self.versions: dict[str, str] = {}
        self.cold: set[str] = set()
        """Clusters that never had endpoints; an update of a warm one leaves that in use until it is warm, too."""
        self.waiting: dict[str, Thing] = {}
        """Listeners that wait for their table."""
        self.session: Session | None = None
        self.connect()

    def connect(self) -> None:
        """A new stream; what it has it keeps.

        In the state of the world nobody tells a server what it has: what the first answer leaves out goes at once.
        """
        self.excused = not self.delta and bool(self.has["CDS"])
        if self.session is not None:
            self.sessions.close(self.session, self.now)
        self.inbox: list[tuple[str, Response]] = []
        self.nonces: dict[str, str] = dict.fromkeys(self.has, "")
        self.asked: dict[str, set[str]] = {"EDS": set(), "RDS": set()}
        self.warming: Response | None = None
        stream = Stream(self.delta, Envelope(), 5.0)
        self.session = Session(stream, Node(self.node, GATEWAY), GATEWAY, "", self.now, self.now, lambda: None)
        self.sessions.open(self.session)
        for short in ("CDS", "LDS"):
            self._request(short)
        self._subscribe()

    def leave(self) -> None:
        """The stream ends; requests go on."""
        assert self.session is not None
        self.sessions.close(self.session, self.now)

    def _waiting(self, short: str) -> dict[str, Thing]:
        return self.waiting if short == "LDS" else {}

    def _tables(self) -> set[str]:
        listeners = (*self.has["LDS"].values(), *self.waiting.values())
        return {name for listener in listeners for name in listener.uses}

    def _subscribe(self) -> None:
        """Ask for the endpoints of clusters and the tables of listeners; drop those that nothing uses."""
        for short, names in (
            ("EDS", {name for one in self.has["CDS"].values() for name in one.uses}),
            ("RDS", self._tables()),
        ):
            new, gone = names - self.asked[short], self.asked[short] - names
            first = not self.nonces[short] and not self.asked[short]
            self.asked[short] = names
            for name in gone:
                self.has[short].pop(name, None)
            if new or gone:
                initial = {one.name: one.version for one in self.has[short].values()} if first else {}
                self._request(short, subscribe=new, unsubscribe=gone, initial=initial)

    def _request(
        self,
        short: str,
        *,
        nonce: str | None = None,
        error: str | None = None,
        subscribe: set[str] = frozenset(),  # type: ignore[assignment]
        unsubscribe: set[str] = frozenset(),  # type: ignore[assignment]
        initial: dict[str, str] | None = None,
    ) -> None:
        assert self.session is not None
        if self.delta:
            had = {**self.has[short], **self._waiting(short)}
            if short in WILDCARD and nonce is None and had:
                initial = {one.name: one.version for one in had.values()}
                subscribe = {"*"}
            request = Request(
                TYPE_URLS[short],
                nonce or "",
                error,
                subscribe=tuple(sorted(subscribe)),
                unsubscribe=tuple(sorted(unsubscribe)),
                initial=initial or {},
            )
        else:
            nonce = self.nonces[short] if nonce is None else nonce
            names = tuple(sorted(self.asked.get(short, ())))
            request = Request(TYPE_URLS[short], nonce, error, names=names, version=self.versions.get(short, ""))
        self.sessions.receive(self.session, request, self.now)
        self.poll()

    def poll(self) -> None:
        """Take from the wire what the server says; it is not read yet."""
        assert self.session is not None
        for type_url, data in self.session.core.poll(self.now):
            short = SHORT[type_url]
            if self.delta:
                delta = DeltaDiscoveryResponse.FromString(data)
                things = tuple(thing(one.resource.value, one.version) for one in delta.resources)
                response = Response(delta.nonce, delta.system_version_info, things, tuple(delta.removed_resources))
            else:
                whole = DiscoveryResponse.FromString(data)
                things = tuple(thing(one.value) for one in whole.resources)
                response = Response(whole.nonce, whole.version_info, things, ())
            self.inbox.append((short, response))

    def read(self) -> bool:
        """Read the oldest response; False if there is none."""
        if not self.inbox:
            return False
        short, response = self.inbox.pop(0)
        if not self.delta and short in WILDCARD:
            response.removed = tuple({*self.has[short], *self._waiting(short)} - {one.name for one in response.things})
        self.nonces[short] = response.nonce
        bad = [one.name for one in response.things if one.number >= self.bad]
        good = [one for one in response.things if one.name not in bad]
        {"CDS": self._clusters, "EDS": self._endpoints, "LDS": self._listeners, "RDS": self._routes}[short](
            good, response
        )
        if short == "CDS" and not bad:
            self.warming = response
            self._warm()
        else:
            self._answer(short, response, f"{short} {' '.join(bad)}: bad" if bad else None)
        self._subscribe()
        self.check()
        return True

    def _answer(self, short: str, response: Response, error: str | None = None) -> None:
        if error is None:
            self.versions[short] = response.version
        self._request(short, nonce=response.nonce, error=error)

    def _clusters(self, good: list[Thing], response: Response) -> None:
        for one in good:
            if self.has["CDS"].get(one.name) != one:
                response.warming.update(one.uses)
            if one.name not in self.has["CDS"]:
                self.cold.add(one.name)
            self.has["CDS"][one.name] = one
        for name in response.removed:
            self.has["CDS"].pop(name, None)

    def _endpoints(self, good: list[Thing], response: Response) -> None:
        if self.warming is not None:
            self.warming.warming.difference_update(response.removed)  # a cluster that has none is warm, too
        for one in good:
            if one.name in self.asked["EDS"]:
                self.has["EDS"][one.name] = one
            if self.warming is not None:
                self.warming.warming.discard(one.name)
        self._warm()

    def _warm(self) -> None:
        """Clusters are acknowledged when all of them are warm, which takes their endpoints."""
        if self.warming is not None:
            self.cold &= self.warming.warming
        if self.warming is not None and not self.warming.warming:
            response, self.warming = self.warming, None
            self._answer("CDS", response)

    def _listeners(self, good: list[Thing], response: Response) -> None:
        for one in good:
            if all(name in self.has["RDS"] for name in one.uses):
                self.has["LDS"][one.name] = one
                self.waiting.pop(one.name, None)
            else:
                self.waiting[one.name] = one
        for name in response.removed:
            self.has["LDS"].pop(name, None)
            self.waiting.pop(name, None)

    def _routes(self, good: list[Thing], _response: Response) -> None:
        for one in good:
            if one.name in self.asked["RDS"]:
                # Nobody has a right to wait for a table that a listener waits for; else clusters are warm before it.
                early = self.cold.intersection(one.uses) if one.name in self.has["RDS"] else ()
                assert not early, f"{one} before {early}"
                self.has["RDS"][one.name] = one
        for listener in list(self.waiting.values()):
            if all(name in self.has["RDS"] for name in listener.uses):
                self.has["LDS"][listener.name] = self.waiting.pop(listener.name)

    def check(self) -> None:
        """What serves has all that it refers to."""
        if self.excused:
            return
        for listener in self.has["LDS"].values():
            for table in listener.uses:
                assert table in self.has["RDS"], f"{self.node}: listener {listener} lost table {table}"
                for cluster in self.has["RDS"][table].uses:
                    assert cluster in self.has["CDS"], f"{self.node}: table {table} uses {cluster}, which is not there"
