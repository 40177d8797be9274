"""What is known of every Envoy: frozen views of streams, for status, metrics and the admin API.

In: a stream's channels. Out: `ProxyRecord`s. Nothing here is read back by the protocol.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from xds_server.serve.channel import Channel, Refusal
from xds_server.snapshot.resource import Resource
from xds_server.types import Origin


@dataclass(frozen=True, slots=True)
class RefusalRecord:
    """A NACK. `resources` are those that Envoy's text names, else all of the refused response; `origins` made them."""

    version: str
    time: float
    message: str
    resources: tuple[str, ...]
    origins: tuple[Origin, ...]


@dataclass(frozen=True, slots=True)
class TypeRecord:
    """One type on one stream. `waiting_since` is when the unanswered response was sent, 0 if there is none."""

    type_url: str
    sent: str
    acknowledged: str
    acknowledged_at: float
    waiting_since: float
    synced: bool
    refusal: RefusalRecord | None


@dataclass(frozen=True, slots=True)
class ProxyRecord:
    """One stream of one Envoy. Times are seconds of the server's clock."""

    node_id: str
    gateway: str
    protocol: str
    peer: str
    version: str
    locality: str
    connected_since: float
    last_message: float
    types: tuple[TypeRecord, ...]

    @property
    def synced(self) -> bool:
        """True if everything wanted is acknowledged."""
        return all(one.synced for one in self.types)

    @property
    def state(self) -> str:
        """`rejected` if something was refused, else `synced` or `waiting`."""
        if any(one.refusal for one in self.types):
            return "rejected"
        return "synced" if self.synced else "waiting"


def type_record(channel: Channel, *, synced: bool) -> TypeRecord:
    """The record of one channel."""
    sent = channel.in_flight
    return TypeRecord(
        channel.type_url,
        channel.sent_version,
        channel.acknowledged,
        channel.acknowledged_at,
        sent.time if sent else 0.0,
        synced,
        _refusal(channel.refusal) if channel.refusal else None,
    )


def _refusal(refusal: Refusal) -> RefusalRecord:
    guilty = _named(refusal.resources, refusal.message) or refusal.resources
    origins = dict.fromkeys(origin for one in guilty for origin in one.origins)
    return RefusalRecord(
        refusal.version, refusal.time, refusal.message, tuple(one.name for one in guilty), tuple(origins)
    )


def _named(resources: Iterable[Resource], message: str) -> tuple[Resource, ...]:
    """The resources whose names Envoy's text holds, the longest names first: `a/b` is also in `a/b2`."""
    found: list[Resource] = []
    rest = message
    for one in sorted(resources, key=lambda one: -len(one.name)):
        if one.name in rest:
            found.append(one)
            rest = rest.replace(one.name, "")
    return tuple(found)
