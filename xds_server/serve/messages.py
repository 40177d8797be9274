"""What is said on streams, as values: responses that streams share, who makes them, and what a request meant.

In: what is to be sent. Out: bytes with a number. Nothing here knows the state of a stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from xds_server.serve.channel import Sent
from xds_server.snapshot.resource import Resource


@dataclass(frozen=True, slots=True)
class Message:
    """A response as bytes. Streams that are told the same get the same bytes, and so the same nonce, which is `number`
    in hexadecimal digits."""

    number: int
    nonce: str
    """What the client repeats in its answer. No stream gets one twice: on each they only grow."""
    data: bytes


@dataclass(slots=True)
class Told:
    """What all streams are told that go from one state to another: how much it is, and its bytes if they are made."""

    sent: Sent
    size: int
    message: Message | None = None


class Encoder(Protocol):
    """Joins prepared bytes of resources into a response; shared by all streams."""

    def delta(self, sent: Sent, type_url: str, after: int) -> Message:
        """A DeltaDiscoveryResponse, whose number is greater than `after`."""

    def full(self, sent: Sent, type_url: str, after: int) -> Message:
        """A DiscoveryResponse, likewise."""


class Event(NamedTuple):
    """What a request meant: an ACK (with the seconds since the push) or a NACK of a type. There is one for each ACK.

    `resources` are what the client took anew, or what was found guilty; `message` its words.
    """

    type_url: str
    refused: bool
    seconds: float
    resources: tuple[Resource, ...] = ()
    message: str = ""
