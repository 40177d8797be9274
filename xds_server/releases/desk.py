"""The desk of a running server: where promotions are asked for, one after the other.

In: a folder for releases (or none), and what is in force at the time. Out: all releases, and answers to requests. It
writes to its store; what it writes comes into force when the caller reloads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from xds_server.cells.releases import NO_RELEASES, Releases
from xds_server.compile import Compiled, Options
from xds_server.releases.moves import Known
from xds_server.releases.requests import Kind, carry_out
from xds_server.releases.store import Entry, Store
from xds_server.reload import Policies

_LOG = structlog.get_logger("cellway")


class Desk:
    """Promotions and rollbacks of one server. `now` is the time as RFC 3339."""

    def __init__(self, now: Callable[[], str]) -> None:
        self._now = now
        self._folder = Path()
        self._store: Store | None = None
        self._moving = asyncio.Lock()

    def open(self, folder: Path) -> None:
        """Keep releases in this folder. OSError if that cannot be done."""
        self._folder, self._store = folder, Store(folder)

    @property
    def releases(self) -> Releases:
        """All releases, and what each stage has."""
        return self._store.releases if self._store is not None else NO_RELEASES

    def history(self, stage: str, cell: str) -> tuple[Entry, ...]:
        """What a cell was in a stage, the oldest first."""
        return self._store.history(stage, cell) if self._store is not None else ()

    async def move(self, kind: Kind, body: Any, policies: Policies, options: Options) -> tuple[int, dict[str, Any]]:
        """Promote cells or roll them back: an HTTP status and an answer."""
        store = self._store
        if store is None or policies.loaded is None:
            reason = policies.alarm if store is not None else "it keeps nothing: start it with --state-dir"
            return 503, {"message": f"this server cannot promote: {reason}"}
        async with self._moving:
            compiled = replace(policies.compiled, diagnostics=policies.diagnostics)
            known = Known(compiled, replace(options, releases=self.releases), self._folder)
            try:
                status, answer = await asyncio.to_thread(carry_out, kind, body, known, store, self._now())
            except OSError as error:
                return 503, {"message": f"the release cannot be stored: {error}"}
        if answer.get("done"):
            moves = [f"{one['cell']} in {one['stage']}: {one['release']}" for one in answer["moves"]]
            _LOG.info("other releases", by=kind, moves=moves)
        return status, answer

    def note(self, compiled: Compiled) -> None:
        """Remember what bindings have put into stages, so that a stage can keep it."""
        live = {(one.stage, cell): name for one in compiled.stages for cell, name in one.releases.items() if name}
        if self._store is not None:
            try:
                self._store.record(live, "binding", self._now())
            except OSError as error:
                _LOG.error("which release each stage has cannot be written down", reason=str(error))
