"""The admin API: for people, scripts and Prometheus on this machine.

In: requests. Out: JSON views of the running server. To look at them needs no login, and so it is meant for loopback:
a request whose Host header is a name that some web page chose (DNS rebinding) is refused. What changes something is a POST;
`posts` says who may ask for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Protocol

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xds_server.explain.request import NotARequestError, read_request
from xds_server.observe.cells_api import Cells, cell_routes
from xds_server.observe.changes_api import Changing, change_routes
from xds_server.observe.explain_view import Question
from xds_server.observe.inspect_api import Inspected, inspect_routes
from xds_server.observe.posts import Guard
from xds_server.observe.usage import usage_view
from xds_server.types import parse_duration

MAX_WAIT = 300.0
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class Watched(Cells, Inspected, Protocol):
    """A running server, as far as it can be looked at."""

    async def look(self) -> None:
        """Know of all Envoys what there is to know now."""
        ...

    async def objects(self, *, derived: bool) -> list[dict[str, Any]]:
        """All written objects with their status; `derived`: also those that cells mean."""
        ...

    def proxies(self) -> dict[str, Any]:
        """Every Envoy: what it has and what it waits for."""
        ...

    def diagnostics(self) -> list[dict[str, Any]]:
        """All findings."""
        ...

    def effective(self, cell: str, stage: str | None) -> list[dict[str, Any]] | None:
        """The settings that count in a cell, by stage, and who set each; None if there is no such cell."""
        ...

    async def explain(self, question: Question) -> list[dict[str, Any]]:
        """What gateways do with a request. NotARequestError if nobody could ask this."""
        ...

    @property
    def changes(self) -> Changing:
        """Who answers for changes of its files."""
        ...

    async def metrics(self) -> bytes:
        """The text for Prometheus."""
        ...

    def not_ready(self) -> str:
        """Why this server is not ready; empty if it is."""
        ...

    async def in_force(self, seconds: float) -> str:
        """Return when all that is on disk now is in force, with an empty text; or, in time, why it is not."""
        ...


class AdminServer(uvicorn.Server):
    """A uvicorn server that leaves signals alone: the process has handlers of its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def admin_server(watched: Watched, guard: Guard) -> AdminServer:
    """A server to be run with `serve(sockets=[...])`."""
    config = uvicorn.Config(
        admin_application(watched, guard),
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    return AdminServer(config)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket that shares its port with nobody. OSError if that is not to be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=128)
    listening.setblocking(False)
    # Connections inherit it. Without, a client waits 40 ms for the second half of every answer.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def admin_application(watched: Watched, guard: Guard) -> Starlette:
    """The routes of the admin API. If it listens on loopback only loopback names are right."""
    return Starlette(
        routes=[
            Route("/api/v1/objects", _objects(watched)),
            Route("/api/v1/diagnostics", _json(lambda: {"items": watched.diagnostics()})),
            Route("/api/v1/explain", _explaining(watched)),
            Route("/api/v1/proxies", _json(watched.proxies)),
            Route("/api/v1/cells/{cell}/effective", _effective(watched)),
            *cell_routes(watched, guard),
            *inspect_routes(watched),
            *change_routes(watched.changes, guard),
            Route("/api/v1/usage", _usage(watched)),
            Route("/api/v1/wait", _waiting(watched)),
            Route("/metrics", _metrics(watched)),
            Route("/livez", _livez),
            Route("/readyz", _readyz(watched)),
        ],
        middleware=[
            Middleware(_NoPage),
            Middleware(_OwnHost, loopback=guard.loopback),
            Middleware(_Looking, watched=watched),
        ],
    )


Handler = Callable[[Request], Awaitable[Response]]


def _json(view: Callable[[], Any]) -> Handler:
    async def handle(request: Request) -> Response:
        del request
        return JSONResponse(view())

    return handle


def _objects(watched: Watched) -> Handler:
    async def handle(request: Request) -> Response:
        items = await watched.objects(derived="derived" in request.query_params)
        # There may be thousands: other requests, and Envoys, are not held up meanwhile.
        return await asyncio.to_thread(JSONResponse, {"items": items})

    return handle


def _effective(watched: Watched) -> Handler:
    async def handle(request: Request) -> Response:
        cell = request.path_params["cell"]
        items = watched.effective(cell, request.query_params.get("stage"))
        if items is None:
            return JSONResponse({"message": f"there is no cell {cell}"}, 404)
        return JSONResponse({"items": items})

    return handle


def _usage(watched: Watched) -> Handler:
    async def handle(request: Request) -> Response:
        return JSONResponse(usage_view(await watched.usage(), request.query_params.get("stage")))

    return handle


def _explaining(watched: Watched) -> Handler:
    async def handle(request: Request) -> Response:
        asked = request.query_params
        headers = [(name, value) for name, _, value in (one.partition(":") for one in asked.getlist("header"))]
        try:
            wanted = read_request(asked.get("method", "GET"), asked.get("url", ""), headers)
            question = Question(wanted, asked.get("gateway"), asked.get("from", ""), asked.get("stage"))
            items = await watched.explain(question)
        except NotARequestError as error:
            return JSONResponse({"message": str(error)}, 400)
        return JSONResponse({"items": items})

    return handle


def _waiting(watched: Watched) -> Handler:
    async def handle(request: Request) -> Response:
        written = request.query_params.get("timeout", "10s")
        seconds = parse_duration(written)
        if seconds is None:
            return JSONResponse({"message": f"'{written}' is not a duration such as 500ms, 10s or 1m"}, 400)
        reason = await watched.in_force(min(seconds, MAX_WAIT))
        return JSONResponse({"message": reason or "everything is in force"}, 504 if reason else 200)

    return handle


def _metrics(watched: Watched) -> Handler:
    async def handle(request: Request) -> Response:
        del request
        return Response(await watched.metrics(), media_type=_PROMETHEUS)

    return handle


async def _livez(request: Request) -> Response:
    del request
    return PlainTextResponse("ok\n")


def _readyz(watched: Watched) -> Handler:
    async def handle(request: Request) -> Response:
        del request
        reason = watched.not_ready()
        return PlainTextResponse(f"{reason or 'ok'}\n", 503 if reason else 200)

    return handle


class _Looking:
    """Has whatever is shown of Envoys be as it is now. How the server itself is can be told at any time."""

    def __init__(self, app: ASGIApp, watched: Watched) -> None:
        self._app, self._watched = app, watched

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") not in _OF_ITSELF:
            await self._watched.look()
        await self._app(scope, receive, send)


_OF_ITSELF = ("/livez", "/readyz")


class _NoPage:
    """Says with every answer that it is none that a browser may take for a page, whatever names of users are in it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_NO_PAGE]
            await send(message)

        await self._app(scope, receive, guarded)


_NO_PAGE = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


class _OwnHost:
    """Refuses requests that name this server by anything but an address, or localhost."""

    def __init__(self, app: ASGIApp, *, loopback: bool) -> None:
        self._app, self._loopback = app, loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", ()))
        host = headers.get(b"host", b"").decode("latin-1")
        app = self._app if is_own_host(host, loopback=self._loopback) else _REFUSAL
        await app(scope, receive, send)


_REFUSAL = JSONResponse({"message": "this Host header is not an address of this server"}, 403)


def is_own_host(host: str, *, loopback: bool) -> bool:
    """Whether a Host header is one that a page with a name of its own cannot send."""
    bare = host.rpartition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    if bare == "localhost":
        return True
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return False
    return address.is_loopback or not loopback
