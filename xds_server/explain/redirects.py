"""Where Envoy sends a client that a route redirects.

In: a route with a redirect and the request as routes see it. Out: the `location` header.
"""

from __future__ import annotations

import re2

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import RedirectAction, Route
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


def _path(redirect: RedirectAction, route: Route, request: Request) -> str:
    bare, mark, query = request.path.partition("?")
    kind = redirect.WhichOneof("path_rewrite_specifier")
    if kind == "path_redirect":
        bare = redirect.path_redirect
        mark, query = ("", "") if "?" in bare else (mark, query)
    elif kind == "prefix_rewrite":
        matched = route.match.prefix or route.match.path_separated_prefix or route.match.path
        bare = redirect.prefix_rewrite + bare[len(matched) :]
    elif kind == "regex_rewrite":
        rewrite = redirect.regex_rewrite
        bare = re2.sub(rewrite.pattern.regex, rewrite.substitution, bare)
    return bare if redirect.strip_query else bare + mark + query
