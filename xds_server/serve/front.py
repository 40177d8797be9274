"""What the rest of the server knows of those who serve Envoys, whether that is this process or several others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from xds_server.serve.counters import Counters
from xds_server.serve.loads import Loads
from xds_server.serve.pressure import Pressure
from xds_server.serve.records import ProxyRecord, Serving
from xds_server.serve.revocation import Revocations
from xds_server.serve.tls import Credentials
from xds_server.serve.tokens import Tokens
from xds_server.snapshot.resource import Snapshot


class Front(Protocol):
    """Serves snapshots to Envoys. What it tells of streams is what was known at the last `look`, or is newer."""

    counters: Counters
    loads: Loads
    pressure: Pressure

    @property
    def revocations(self) -> Revocations | None:
        """What was given to `refuse_revoked`."""

    def ask_for_tokens(self, tokens: Tokens) -> None:
        """Whoever comes in plain text has to show one. Without this its own word counts."""

    def refuse_revoked(self, revocations: Revocations) -> None:
        """Nobody with one of these certificates has a stream. To be said before `listen`; `watch_revoked` keeps it up."""

    async def watch_revoked(self) -> None:
        """Until cancelled, look again and again whether certificates of open streams are revoked."""

    async def watch_memory(self) -> None:
        """Until cancelled, give back to the system what nobody uses."""

    async def watch_processes(self) -> None:
        """Until cancelled, raise what goes wrong where processes that serve are looked after, if there are any."""

    def listen(self, address: str, credentials: Credentials | None = None) -> int:
        """Bind one more address, in plain text without credentials; returns the port. OSError if it cannot be had."""

    async def start(self) -> None:
        """Serve on all addresses that were bound. OSError if that cannot be."""

    async def publish(self, snapshots: Mapping[str, Snapshot]) -> None:
        """These snapshots are wanted from now on. A gateway that is not among them keeps its last one."""

    def forget(self, gateway: str) -> None:
        """A gateway no longer exists: new streams that name it are refused."""

    async def stop(self, grace: float) -> None:
        """Not serving from now on; streams end one after the other within `grace` seconds."""

    async def look(self) -> None:
        """Know all that `proxies`, `loads` and `counters` tell."""

    def processes(self) -> tuple[Serving, ...]:
        """The processes that serve, if they are others than this one."""

    def proxies(self) -> tuple[ProxyRecord, ...]:
        """All open streams, by node and time."""

    def connected(self) -> set[str]:
        """The gateways that have a stream."""

    async def changed(self) -> None:
        """Return when any stream opened, closed or acknowledged something."""
