"""Filters and backendRefs of routes as they are written, for HTTPRoute and GRPCRoute.

Follows the v1 types of gateway-api.sigs.k8s.io. A filter's field is the one that its `type` names; a filter on a
backendRef is for the requests to that backend alone. What a filter means is the matter of its feature, or of attachment.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, model_validator

from xds_server.features.cors import CorsFilterSpec
from xds_server.features.header_modifier import HeaderModifierSpec
from xds_server.features.url_rewrite import UrlRewriteSpec
from xds_server.spec import Fraction, GroupName, KindName, NamespaceName, ObjectName, Port, PreciseHostname, Spec


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

    group: GroupName = ""
    kind: KindName
    name: ObjectName


class BackendObjectRef(Spec):
    """A backend without a share: where copies go."""

    group: GroupName = ""
    kind: KindName = "Service"
    name: ObjectName
    namespace: NamespaceName | None = None
    port: Port | None = None


class RequestMirror(Spec):
    """Send copies of the requests, all of them or a share, to another backend."""

    backend_ref: BackendObjectRef
    percent: Annotated[int, Field(strict=True, ge=0, le=100)] | None = None
    fraction: Fraction | None = None

    @model_validator(mode="after")
    def _one_share(self) -> RequestMirror:
        if self.percent is not None and self.fraction is not None:
            raise ValueError("give either 'percent' or 'fraction'")
        if self.fraction is not None and self.fraction.numerator > self.fraction.denominator:
            raise ValueError("a fraction is at most 1: its numerator is greater than its denominator")
        return self


class RouteFilter(Spec):
    """What the filters of all routes have in common; the field must be the one that `type` names."""

    type: str
    request_header_modifier: HeaderModifierSpec | None = None
    response_header_modifier: HeaderModifierSpec | None = None
    request_mirror: RequestMirror | None = None
    extension_ref: LocalObjectRef | None = None

    @model_validator(mode="after")
    def _field_fits_type(self) -> RouteFilter:
        own = FILTER_FIELDS[self.type]
        for type_, field in FILTER_FIELDS.items():
            if getattr(self, field, None) is not None and field != own:
                name = type(self).model_fields[field].alias
                raise ValueError(f"type {self.type} needs its own field and no other; '{name}' belongs to {type_}")
        if getattr(self, own) is None:
            raise ValueError(f"type {self.type} needs the field '{type(self).model_fields[own].alias}'")
        return self


class GrpcRouteFilter(RouteFilter):
    """One filter of a GRPCRoute's rule or backendRef."""

    type: Literal["RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "ExtensionRef"]


class HttpRouteFilter(RouteFilter):
    """One filter of an HTTPRoute's rule or backendRef."""

    type: Literal[
        "RequestHeaderModifier",
        "ResponseHeaderModifier",
        "RequestMirror",
        "RequestRedirect",
        "URLRewrite",
        "CORS",
        "ExtensionRef",
    ]
    request_redirect: RequestRedirect | None = None
    url_rewrite: UrlRewriteSpec | None = None
    cors: CorsFilterSpec | None = None


FILTER_FIELDS = {
    "RequestHeaderModifier": "request_header_modifier",
    "ResponseHeaderModifier": "response_header_modifier",
    "RequestMirror": "request_mirror",
    "RequestRedirect": "request_redirect",
    "URLRewrite": "url_rewrite",
    "CORS": "cors",
    "ExtensionRef": "extension_ref",
}
_REPEATABLE = {"RequestMirror", "ExtensionRef"}


def check_rule_names(names: Iterable[str | None]) -> None:
    """ValueError if two rules of a route have one name."""
    seen: set[str] = set()
    for name in names:
        if name is not None and name in seen:
            raise ValueError(f"two rules are named '{name}'")
        seen.add(name or "")


def check_filters(filters: Iterable[RouteFilter]) -> None:
    """ValueError if filters of one list contradict each other."""
    types = [item.type for item in filters]
    repeated = {name for name in types if types.count(name) > 1} - _REPEATABLE
    if repeated:
        raise ValueError(f"filter {min(repeated)} is there twice")
    if "RequestRedirect" in types and "URLRewrite" in types:
        raise ValueError("the filters RequestRedirect and URLRewrite cannot be used together")


def replaces_prefix(filters: Iterable[HttpRouteFilter]) -> bool:
    """True if one of the filters replaces the path prefix that a route matched."""
    for item in filters:
        for part in (item.request_redirect, item.url_rewrite):
            if part is not None and part.path is not None and part.path.type == "ReplacePrefixMatch":
                return True
    return False


class BackendRef(BackendObjectRef):
    """Where a share of the requests goes."""

    weight: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] = 1


class HttpBackendRef(BackendRef):
    """Where a share of an HTTPRoute's requests goes, and what happens to that share."""

    filters: Annotated[tuple[HttpRouteFilter, ...], Field(max_length=16)] = ()

    @model_validator(mode="after")
    def _filters_fit(self) -> HttpBackendRef:
        check_filters(self.filters)
        if any(item.type == "CORS" for item in self.filters):
            raise ValueError(
                "a CORS filter is for a whole rule: a preflight and its request may go to different backends"
            )
        return self


class GrpcBackendRef(BackendRef):
    """Where a share of a GRPCRoute's calls goes, and what happens to that share."""

    filters: Annotated[tuple[GrpcRouteFilter, ...], Field(max_length=16)] = ()

    @model_validator(mode="after")
    def _filters_fit(self) -> GrpcBackendRef:
        check_filters(self.filters)
        return self
