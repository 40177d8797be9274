"""What is known of every Envoy: frozen views of streams, for status, metrics and the admin API.

In: a stream's channels. Out: `ProxyRecord`s. Nothing here is read back by the protocol.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from xds_server.serve.channel import Channel, Refusal
from xds_server.serve.verdicts import Verdict
from xds_server.snapshot.resource import Resource
from xds_server.types import Origin


@dataclass(frozen=True, slots=True)
class RefusalRecord:
    """A NACK of the Envoy `node`. `resources` are the guilty ones, as far as that is known; `origins` made them."""

    node: str
    version: str
    time: float
    message: str
    resources: tuple[str, ...]
    origins: tuple[Origin, ...]


@dataclass(frozen=True, slots=True)
class TypeRecord:
    """One type on one stream. `waiting_since` is when the unanswered response was sent, 0 if there is none.

    `held`: something waits for clusters that are not acknowledged. `standing`: the refusals because of which the Envoy
    does not have all that is wanted, not always its own. `refusal`: the last on this stream, maybe history.
    """

    type_url: str
    sent: str
    acknowledged: str
    acknowledged_at: float
    waiting_since: float
    synced: bool
    held: bool
    standing: tuple[RefusalRecord, ...]
    refusal: RefusalRecord | None


@dataclass(frozen=True, slots=True)
class ProxyRecord:
    """One stream of one Envoy. Times are seconds of the server's clock. `process`: which one serves it, of several; else 0."""

    node_id: str
    gateway: str
    protocol: str
    peer: str
    version: str
    locality: str
    connected_since: float
    last_message: float
    types: tuple[TypeRecord, ...]
    process: int = 0

    @property
    def synced(self) -> bool:
        """True if everything wanted is acknowledged."""
        return all(one.synced for one in self.types)

    @property
    def state(self) -> str:
        """`rejected` if something was refused, else `synced` or `waiting`."""
        if any(one.standing for one in self.types):
            return "rejected"
        return "synced" if self.synced else "waiting"


@dataclass(frozen=True, slots=True)
class Serving:
    """One of several processes that serve. `pid` is 0 while there is none; `problem` says what is wrong, empty if nothing."""

    number: int
    pid: int
    starts: int
    streams: int
    problem: str


def type_record(node: str, channel: Channel, verdicts: tuple[Verdict, ...], *, synced: bool, held: bool) -> TypeRecord:
    """The record of one channel. `synced`: the Envoy has all that it is served; `verdicts` say what it is not served."""
    sent = channel.in_flight
    return TypeRecord(
        channel.type_url,
        channel.sent_version,
        channel.acknowledged,
        channel.acknowledged_at,
        channel.sent_at if sent else 0.0,
        synced and not verdicts,
        held,
        _standing(verdicts),
        _refusal(node, channel.refusal) if channel.refusal else None,
    )


def _standing(verdicts: tuple[Verdict, ...]) -> tuple[RefusalRecord, ...]:
    """One record for what was refused together."""
    together: dict[tuple[str, str, str, float], list[Resource]] = {}
    for one in verdicts:
        together.setdefault((one.node, one.response, one.message, one.time), []).append(one.resource)
    return tuple(
        RefusalRecord(node, response, time, message, tuple(one.name for one in resources), _origins(resources))
        for (node, response, message, time), resources in together.items()
    )


def _refusal(node: str, refusal: Refusal) -> RefusalRecord:
    names = tuple(one.name for one in refusal.resources)
    return RefusalRecord(node, refusal.version, refusal.time, refusal.message, names, _origins(refusal.resources))


def _origins(resources: Iterable[Resource]) -> tuple[Origin, ...]:
    return tuple(dict.fromkeys(origin for one in resources for origin in one.origins))
