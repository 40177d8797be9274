"""The part of the admin API that speaks of cells: what each has in each stage, and the two requests that change that.

In: requests. Out: JSON. Only promotion and rollback write; `posts` says who may ask for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from xds_server.network.export import network_policies
from xds_server.network.flows import Surroundings
from xds_server.observe.cells_view import CellsShown, topology_view
from xds_server.observe.posts import Guard, posting
from xds_server.observe.usage import Report
from xds_server.releases.requests import Kind

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


def cell_routes(server: Cells, guard: Guard) -> list[Route]:
    """The routes."""
    return [
        Route("/api/v1/cells", _cells(server)),
        *(
            Route(f"/api/v1/cells/{{cell}}/{what}", _cell(server, what))
            for what in ("gateways", "dependencies", "releases")
        ),
        Route("/api/v1/topology", _topology(server)),
        Route("/api/v1/network-policies", _network_policies(server)),
        Route("/api/v1/promote", posting(partial(server.move, "promote"), guard), methods=["POST"]),
        Route("/api/v1/rollback", posting(partial(server.move, "rollback"), guard), methods=["POST"]),
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
