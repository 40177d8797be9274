"""The part of the admin API that speaks of cells: what each has in each stage, and the two requests that change that.

In: requests. Out: JSON. Only promotion and rollback write. A web page must not be able to ask for them: their body has to
be `application/json`, which no page can send to a foreign server unasked, and whoever says that a page sent it is refused.
Where the API can be reached from other machines nobody can ask for them, since it knows no logins.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from xds_server.network.export import network_policies
from xds_server.network.flows import Surroundings
from xds_server.observe.cells_view import CellsShown, topology_view
from xds_server.observe.usage import Report
from xds_server.releases.requests import Kind

_MOST = 64 * 1024
Handler = Callable[[Request], Awaitable[Response]]
Json = dict[str, Any]


class Cells(Protocol):
    """A running server, as far as it knows cells."""

    def cells(self) -> CellsShown:
        """What can be seen of cells."""
        ...

    async def usage(self) -> Report:
        """What each cell asked of its dependencies."""
        ...

    async def move(self, kind: Kind, body: Any) -> tuple[int, Json]:
        """Promote or roll back: a status and an answer."""
        ...


def cell_routes(server: Cells, *, loopback: bool) -> list[Route]:
    """The routes. `loopback`: only this machine reaches them."""
    return [
        Route("/api/v1/cells", _cells(server)),
        *(
            Route(f"/api/v1/cells/{{cell}}/{what}", _cell(server, what))
            for what in ("gateways", "dependencies", "releases")
        ),
        Route("/api/v1/topology", _topology(server)),
        Route("/api/v1/network-policies", _network_policies(server)),
        Route("/api/v1/promote", _moving(server, "promote", loopback=loopback), methods=["POST"]),
        Route("/api/v1/rollback", _moving(server, "rollback", loopback=loopback), methods=["POST"]),
    ]


def _cells(server: Cells) -> Handler:
    async def handle(request: Request) -> Response:
        del request
        return JSONResponse({"items": await asyncio.to_thread(server.cells().cells)})

    return handle


def _cell(server: Cells, what: str) -> Handler:
    async def handle(request: Request) -> Response:
        cell, stage = request.path_params["cell"], request.query_params.get("stage")
        found = server.cells().cell(cell, what)
        if found is None:
            return JSONResponse({"message": f"there is no cell {cell}"}, 404)
        if isinstance(found, list):
            found = {"items": [one for one in found if stage in (None, one["stage"])]}
        return JSONResponse(found)

    return handle


def _topology(server: Cells) -> Handler:
    async def handle(request: Request) -> Response:
        del request
        return JSONResponse(topology_view(server.cells().compiled, await server.usage()))

    return handle


def _network_policies(server: Cells) -> Handler:
    """NetworkPolicies of what is live: only a running server knows which release is in which stage."""

    async def handle(request: Request) -> Response:
        asked, compiled = request.query_params, server.cells().compiled
        stage, known = asked.get("stage"), [one.stage for one in compiled.stages]
        if stage is not None and stage not in known:
            return JSONResponse({"message": f"there is no stage {stage}; there are: {', '.join(known)}"}, 404)
        usual = Surroundings()
        try:
            around = Surroundings(
                system_namespace=asked.get("systemNamespace", usual.system_namespace),
                xds_port=int(asked.get("xdsPort", usual.xds_port)),
                metrics_namespace=asked.get("metricsNamespace", usual.metrics_namespace),
                metrics_port=int(asked.get("metricsPort", usual.metrics_port)),
            )
        except ValueError:
            return JSONResponse({"message": "xdsPort and metricsPort are numbers"}, 400)
        cilium = "cilium" in asked
        found = await asyncio.to_thread(lambda: network_policies(compiled, stage, around, cilium=cilium))
        return JSONResponse({"items": list(found.documents), "notes": list(found.notes)})

    return handle


async def _beginning(request: Request) -> bytes:
    """The body of a request; of one that is too big nothing, and its end is not waited for."""
    read = bytearray()
    async for part in request.stream():
        read += part
        if len(read) > _MOST:
            return b""
    return bytes(read)


def _moving(server: Cells, kind: Kind, *, loopback: bool) -> Handler:
    async def handle(request: Request) -> Response:
        if not loopback:
            message = "this admin API is open to other machines and knows no logins: it changes nothing"
            return JSONResponse({"message": message}, 403)
        if "origin" in request.headers or request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return JSONResponse({"message": "web pages may not ask for this"}, 403)
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return JSONResponse({"message": "the body must be application/json"}, 415)
        try:
            asked = json.loads(await _beginning(request))
        except ValueError:
            asked = None
        if not isinstance(asked, dict):
            return JSONResponse({"message": "the body must be a small JSON object"}, 400)
        status, answer = await server.move(kind, asked)
        return JSONResponse(answer, status)

    return handle
