"""The part of the admin API that looks into what gateways have: routes, policies, resources on both sides, traffic.

In: requests, and what is in force at that moment. Out: JSON. Nothing is changed, and nothing of a secret is in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from xds_server.compile import Compiled
from xds_server.observe.dump_view import dump_view, is_same
from xds_server.observe.policies_view import policies_view, read_asked
from xds_server.observe.proxies_view import Fleet
from xds_server.observe.routes_view import routes_view
from xds_server.observe.traffic_view import traffic_view

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is in force, and all Envoys, at one moment."""

    compiled: Compiled
    fleet: Fleet


class Inspected(Protocol):
    """A running server, as far as it can be looked into."""

    def inspection(self) -> Inspection:
        """What is in force now."""
        ...


def inspect_routes(server: Inspected) -> list[Route]:
    """The routes of this part."""
    return [
        Route("/api/v1/routes", _routes(server)),
        Route("/api/v1/policies", _policies(server)),
        Route("/api/v1/dump", _dump(server)),
        Route("/api/v1/traffic", _traffic(server)),
    ]


def _routes(server: Inspected) -> Handler:
    async def handle(request: Request) -> Response:
        gateway, compiled = request.query_params.get("gateway"), server.inspection().compiled
        if gateway is not None and gateway not in {one.name for one in compiled.gateways}:
            return JSONResponse({"message": no_gateway(compiled, gateway)}, 404)
        return await asyncio.to_thread(lambda: JSONResponse({"items": routes_view(compiled, gateway)}))

    return handle


def _policies(server: Inspected) -> Handler:
    async def handle(request: Request) -> Response:
        compiled, written = server.inspection().compiled, request.query_params.get("object", "")
        try:
            asked = read_asked(written)
        except ValueError as error:
            return JSONResponse({"message": str(error)}, 400)
        found: Any = await asyncio.to_thread(policies_view, compiled, asked)
        return JSONResponse(
            found if found is not None else {"message": f"there is no {written}"}, 200 if found else 404
        )

    return handle


def _dump(server: Inspected) -> Handler:
    async def handle(request: Request) -> Response:
        gateway, now = request.query_params.get("gateway"), server.inspection()
        if gateway is not None and gateway not in now.compiled.snapshots:
            return JSONResponse({"message": no_gateway(now.compiled, gateway)}, 404)
        items = await dump_view(now.compiled, now.fleet, gateway)
        return JSONResponse({"same": is_same(items), "items": items})

    return handle


def _traffic(server: Inspected) -> Handler:
    async def handle(request: Request) -> Response:
        del request
        now = server.inspection()
        return JSONResponse({"items": await traffic_view(now.compiled, now.fleet)})

    return handle


def no_gateway(compiled: Compiled, name: str) -> str:
    """That there is no such gateway, and which there are."""
    known = ", ".join(sorted(one.name for one in compiled.gateways)) or "none"
    return f"there is no gateway {name}; there are: {known}"
