"""Matches of rules as they are written -> `graph.Match`es, each with its place in the order of precedence.

In: an HTTPRoute's or a GRPCRoute's rule. Out: (rank, match) pairs; of several routes the one with the lowest rank comes
first. HTTP: exact paths, expressions, prefixes; longer paths; a method; more headers; more
cookies (of its HTTPRouteFilters); more query parameters. gRPC: exact
names before expressions; longer services; longer methods; more headers (Gateway API, HTTPRouteRule and GRPCRouteRule).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from xds_server.graph import Match, PathType, ValueMatch
from xds_server.model.cookies import CookieMatch
from xds_server.model.gateway_api import HttpRouteMatch, HttpRouteRule
from xds_server.model.grpc_route import GrpcMethodMatch, GrpcRouteMatch, GrpcRouteRule

Rank = tuple[int, int, int, int, int, int]
_PATH_RANK = {PathType.EXACT: 0, PathType.REGEX: 1, PathType.PREFIX: 2}
_ANY_SERVICE = "[^/]+"
_ANY_METHOD = "[^/]+"


def read_matches(rule: HttpRouteRule | GrpcRouteRule) -> tuple[tuple[Rank, Match], ...]:
    """The matches of a rule."""
    if isinstance(rule, HttpRouteRule):
        return tuple(_http(match) for match in rule.matches)
    return tuple(_grpc(match) for match in rule.matches)


def with_cookies(
    matches: Iterable[tuple[Rank, Match]], groups: Sequence[Sequence[CookieMatch]]
) -> tuple[tuple[Rank, Match], ...]:
    """The matches for requests that also have all cookies of one of the groups. More cookies come before fewer."""
    before = tuple(matches)
    found = []
    for group in groups:
        cookies = tuple(ValueMatch(one.name, one.value, one.type == "RegularExpression") for one in group)
        for rank, match in before:
            more = (*match.cookies, *cookies)
            found.append(((*rank[:4], -len(more), rank[5]), replace(match, cookies=more)))
    return tuple(found)


def _http(written: HttpRouteMatch) -> tuple[Rank, Match]:
    match = Match(
        PathType(written.path.type),
        written.path.value,
        written.method or "",
        _values((item.name.lower(), item.value, item.type) for item in written.headers),
        _values((item.name, item.value, item.type) for item in written.query_params),
    )
    length = len(match.path) if match.path != "/" else 0
    return (
        _PATH_RANK[match.path_type],
        -length,
        0 if match.method else 1,
        -len(match.headers),
        0,
        -len(match.query),
    ), match


def _grpc(written: GrpcRouteMatch) -> tuple[Rank, Match]:
    headers = _values((item.name.lower(), item.value, item.type) for item in written.headers)
    method = written.method
    if method is None:
        return (0, 0, 0, -len(headers), 0, 0), Match(headers=headers)
    rank = (
        1 if method.type == "RegularExpression" else 0,
        -len(method.service or ""),
        -len(method.method or ""),
        -len(headers),
        0,
        0,
    )
    return rank, Match(*_grpc_path(method), headers=headers)


def _grpc_path(written: GrpcMethodMatch) -> tuple[PathType, str]:
    """The paths of the calls that a method match fits."""
    if written.type == "RegularExpression":
        service, method = written.service or _ANY_SERVICE, written.method or _ANY_METHOD
        return PathType.REGEX, f"/(?:{service})/(?:{method})"
    if written.service and written.method:
        return PathType.EXACT, f"/{written.service}/{written.method}"
    if written.service:
        return PathType.PREFIX, f"/{written.service}"
    return PathType.REGEX, f"/{_ANY_SERVICE}/{written.method}"


def _values(written: Iterable[tuple[str, str, str]]) -> tuple[ValueMatch, ...]:
    """Of two conditions on one name, the first counts (Gateway API)."""
    found: dict[str, ValueMatch] = {}
    for name, value, type_ in written:
        found.setdefault(name, ValueMatch(name, value, type_ == "RegularExpression"))
    return tuple(found.values())
