"""The way of a request as JSON, with the documents behind every step.

In: what was compiled, and a request. Out: an answer for every gateway that would take it. Nothing of a policy's values
is in it but what a route does: times, retries, weights. No secret can be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from xds_server.compile import Compiled
from xds_server.envoy_api.envoy.config.route.v3 import route_components_pb2 as components
from xds_server.explain.request import Request
from xds_server.explain.tables import Tables, read_tables
from xds_server.explain.urls import location, sent_host, sent_path
from xds_server.explain.walk import MILLION, Answer, Share, explain
from xds_server.features import FEATURES
from xds_server.graph import Gateway, Route
from xds_server.types import Origin

Json = dict[str, Any]
_CODES = dict(enumerate((301, 302, 303, 307, 308)))
"""Of the redirect codes of Envoy's API, in their order."""


def explain_view(compiled: Compiled, request: Request, gateway: str | None = None) -> list[Json]:
    """What every gateway (or this one) does with the request. Those that a client could not mean are left out."""
    found: list[Json] = []
    for one in compiled.gateways:
        if gateway in (None, one.name) and one.name in compiled.snapshots:
            tables = read_tables(compiled.snapshots[one.name])
            known = _routes_of(one)
            found += [_answer(one.name, answer, tables, known) for answer in explain(tables, request)]
    return found


def is_served(answers: Iterable[Json]) -> bool:
    """Whether a route or a listener takes the request somewhere."""
    return any(not one["refusal"] for one in answers)


def _routes_of(gateway: Gateway) -> dict[str, Route]:
    """The routes of the graph by name; those of several hosts are of one rule."""
    chains = (chain for port in gateway.ports for chain in port.http_chains)
    return {route.name: route for chain in chains for host in chain.hosts for route in host.routes}


def _answer(gateway: str, answer: Answer, tables: Tables, known: Mapping[str, Route]) -> Json:
    seen = answer.request
    return {
        "gateway": gateway,
        "listener": answer.listener,
        "filterChain": answer.chain,
        "routeTable": answer.table,
        "virtualHost": answer.host,
        "path": seen.path if seen else "",
        "tried": [
            {"route": one.route, "reason": one.reason, "madeBy": _made_by(known.get(one.route))} for one in answer.tried
        ],
        "filters": list(answer.filters),
        "routes": [_share(one, seen, tables, known) for one in answer.shares if seen],
        "clusters": [_cluster(name, 1, tables) for name in answer.clusters],
        "refusal": answer.refusal,
        "status": answer.status,
    }


def _share(share: Share, request: Request, tables: Tables, known: Mapping[str, Route]) -> Json:
    route, written = share.route, known.get(share.route.name)
    return {
        "route": route.name,
        "percent": 100 * share.parts / MILLION,
        "madeBy": _made_by(written),
        **_action(route, request, tables),
        "settings": _settings(route, written),
    }


def _action(route: components.Route, request: Request, tables: Tables) -> Json:
    if route.HasField("direct_response"):
        return {"responds": {"status": route.direct_response.status}}
    if route.HasField("redirect"):
        status = _CODES[route.redirect.response_code]
        return {"redirects": {"status": status, "location": location(route, request)}}
    action = route.route
    shares = [(one.name, one.weight.value) for one in action.weighted_clusters.clusters] or [(action.cluster, 1)]
    return {
        "forwards": {
            "clusters": [_cluster(name, weight, tables) for name, weight in shares if weight],
            "mirrors": [one.cluster for one in action.request_mirror_policies],
            "host": sent_host(route, request),
            "path": sent_path(route, request),
            "timeout": _seconds(action, "timeout"),
            "idleTimeout": _seconds(action, "idle_timeout"),
            "retries": action.retry_policy.num_retries.value if action.HasField("retry_policy") else 0,
            "retryOn": action.retry_policy.retry_on,
        }
    }


def _seconds(action: components.RouteAction, field: str) -> float | None:
    """Seconds of a time limit; None where the route sets none."""
    if not action.HasField(field):
        return None
    limit = getattr(action, field)
    return float(limit.seconds + limit.nanos / 1e9)


def _cluster(name: str, weight: int, tables: Tables) -> Json:
    return {"name": name, "weight": weight, "endpoints": list(tables.endpoints(name))}


def _settings(route: components.Route, written: Route | None) -> list[Json]:
    """What policies and filters do on a route, in the order in which they see a request, and who asked for it."""
    found = []
    for feature in FEATURES:
        for setting in written.settings if written else ():
            if setting.feature == feature.name:
                asks = feature.filter_name in route.typed_per_filter_config if feature.filter_name else False
                own = {"feature": feature.name, "filter": feature.filter_name if asks else ""}
                found.append({**own, "madeBy": [_place(one) for one in setting.origins]})
    return found


def _made_by(route: Route | None) -> list[Json]:
    return [_place(one) for one in route.origins] if route else []


def _place(origin: Origin) -> Json:
    return {"object": str(origin.key), "file": origin.span.file, "line": origin.span.line}
