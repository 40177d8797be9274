"""`Translated`: one Envoy message on its way into a snapshot, still a protobuf object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import Message

from xds_server.types import Origin


@dataclass(frozen=True, slots=True)
class Translated:
    """A named message, the documents that made it, and the (type URL, name) pairs of resources it refers to.

    `rest` are further fields of the message in Envoy's wire format, with a hash of each, made before; `whole` has them.
    `violation` is the rule of Envoy that one of them breaks, empty if none does. `ttl`: seconds after which an Envoy drops
    it unless it hears of it; 0: never. `on_demand`: a virtual host that is sent to those who ask for it, under its name
    or one of its `aliases`.
    """

    name: str
    message: Message
    origins: Sequence[Origin] = ()
    needs: tuple[tuple[str, str], ...] = ()
    ttl: float = 0.0
    on_demand: bool = False
    aliases: tuple[str, ...] = ()
    rest: tuple[tuple[bytes, bytes], ...] = ()
    violation: str = ""

    @property
    def whole(self) -> Message:
        """The message with all of its fields."""
        whole = type(self.message)()
        whole.CopyFrom(self.message)
        for data, _ in self.rest:
            whole.MergeFromString(data)
        return whole
