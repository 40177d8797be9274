"""`Translated`: one Envoy message on its way into a snapshot, still a protobuf object."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import Message

from xds_server.types import Origin


@dataclass(frozen=True, slots=True)
class Translated:
    """A named message, the documents that made it, and the (type URL, name) pairs of resources it refers to."""

    name: str
    message: Message
    origins: tuple[Origin, ...] = ()
    needs: tuple[tuple[str, str], ...] = ()
