"""What happened on the xDS port: numbers, and who else is told.

In: messages and streams as they come and go. Out: counts since the start. Nothing here is read back by the protocol.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """How many messages there were, by type URL; and streams that were refused, by the name of the gRPC status."""

    responses: Counter[str] = field(default_factory=Counter)
    acks: Counter[str] = field(default_factory=Counter)
    nacks: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    begun: int = 0
    """Streams, with those that were refused."""
    unknown_types: int = 0
    """Requests for types that are not served."""
    unknown_nonces: int = 0
    """Requests with a nonce that was never issued."""

    def copy(self) -> Counters:
        """The numbers of now."""
        copied = Counters()
        copied.add(self)
        return copied

    def since(self, before: Counters) -> Counters:
        """What has come since then."""
        return Counters(
            self.responses - before.responses,
            self.acks - before.acks,
            self.nacks - before.nacks,
            self.refused - before.refused,
            self.begun - before.begun,
            self.unknown_types - before.unknown_types,
            self.unknown_nonces - before.unknown_nonces,
        )

    def add(self, more: Counters) -> None:
        """What another process counted happened, too."""
        self.responses.update(more.responses)
        self.acks.update(more.acks)
        self.nacks.update(more.nacks)
        self.refused.update(more.refused)
        self.begun += more.begun
        self.unknown_types += more.unknown_types
        self.unknown_nonces += more.unknown_nonces


@dataclass(frozen=True, slots=True)
class Listeners:
    """Who is told what: the type and the seconds from push to ACK; sentences about clients that ask for nonsense.

    `lagged`: by how many seconds the loop of another process that serves was late.
    """

    acknowledged: Callable[[str, float], None] = lambda _type_url, _seconds: None
    warned: Callable[[str], None] = lambda _sentence: None
    lagged: Callable[[float], None] = lambda _seconds: None
