"""The part of the admin API that speaks of changes to the files of a server.

In: requests. Out: JSON. The same guards hold as for promotions.
"""

from __future__ import annotations

from typing import Any, Protocol

from starlette.routing import Route

from xds_server.observe.posts import posting

_MOST = 80 << 20
"""Bytes of a request: all files that a server reads, and what JSON adds."""


class Changing(Protocol):
    """A running server, as far as it answers for changes."""

    async def diff(self, body: Any) -> tuple[int, dict[str, Any]]:
        """What other files would change: a status and an answer."""
        ...


def change_routes(changing: Changing, *, loopback: bool) -> list[Route]:
    """The routes. `loopback`: only this machine reaches them."""
    return [Route("/api/v1/diff", posting(changing.diff, loopback=loopback, most=_MOST), methods=["POST"])]
