"""HTTPRoute as it is written, and what its parts share with other routes.

Follows the v1 types of gateway-api.sigs.k8s.io; the older apiVersions have the same shape. Fields that this
version does not act on are not declared, so that setting one is an error with a place.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from xds_server.features.parts.patterns import regex_problem
from xds_server.features.route_retry import RouteRetrySpec
from xds_server.features.route_timeout import RouteTimeoutSpec
from xds_server.features.session_persistence import SessionPersistenceSpec
from xds_server.model.route_filters import (
    HttpBackendRef,
    HttpRouteFilter,
    check_filters,
    check_rule_names,
    replaces_prefix,
)
from xds_server.spec import (
    GroupName,
    HeaderName,
    HeaderValue,
    Hostname,
    HttpMethod,
    KindName,
    NamespaceName,
    ObjectName,
    Port,
    SectionName,
    Spec,
)
from xds_server.types import GATEWAY_GROUP

PathText = Annotated[str, Field(min_length=1, max_length=1024)]


class ParentRef(Spec):
    """What a route attaches to: a Gateway (all its listeners, or one by section or port), or a section of a Cell."""

    group: GroupName = GATEWAY_GROUP
    kind: KindName = "Gateway"
    namespace: NamespaceName | None = None
    name: ObjectName
    section_name: SectionName | None = None
    port: Port | None = None


def check_regex(text: str) -> None:
    """ValueError with the reason if Envoy would refuse a regular expression."""
    if problem := regex_problem(text):
        raise ValueError(f"this is no regular expression that Envoy takes (RE2): {problem}")


def check_path(path: str) -> str:
    """A path that requests can have; raises ValueError for any other."""
    if not path.startswith("/"):
        raise ValueError(f"a path must start with '/', this is '{path}'")
    for part in ("//", "/./", "/../", "%2f", "%2F", "#"):
        if part in path:
            raise ValueError(f"a path must not contain '{part}'")
    for end in ("/.", "/.."):
        if path.endswith(end):
            raise ValueError(f"a path must not end with '{end}'")
    return path


class HttpPathMatch(Spec):
    """A path. Exact and prefix paths start with a slash."""

    type: Literal["Exact", "PathPrefix", "RegularExpression"] = "PathPrefix"
    value: PathText = "/"

    @model_validator(mode="after")
    def _well_formed(self) -> HttpPathMatch:
        if self.type == "RegularExpression":
            check_regex(self.value)
        else:
            check_path(self.value)
        return self


class ValueMatch(Spec):
    """A value that is compared exactly or by a regular expression."""

    type: Literal["Exact", "RegularExpression"] = "Exact"

    @model_validator(mode="after")
    def _usable(self) -> ValueMatch:
        if self.type == "RegularExpression":
            check_regex(str(getattr(self, "value", "")))
        return self


class QueryMatch(ValueMatch):
    """A query parameter."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    value: Annotated[str, Field(min_length=1, max_length=1024)]


class HeaderMatch(ValueMatch):
    """A header. Names compare without case."""

    name: HeaderName
    value: HeaderValue


class HttpRouteMatch(Spec):
    """Conditions that a request must meet all of."""

    path: HttpPathMatch = HttpPathMatch()
    headers: Annotated[tuple[HeaderMatch, ...], Field(max_length=16)] = ()
    query_params: Annotated[tuple[QueryMatch, ...], Field(max_length=16)] = ()
    method: HttpMethod | None = None


class HttpRouteRule(Spec):
    """Matches (any of them), filters, and where to send."""

    name: SectionName | None = None
    matches: Annotated[tuple[HttpRouteMatch, ...], Field(max_length=128)] = (HttpRouteMatch(),)
    filters: Annotated[tuple[HttpRouteFilter, ...], Field(max_length=16)] = ()
    backend_refs: Annotated[tuple[HttpBackendRef, ...], Field(max_length=64)] = ()
    timeouts: RouteTimeoutSpec | None = None
    retry: RouteRetrySpec | None = None
    session_persistence: SessionPersistenceSpec | None = None

    @model_validator(mode="after")
    def _filters_fit(self) -> HttpRouteRule:
        check_filters(self.filters)
        lists = (self.filters, *(ref.filters for ref in self.backend_refs))
        if any(replaces_prefix(filters) for filters in lists) and self._matches_more_than_prefixes():
            raise ValueError("a ReplacePrefixMatch needs matches of type PathPrefix only")
        if any(one.type == "RequestRedirect" for one in self.filters) and self.backend_refs:
            raise ValueError("a rule with a RequestRedirect must not have backendRefs")
        return self

    def _matches_more_than_prefixes(self) -> bool:
        return any(match.path.type != "PathPrefix" for match in self.matches)


class RouteSpec(Spec):
    """What every route has, whatever its kind."""

    parent_refs: Annotated[tuple[ParentRef, ...], Field(max_length=32)] = ()


class HttpRouteSpec(RouteSpec):
    """An HTTPRoute."""

    hostnames: Annotated[tuple[Hostname, ...], Field(max_length=1024)] = ()
    rules: Annotated[tuple[HttpRouteRule, ...], Field(min_length=1, max_length=256)] = (HttpRouteRule(),)

    @model_validator(mode="after")
    def _unique_names(self) -> HttpRouteSpec:
        check_rule_names(rule.name for rule in self.rules)
        return self
