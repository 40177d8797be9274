"""`Unresolved`: why a reference leads nowhere, in Gateway API's words. A value, so that its share alone is lost."""

from __future__ import annotations

from dataclasses import dataclass

from xds_server.diagnostics import Path


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A reason of Gateway API, a message, and where below the backendRef."""

    reason: str
    message: str
    path: Path = ()
    hint: str = ""
