"""The office of a running server: where other files are asked about.

In: requests as JSON, and a server. Out: an HTTP status and an answer as JSON. It compiles beside what is in force and
changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xds_server.changes.candidate import candidate, in_force
from xds_server.changes.comparison import compared, shadowed
from xds_server.changes.requests import DiffRequest, RequestError, files_of, read_request
from xds_server.changes.secrets import Hasher
from xds_server.compile import Options
from xds_server.observe.diagnostics_view import diagnostic_json
from xds_server.reload import Policies

Answer = tuple[int, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Engine:
    """The server, as far as the office needs it. `key` gives a fresh key for hashes of secrets."""

    folders: tuple[Path, ...]
    policies: Callable[[], Policies]
    options: Callable[[], Options]
    key: Callable[[], bytes]


class Office:
    """Answers requests about changes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def diff(self, body: Any) -> Answer:
        """What other files, or the shadows of those in force, would change."""
        try:
            request = read_request(body, DiffRequest)
            return 200, await asyncio.to_thread(self._diff, request)
        except RequestError as error:
            return 400, {"message": str(error)}

    def _diff(self, request: DiffRequest) -> dict[str, Any]:
        engine = self._engine
        live, hasher = engine.policies(), Hasher(engine.key())
        if request.shadow and request.files is None:
            return {**shadowed(in_force(live, engine.options()), hasher, xds=request.xds), "diagnostics": []}
        found = candidate(live, engine.options(), files_of(request, engine.folders))
        if request.shadow:
            view = shadowed(found.new, hasher, xds=request.xds)
        else:
            view = compared(found.old, found.new, hasher, xds=request.xds)
        errors = found.new_errors(live.diagnostics)
        return {**view, "diagnostics": [diagnostic_json(one) for one in errors]}
