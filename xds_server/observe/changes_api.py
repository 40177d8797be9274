"""The part of the admin API that speaks of changes to the files of a server.

In: requests. Out: JSON. The same guards hold as for promotions.
"""

from __future__ import annotations

from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from xds_server.observe.posts import Guard, posting

_MOST = 80 << 20
"""Bytes of a request: all files that a server reads, and what JSON adds."""


class Changing(Protocol):
    """A running server, as far as it answers for changes."""

    async def diff(self, body: Any) -> tuple[int, dict[str, Any]]:
        """What other files would change: a status and an answer."""
        ...

    async def apply(self, body: Any) -> tuple[int, dict[str, Any]]:
        """Make some files those of a folder."""
        ...

    async def undo(self, body: Any) -> tuple[int, dict[str, Any]]:
        """Bring back files that were live."""
        ...

    async def history(self) -> list[dict[str, Any]]:
        """What was live when, the newest first."""
        ...


def change_routes(changing: Changing, guard: Guard) -> list[Route]:
    """The routes. A comparison shows what is in policies, and so needs what a change needs."""

    async def history(request: Request) -> Response:
        del request
        return JSONResponse({"items": await changing.history()})

    return [
        Route("/api/v1/diff", posting(changing.diff, guard, most=_MOST), methods=["POST"]),
        Route("/api/v1/apply", posting(changing.apply, guard, most=_MOST), methods=["POST"]),
        Route("/api/v1/undo", posting(changing.undo, guard), methods=["POST"]),
        Route("/api/v1/history", history),
    ]
