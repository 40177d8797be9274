"""Requests to the admin API that change something, or carry files: who may ask for them.

In: what is to be done with a JSON object. Out: a handler. A connection from this machine proves nothing: other users are on it,
and an Envoy on it connects for its clients. So whoever asks has to show that it can read the state folder: a token is in there,
made anew at each start. A web page must not be able to ask either: the body has to be `application/json`, which no page can send
to a foreign server unasked, and whoever says that a page sent it is refused. Where the API can be reached from other machines
nobody can ask: the token would cross the network in plain text.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from xds_server.files import write_file

SMALL = 64 * 1024
Act = Callable[[Any], Awaitable[tuple[int, dict[str, Any]]]]


@dataclass(frozen=True, slots=True)
class Token:
    """What whoever asks has to send, and the file in which it finds it."""

    file: Path
    word: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Guard:
    """Who may ask. `loopback`: only this machine reaches the API. `token` None: nobody, since nothing is kept."""

    loopback: bool
    token: Token | None = None


def make_token(folder: Path) -> Token:
    """A new token, in a file of this folder that only its owner may read. OSError if it cannot be written."""
    token = Token(folder.absolute() / "token", f"cellway-{secrets.token_hex(32)}")
    write_file(token.file, f"{token.word}\n")
    return token


def posting(act: Act, guard: Guard, *, most: int = SMALL) -> Callable[[Request], Awaitable[Response]]:
    """A handler for POSTs with at most so many bytes."""

    async def handle(request: Request) -> Response:
        refusal = _refusal(request, guard)
        if refusal is not None:
            return refusal
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


def _refusal(request: Request, guard: Guard) -> Response | None:
    """Why this may not be asked; None if it may."""
    headers, token = request.headers, guard.token
    if not guard.loopback:
        message = "this admin API is open to other machines and knows no logins: it changes nothing"
        return JSONResponse({"message": message}, 403)
    if "origin" in headers or headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return JSONResponse({"message": "web pages may not ask for this"}, 403)
    if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        return JSONResponse({"message": "the body must be application/json"}, 415)
    if token is None:
        message = "this server keeps nothing, and so has no token that could be asked with: start it with --state-dir"
        return JSONResponse({"message": message}, 503)
    scheme, _, word = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(word.strip().encode(), token.word.encode()):
        message = f"this needs 'Authorization: Bearer TOKEN' with the token that is in {token.file}"
        return JSONResponse({"message": message, "tokenFile": str(token.file)}, 401, {"WWW-Authenticate": "Bearer"})
    return None


async def _body(request: Request, most: int) -> bytes | None:
    """The body; None if it is longer than that, and then its end is not waited for."""
    parts, length = [], 0
    async for part in request.stream():
        length += len(part)
        if length > most:
            return None
        parts.append(part)
    return b"".join(parts)
