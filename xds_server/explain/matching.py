"""Whether a request fits one of Envoy's route matches, and if not, why.

In: a `RouteMatch` and a request. Out: the reason why the route loses, empty if it fits. What depends on more than the
request (metadata, TLS) is said so.
"""

from __future__ import annotations

import re2

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import (
    CookieMatcher,
    HeaderMatcher,
    QueryParameterMatcher,
    RouteMatch,
)
from xds_server.envoy_api.envoy.type.matcher.v3.string_pb2 import StringMatcher
from xds_server.explain.request import Request

_BEYOND = ("dynamic_metadata", "tls_context", "filter_state", "grpc")


def why_not(match: RouteMatch, request: Request) -> str:
    """Why the request does not fit; empty if it does, whatever its share of the requests is."""
    reason = _path(match, request)
    for header in match.headers:
        reason = reason or _header(header, request)
    for parameter in match.query_parameters:
        reason = reason or _parameter(parameter, request)
    for cookie in match.cookies:
        reason = reason or _cookie(cookie, request)
    beyond = [name for name, _ in ((field.name, value) for field, value in match.ListFields()) if name in _BEYOND]
    return reason or (f"it asks for {', '.join(beyond)}, which a request alone does not tell" if beyond else "")


def _path(match: RouteMatch, request: Request) -> str:
    kind, path = match.WhichOneof("path_specifier"), request.bare_path
    if kind == "connect_matcher":
        return "" if request.method == "CONNECT" else "it is for CONNECT only"
    if request.method == "CONNECT":
        return "it is not for CONNECT"
    if kind == "path":
        return "" if path == match.path else f"the path is not {match.path}"
    if kind == "safe_regex":
        found = re2.fullmatch(match.safe_regex.regex, path)
        return "" if found else f"the path does not fit the expression {match.safe_regex.regex}"
    if kind == "path_separated_prefix":
        prefix = match.path_separated_prefix
        return "" if path == prefix or path.startswith(f"{prefix}/") else f"the path is not below {prefix}"
    return "" if path.startswith(match.prefix) else f"the path does not begin with {match.prefix}"


def _header(matcher: HeaderMatcher, request: Request) -> str:
    """Of several headers with the name one has to fit; if it is inverted, none may."""
    pseudo = {":method": request.method, ":authority": request.host, ":path": request.path, ":scheme": request.scheme}
    pseudo["host"] = request.host  # Envoy knows both by one name
    own = pseudo.get(matcher.name.lower())
    values = request.headers.get(matcher.name.lower(), ()) if own is None else (own,)
    what = f"the header {matcher.name}" if own is None else f"the {matcher.name.removeprefix(':')}"
    if matcher.WhichOneof("header_match_specifier") == "present_match":
        reason = "" if bool(values) == matcher.present_match else f"{what} is {'there' if values else 'missing'}"
    elif not values and not matcher.treat_missing_header_as_empty:
        return f"{what} is missing"
    else:
        reasons = [_text(what, matcher.string_match, value) for value in values or ("",)]
        reason = "" if "" in reasons else reasons[0]
    if matcher.invert_match:
        return "" if reason else f"{what} is what it must not be"
    return reason


def _parameter(matcher: QueryParameterMatcher, request: Request) -> str:
    value, what = request.query.get(matcher.name), f"the query parameter {matcher.name}"
    if value is None:
        return f"{what} is missing"
    if matcher.WhichOneof("query_parameter_match_specifier") == "string_match":
        return _text(what, matcher.string_match, value)
    return ""


def _cookie(matcher: CookieMatcher, request: Request) -> str:
    value = request.cookies.get(matcher.name)
    what = f"the cookie {matcher.name}"
    return f"{what} is missing" if value is None else _text(what, matcher.string_match, value)


def header_fits(matcher: HeaderMatcher, request: Request) -> bool:
    """Whether the request has such a header."""
    return not _header(matcher, request)


def parameter_fits(matcher: QueryParameterMatcher, request: Request) -> bool:
    """Whether the request has such a query parameter."""
    return not _parameter(matcher, request)


def fits(matcher: StringMatcher, value: str) -> bool:
    """Whether a text fits a matcher of texts."""
    return not _text("", matcher, value)


def _text(what: str, matcher: StringMatcher, value: str) -> str:
    kind = matcher.WhichOneof("match_pattern")
    if kind == "safe_regex":
        found = re2.fullmatch(matcher.safe_regex.regex, value)
        return "" if found else f"{what} does not fit the expression {matcher.safe_regex.regex}"
    wanted: str = getattr(matcher, kind or "exact")
    if matcher.ignore_case:
        wanted, value = wanted.lower(), value.lower()
    compared = {
        "exact": value == wanted,
        "prefix": value.startswith(wanted),
        "suffix": value.endswith(wanted),
        "contains": wanted in value,
    }[kind or "exact"]
    words = {"exact": "is not", "prefix": "does not begin with", "suffix": "does not end with", "contains": "has no"}
    return "" if compared else f"{what} {words[kind or 'exact']} {wanted}"
