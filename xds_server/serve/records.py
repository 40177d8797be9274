"""What is known of every Envoy: frozen views of streams, for status, metrics and the admin API.

In: a stream's channels. Out: `ProxyRecord`s. Nothing here is read back by the protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xds_server.serve.channel import Channel, Refusal
from xds_server.snapshot.resource import Resource
from xds_server.types import Origin


@dataclass(frozen=True, slots=True)
class RefusalRecord:
    """A NACK. `resources` are the guilty ones: those that Envoy's text names, else all; `origins` made them.

    `stands`: they are still wanted in that version.
    """

    version: str
    time: float
    message: str
    resources: tuple[str, ...]
    origins: tuple[Origin, ...]
    stands: bool


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

    @property
    def standing(self) -> RefusalRecord | None:
        """The last refusal, while what was refused is still wanted."""
        return self.refusal if self.refusal is not None and self.refusal.stands else None


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
        if any(one.standing for one in self.types):
            return "rejected"
        return "synced" if self.synced else "waiting"


def type_record(channel: Channel, wanted: Mapping[str, Resource]) -> TypeRecord:
    """The record of one channel, given what is wanted."""
    sent = channel.in_flight
    return TypeRecord(
        channel.type_url,
        channel.sent_version,
        channel.acknowledged,
        channel.acknowledged_at,
        sent.time if sent else 0.0,
        channel.in_sync(wanted),
        _refusal(channel.refusal, stands=channel.is_refusing(wanted)) if channel.refusal else None,
    )


def _refusal(refusal: Refusal, *, stands: bool) -> RefusalRecord:
    origins = dict.fromkeys(origin for one in refusal.resources for origin in one.origins)
    names = tuple(one.name for one in refusal.resources)
    return RefusalRecord(refusal.version, refusal.time, refusal.message, names, tuple(origins), stands)
