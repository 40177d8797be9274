"""A discovery request as the protocol core sees it, the same for both protocols.

In: parsed protobuf requests (see `wire.py`). Out: frozen values without protobuf.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Node:
    """Who asks. `cluster` names the gateway; `version` is the Envoy's own."""

    id: str = ""
    cluster: str = ""
    version: str = ""
    locality: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `error` is None unless it is a NACK. Delta uses `subscribe`, `unsubscribe` and `initial`;
    the state of the world uses `names`, and `resumes` if the client took a version of this type before."""

    type_url: str
    nonce: str = ""
    error: str | None = None
    node: Node | None = None
    names: tuple[str, ...] = ()
    resumes: bool = False
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial: Mapping[str, str] = field(default_factory=dict)
