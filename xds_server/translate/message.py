"""`Translated`: one Envoy message on its way into a snapshot, still a protobuf object."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import Message

from xds_server.types import Origin


@dataclass(frozen=True, slots=True)
class Translated:
    """A named message, the documents that made it, and the (type URL, name) pairs of resources it refers to.

    `ttl`: seconds after which an Envoy drops it unless it hears of it; 0: never. `on_demand`: a virtual host that is
    sent to those who ask for it, under its name or one of its `aliases`.
    """

    name: str
    message: Message
    origins: tuple[Origin, ...] = ()
    needs: tuple[tuple[str, str], ...] = ()
    ttl: float = 0.0
    on_demand: bool = False
    aliases: tuple[str, ...] = ()
