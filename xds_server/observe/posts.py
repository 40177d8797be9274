"""Requests to the admin API that change something, or carry files: who may ask for them.

In: what is to be done with a JSON object. Out: a handler. A web page must not be able to ask: the body has to be
`application/json`, which no page can send to a foreign server unasked, and whoever says that a page sent it is refused.
Where the API can be reached from other machines nobody can ask, since it knows no logins.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

SMALL = 64 * 1024
Act = Callable[[Any], Awaitable[tuple[int, dict[str, Any]]]]


def posting(act: Act, *, loopback: bool, most: int = SMALL) -> Callable[[Request], Awaitable[Response]]:
    """A handler for POSTs with at most so many bytes. `loopback`: only this machine reaches the API."""

    async def handle(request: Request) -> Response:
        if not loopback:
            message = "this admin API is open to other machines and knows no logins: it changes nothing"
            return JSONResponse({"message": message}, 403)
        if "origin" in request.headers or request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return JSONResponse({"message": "web pages may not ask for this"}, 403)
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return JSONResponse({"message": "the body must be application/json"}, 415)
        body = await _body(request, most)
        try:
            asked = json.loads(body) if body is not None else None
        except ValueError:
            asked = None
        if not isinstance(asked, dict):
            return JSONResponse({"message": "the body must be a small JSON object"}, 400)
        status, answer = await act(asked)
        return JSONResponse(answer, status)

    return handle


async def _body(request: Request, most: int) -> bytes | None:
    """The body; None if it is longer than that, and then its end is not waited for."""
    parts, length = [], 0
    async for part in request.stream():
        length += len(part)
        if length > most:
            return None
        parts.append(part)
    return b"".join(parts)
