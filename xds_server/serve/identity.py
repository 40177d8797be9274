"""Who may ask for what: the gateway that a node names.

In: a node and the names of gateways there are. Out: the gateway, or a refusal in words. With plain text on loopback
the node's own word counts.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass

from xds_server.serve.requests import Node

_SHOWN = 20
_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a stream is ended. `unknown` is True where the gateway does not exist, False where the request is malformed."""

    message: str
    unknown: bool = False


def gateway_of(node: Node | None, known: Collection[str]) -> str | Refused:
    """The gateway that a stream's first request names."""
    if node is None:
        return Refused("the first request of a stream must carry a node")
    if not node.id:
        return Refused("node.id is empty; every Envoy needs one of its own")
    if not node.cluster:
        return Refused("node.cluster is empty; it must be NAMESPACE/GATEWAY")
    if node.cluster in known:
        return node.cluster
    names = sorted(known)
    asked = node.cluster[:_LENGTH]
    close = difflib.get_close_matches(asked, names, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    return Refused(f"node.cluster {asked!r} is no gateway here.{hint} Known: {shown or 'none'}", unknown=True)
