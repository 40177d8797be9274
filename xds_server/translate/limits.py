"""What Envoy refuses although a message is well-formed: expressions that its RE2 does not take.

In: a route. Out: why Envoy would refuse its match, or the rest of it. One such route would make Envoy refuse the whole
table, so each is looked at alone. Refuses nothing else: shapes of messages are checked by their own rules.
"""

from __future__ import annotations

from collections.abc import Iterable

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route, RouteMatch
from xds_server.features.parts.patterns import regex_problem


def match_problem(match: RouteMatch) -> str:
    """Why Envoy would refuse the match; empty if it takes it."""
    patterns = [match.safe_regex.regex] if match.HasField("safe_regex") else []
    matchers = [one.string_match for one in match.headers] + [one.string_match for one in match.query_parameters]
    matchers += [one.string_match for one in match.cookies]
    patterns += [one.safe_regex.regex for one in matchers if one.HasField("safe_regex")]
    return _first_problem(patterns)


def rewrite_problem(route: Route) -> str:
    """Why Envoy would refuse what the route does to paths; empty if it takes it."""
    rewrites = (route.route.regex_rewrite, route.route.host_rewrite_path_regex, route.redirect.regex_rewrite)
    return _first_problem(one.pattern.regex for one in rewrites if one.pattern.regex)


def _first_problem(patterns: Iterable[str]) -> str:
    for pattern in patterns:
        problem = regex_problem(pattern)
        if problem:
            return f"the regular expression '{pattern}': {problem}"
    return ""
