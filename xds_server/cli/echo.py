"""Demo services: HTTP servers that answer every request with what they saw.

In: loopback addresses. Out: JSON with method, path, host, headers, and which address and port served. An address that
somebody listens on already is left to them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, MutableMapping
from typing import Any

from starlette.types import Receive, Scope, Send

from xds_server.observe.admin import AdminServer, listen

Endpoint = tuple[str, int]


class Echo:
    """Echo servers, as many as are asked for."""

    def __init__(self) -> None:
        self._tasks: dict[Endpoint, asyncio.Task[None]] = {}
        self._servers: list[AdminServer] = []

    def serve(self, endpoints: Iterable[Endpoint]) -> None:
        """Serve these endpoints too; returns at once."""
        for endpoint in sorted(set(endpoints) - self._tasks.keys()):
            try:
                listening = listen(*endpoint)
            except OSError:
                continue  # a service of the user's own, or no address of this machine
            server = AdminServer(_config())
            self._servers.append(server)
            self._tasks[endpoint] = asyncio.create_task(server.serve(sockets=[listening]), name=f"echo at {endpoint}")

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """What is served."""
        return tuple(self._tasks)

    async def close(self) -> None:
        """Stop all of them."""
        for server in self._servers:
            server.should_exit = True
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=2)


def _config() -> Any:
    import uvicorn

    return uvicorn.Config(
        answer, log_config=None, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=1
    )


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """One request: read it whole and say what it was."""
    if scope["type"] != "http":
        return
    size, more = 0, True
    while more:
        message: MutableMapping[str, Any] = await receive()
        size += len(message.get("body", b""))
        more = bool(message.get("more_body"))
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    address, port = scope["server"]
    query = scope["query_string"].decode("latin-1")
    said = {
        "method": scope["method"],
        "path": scope["path"] + (f"?{query}" if query else ""),
        "host": headers.get("host", ""),
        "headers": headers,
        "body_bytes": size,
        "served_by": f"{address}:{port}",
    }
    body = (json.dumps(said, indent=2) + "\n").encode()
    reply = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": reply})
    await send({"type": "http.response.body", "body": body})
