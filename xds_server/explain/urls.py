"""What becomes of a request's URL: where a redirect sends the client, and what a backend gets.

In: a route and the request as routes see it. Out: the `location` header; the Host and the path that are sent on.
"""

from __future__ import annotations

import re2

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import RedirectAction, Route, RouteAction
from xds_server.explain.request import Request

_DEFAULT_PORTS = {"http": 80, "https": 443}


def location(route: Route, request: Request) -> str:
    """The URL that the client is told."""
    redirect = route.redirect
    scheme = redirect.scheme_redirect or ("https" if redirect.https_redirect else request.scheme)
    return f"{scheme}://{_host(redirect, scheme, request)}{_path(redirect, route, request)}"


def _host(redirect: RedirectAction, scheme: str, request: Request) -> str:
    port = f":{redirect.port_redirect}" if redirect.port_redirect else ""
    if redirect.host_redirect or port or request.port is None:
        return (redirect.host_redirect or request.host) + port
    implied = scheme != request.scheme and request.port == _DEFAULT_PORTS[request.scheme]
    return request.host if implied else f"{request.host}:{request.port}"


def sent_path(route: Route, request: Request) -> str:
    """The path that a backend gets."""
    action = route.route
    bare, mark, query = request.path.partition("?")
    if action.prefix_rewrite:
        bare = action.prefix_rewrite + bare[len(_matched(route)) :]
    elif action.HasField("regex_rewrite"):
        bare = _substituted(action, bare)
    return bare + mark + query


def sent_host(route: Route, request: Request) -> str:
    """The Host that a backend gets; empty if it is the name of the endpoint."""
    action = route.route
    kind = action.WhichOneof("host_rewrite_specifier")
    if kind == "host_rewrite_literal":
        return action.host_rewrite_literal
    return "" if kind is not None else request.host if request.port is None else f"{request.host}:{request.port}"


def _path(redirect: RedirectAction, route: Route, request: Request) -> str:
    bare, mark, query = request.path.partition("?")
    kind = redirect.WhichOneof("path_rewrite_specifier")
    if kind == "path_redirect":
        bare = redirect.path_redirect
        mark, query = ("", "") if "?" in bare else (mark, query)
    elif kind == "prefix_rewrite":
        bare = redirect.prefix_rewrite + bare[len(_matched(route)) :]
    elif kind == "regex_rewrite":
        bare = _substituted(redirect, bare)
    return bare if redirect.strip_query else bare + mark + query


def _matched(route: Route) -> str:
    """The part of the path that the route's match is about."""
    return route.match.prefix or route.match.path_separated_prefix or route.match.path


def _substituted(action: RedirectAction | RouteAction, path: str) -> str:
    rewrite = action.regex_rewrite
    found: str = re2.sub(rewrite.pattern.regex, rewrite.substitution, path)
    return found
