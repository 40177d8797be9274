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
    """One request. `error` is None unless it is a NACK.

    Delta uses `subscribe`, `unsubscribe` and `initial` (what a returning client has); the state of the world uses
    `names` and `version` (the last that the client accepted, maybe on an earlier stream).
    """

    type_url: str
    nonce: str = ""
    error: str | None = None
    node: Node | None = None
    names: tuple[str, ...] = ()
    version: str = ""
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial: Mapping[str, str] = field(default_factory=dict)
    bare: bool = field(init=False, compare=False)
    """True if it says no more than that a response was taken."""

    def __post_init__(self) -> None:
        said = self.error is not None or self.node or self.names or self.subscribe or self.unsubscribe or self.initial
        object.__setattr__(self, "bare", bool(self.nonce and self.type_url and not said))
