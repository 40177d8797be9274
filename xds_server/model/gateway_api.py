"""HTTPRoute as it is written, and what its parts share with other routes.

Follows the v1 types of gateway-api.sigs.k8s.io; the older apiVersions have the same shape. Fields that this
version does not act on are not declared, so that setting one is an error with a place.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from xds_server.features.header_modifier import HeaderModifierSpec
from xds_server.features.parts.patterns import regex_problem
from xds_server.features.route_timeout import RouteTimeoutSpec
from xds_server.features.url_rewrite import UrlRewriteSpec
from xds_server.spec import (
    HeaderName,
    HeaderValue,
    Hostname,
    HttpMethod,
    ObjectName,
    Port,
    PreciseHostname,
    SectionName,
    Spec,
    Text,
)
from xds_server.types import GATEWAY_GROUP

PathText = Annotated[str, Field(min_length=1, max_length=1024)]


class ParentRef(Spec):
    """What a route attaches to: a Gateway (all its listeners, or one by section or port), or a section of a Cell."""

    group: str = GATEWAY_GROUP
    kind: str = "Gateway"
    namespace: ObjectName | None = None
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


class PathModifier(Spec):
    """A new path, or a new prefix in place of the matched one."""

    type: Literal["ReplaceFullPath", "ReplacePrefixMatch"]
    replace_full_path: str | None = None
    replace_prefix_match: str | None = None

    @model_validator(mode="after")
    def _field_fits_type(self) -> PathModifier:
        full, prefix = self.replace_full_path is not None, self.replace_prefix_match is not None
        if (full, prefix) != (self.type == "ReplaceFullPath", self.type == "ReplacePrefixMatch"):
            field = "replaceFullPath" if self.type == "ReplaceFullPath" else "replacePrefixMatch"
            raise ValueError(f"type {self.type} needs the field {field} and no other")
        return self


class RequestRedirect(Spec):
    """Answer with a redirect."""

    scheme: Literal["http", "https"] | None = None
    hostname: PreciseHostname | None = None
    path: PathModifier | None = None
    port: Port | None = None
    status_code: Literal[301, 302, 303, 307, 308] = 302


class LocalObjectRef(Spec):
    """An object in the same namespace."""

    group: str = ""
    kind: Text
    name: ObjectName


class HttpRouteFilter(Spec):
    """One filter of a rule; the field must be the one that `type` names."""

    type: Literal["RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite", "ExtensionRef"]
    request_header_modifier: HeaderModifierSpec | None = None
    response_header_modifier: HeaderModifierSpec | None = None
    request_redirect: RequestRedirect | None = None
    url_rewrite: UrlRewriteSpec | None = None
    extension_ref: LocalObjectRef | None = None

    @model_validator(mode="after")
    def _field_fits_type(self) -> HttpRouteFilter:
        wanted = FILTER_FIELDS[self.type]
        for type_, field in FILTER_FIELDS.items():
            if (getattr(self, field) is not None) != (field == wanted):
                name = type(self).model_fields[field].alias
                raise ValueError(f"type {self.type} needs its own field and no other; '{name}' belongs to {type_}")
        return self


FILTER_FIELDS = {
    "RequestHeaderModifier": "request_header_modifier",
    "ResponseHeaderModifier": "response_header_modifier",
    "RequestRedirect": "request_redirect",
    "URLRewrite": "url_rewrite",
    "ExtensionRef": "extension_ref",
}


class BackendRef(Spec):
    """Where a share of the requests goes."""

    group: str = ""
    kind: str = "Service"
    name: ObjectName
    namespace: ObjectName | None = None
    port: Port | None = None
    weight: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] = 1


class HttpRouteRule(Spec):
    """Matches (any of them), filters, and where to send."""

    name: SectionName | None = None
    matches: Annotated[tuple[HttpRouteMatch, ...], Field(max_length=128)] = (HttpRouteMatch(),)
    filters: Annotated[tuple[HttpRouteFilter, ...], Field(max_length=16)] = ()
    backend_refs: Annotated[tuple[BackendRef, ...], Field(max_length=64)] = ()
    timeouts: RouteTimeoutSpec | None = None

    @model_validator(mode="after")
    def _filters_fit(self) -> HttpRouteRule:
        types = [item.type for item in self.filters]
        repeated = {name for name in types if types.count(name) > 1} - {"ExtensionRef"}
        if repeated:
            raise ValueError(f"filter {min(repeated)} is there twice")
        if "RequestRedirect" in types and "URLRewrite" in types:
            raise ValueError("RequestRedirect and URLRewrite cannot be used together")
        if self._replaces_a_prefix() and any(match.path.type != "PathPrefix" for match in self.matches):
            raise ValueError("ReplacePrefixMatch needs matches of type PathPrefix only")
        if "RequestRedirect" in types and self.backend_refs:
            raise ValueError("a rule with a RequestRedirect must not have backendRefs")
        return self

    def _replaces_a_prefix(self) -> bool:
        paths = [one.request_redirect.path for one in self.filters if one.request_redirect]
        rewrites = [one.url_rewrite.path for one in self.filters if one.url_rewrite]
        return any(path is not None and path.type == "ReplacePrefixMatch" for path in (*paths, *rewrites))


class HttpRouteSpec(Spec):
    """An HTTPRoute."""

    parent_refs: Annotated[tuple[ParentRef, ...], Field(max_length=32)] = ()
    hostnames: Annotated[tuple[Hostname, ...], Field(max_length=1024)] = ()
    rules: Annotated[tuple[HttpRouteRule, ...], Field(min_length=1, max_length=256)] = (HttpRouteRule(),)
