"""A real HTTP server that stands for a component: it answers with what it saw, and remembers it.

`/status/503` answers with that status, `/delay/1.5` after that many seconds; anything else is echoed as JSON:
method, path, host, headers, and the server's own name.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import threading
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


@dataclass
class Upstream:
    """A server on one loopback address. `seen` holds every request, oldest first.

    With `calls`, a URL and a Host, it asks there before it answers, with the status that it got.
    """

    name: str
    address: str
    port: int
    delay: float = 0.0
    status: int = 200
    seen: list[dict[str, Any]] = field(default_factory=list)
    calls: tuple[str, str] | None = None
    _server: uvicorn.Server | None = None
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen, and return when requests are answered."""
        methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
        app = Starlette(routes=[Route("/{path:path}", self._answer, methods=methods)])
        config = uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
        # With the protocol named, asyncio switches Nagle's algorithm off; else every answer waits 40 ms.
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((self.address, self.port))
        listening.listen(512)
        self.port = listening.getsockname()[1]
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listening]}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening; afterwards connections are refused."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(5)
            self._server = self._thread = None

    async def _answer(self, request: Request) -> Response:
        seen = {
            "server": self.name,
            "method": request.method,
            "path": request.url.path,
            "query": request.url.query,
            "host": request.headers.get("host", ""),
            "headers": dict(request.headers),
        }
        self.seen.append(seen)
        status, delay = self.status, self.delay
        for name, value in _orders(request.url.path):
            if name == "status":
                status = int(value)
            elif name == "delay":
                delay = float(value)
        if delay:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(delay)
        if self.calls is not None:
            address, host = self.calls
            async with httpx.AsyncClient() as client:
                status = (await client.get(address, headers={"Host": host}, timeout=10)).status_code
        return JSONResponse(seen, status_code=status)


def _orders(path: str) -> list[tuple[str, str]]:
    parts = path.strip("/").split("/")
    return list(itertools.pairwise(parts))
