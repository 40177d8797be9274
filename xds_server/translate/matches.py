"""`graph.Match` -> Envoy's route match.

In: what a request must look like. Out: a `RouteMatch`. A prefix counts by whole path elements, a regular expression
covers the whole path without its query, CONNECT matches by its method alone (it has no path).
"""

from __future__ import annotations

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import (
    CookieMatcher,
    HeaderMatcher,
    QueryParameterMatcher,
    RouteMatch,
)
from xds_server.envoy_api.envoy.type.matcher.v3.string_pb2 import StringMatcher
from xds_server.envoy_api.envoy.type.v3.percent_pb2 import FractionalPercent
from xds_server.features.parts.patterns import exact, regex
from xds_server.graph import Match, PathType, ValueMatch


def translate_match(match: Match) -> RouteMatch:
    """The message for one match."""
    found = RouteMatch()
    if match.method == "CONNECT":
        found.connect_matcher.SetInParent()
    else:
        _set_path(found, match)
        if match.method:
            found.headers.append(HeaderMatcher(name=":method", string_match=exact(match.method)))
    if match.below is not None:
        found.runtime_fraction.default_value.numerator = match.below
        found.runtime_fraction.default_value.denominator = FractionalPercent.MILLION
    for header in match.headers:
        found.headers.append(HeaderMatcher(name=header.name, string_match=_text(header)))
    for parameter in match.query:
        found.query_parameters.append(QueryParameterMatcher(name=parameter.name, string_match=_text(parameter)))
    for cookie in match.cookies:
        found.cookies.append(CookieMatcher(name=cookie.name, string_match=_text(cookie)))
    return found


def _set_path(found: RouteMatch, match: Match) -> None:
    if match.path_type is PathType.EXACT:
        found.path = match.path
    elif match.path_type is PathType.REGEX:
        found.safe_regex.regex = match.path
    elif match.path.strip("/"):
        found.path_separated_prefix = match.path.rstrip("/")
    else:
        found.prefix = "/"


def _text(one: ValueMatch) -> StringMatcher:
    return regex(one.value) if one.regex else exact(one.value)
