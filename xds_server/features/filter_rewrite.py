"""Envoy Gateway's URL rewrite: the host from a header, the backend or the path, and the path by an expression.

In: `urlRewrite` of an HTTPRouteFilter. Out: rewrites of the Envoy route's action, in place of those of a `URLRewrite`
filter where both change the same part. A substitution that names a group which the expression does not have is refused,
as Envoy would refuse it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

import re2
from pydantic import Field

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route
from xds_server.envoy_api.envoy.type.matcher.v3.regex_pb2 import RegexMatchAndSubstitute, RegexMatcher
from xds_server.features.contract import Context, Feature
from xds_server.features.parts.patterns import LENGTH, check_regex
from xds_server.spec import Bool, HeaderName, Spec, Text

_ESCAPE = re.compile(r"\\(.?)", re.DOTALL)


class RegexChangeSpec(Spec):
    """What an RE2 expression finds, and what takes its place; `\\1` is the first group."""

    pattern: Annotated[Text, Field(min_length=1, max_length=LENGTH)]
    substitution: Annotated[Text, Field(max_length=LENGTH)]


class HostnameRewriteSpec(Spec):
    """Where the host comes from."""

    type: Literal["Header", "Backend", "PathRegex"]
    header: HeaderName | None = None
    path_regex: RegexChangeSpec | None = None


class PathRegexSpec(Spec):
    """How the path changes."""

    type: Literal["ReplaceRegexMatch"]
    replace_regex_match: RegexChangeSpec | None = None


class FilterRewriteSpec(Spec):
    """What the backend gets instead of the client's host and path."""

    hostname: HostnameRewriteSpec | None = None
    path: PathRegexSpec | None = None
    append_x_forwarded_host: Bool = True


@dataclass(frozen=True, slots=True)
class RegexChange:
    """A pattern and its substitution."""

    pattern: str
    substitution: str


@dataclass(frozen=True, slots=True)
class FilterRewrite:
    """At most one of `header`, `backend` and `host` is set; `path` apart from them."""

    header: str = ""
    backend: bool = False
    host: RegexChange | None = None
    path: RegexChange | None = None
    keeps_host: bool = True


class FilterRewrites(Feature[FilterRewriteSpec, FilterRewrite]):
    """`urlRewrite` of an HTTPRouteFilter."""

    name = "filter_rewrite"
    carriers = (("HTTPRouteFilter", "urlRewrite"),)

    def resolve(self, spec: FilterRewriteSpec, context: Context) -> FilterRewrite | None:
        """The rewrite, or None if a part is missing or cannot be."""
        hostname, path = spec.hostname, spec.path
        if hostname is not None and not _fits(hostname):
            reason = f"type {hostname.type} needs its own field and no other"
            context.problem("F103", "hostname", reason=reason)
            return None
        if path is not None and path.replace_regex_match is None:
            context.problem("F103", "path", reason="type ReplaceRegexMatch needs the field replaceRegexMatch")
            return None
        host_change = hostname.path_regex if hostname else None
        path_change = path.replace_regex_match if path else None
        good = host_change is None or _check(host_change, context, "hostname", "pathRegex")
        good = (path_change is None or _check(path_change, context, "path", "replaceRegexMatch")) and good
        if not good:
            return None
        return FilterRewrite(
            (hostname.header or "") if hostname else "",
            hostname is not None and hostname.type == "Backend",
            RegexChange(host_change.pattern, host_change.substitution) if host_change else None,
            RegexChange(path_change.pattern, path_change.substitution) if path_change else None,
            spec.append_x_forwarded_host,
        )

    def route(self, value: FilterRewrite, route: Route) -> None:
        """Rewrites of a route that forwards; on other routes there is nothing to rewrite."""
        if not route.HasField("route"):
            return
        action = route.route
        if value.header:
            action.host_rewrite_header = value.header
        elif value.backend:
            action.auto_host_rewrite.value = True
        elif value.host is not None:
            action.host_rewrite_path_regex.CopyFrom(_message(value.host))
        if value.keeps_host and (value.header or value.backend or value.host):
            action.append_x_forwarded_host = True
        if value.path is not None:
            action.ClearField("prefix_rewrite")
            action.regex_rewrite.CopyFrom(_message(value.path))


def _fits(spec: HostnameRewriteSpec) -> bool:
    given = (spec.header is not None, spec.path_regex is not None)
    return given == (spec.type == "Header", spec.type == "PathRegex")


def _check(spec: RegexChangeSpec, context: Context, *path: str | int) -> bool:
    """True if Envoy takes the pattern and the substitution; else the first problem is reported."""
    if not check_regex(context, spec.pattern, *path, "pattern"):
        return False
    groups = re2.compile(spec.pattern).groups
    for escaped in _ESCAPE.findall(spec.substitution):
        if escaped.isdecimal() and int(escaped) > groups:
            reason = f"\\{escaped} is not there: the pattern has {groups} groups"
        elif not escaped.isdecimal() and escaped != "\\":
            reason = "after a backslash comes the number of a group, or another backslash"
        else:
            continue
        context.problem("F103", *path, "substitution", reason=reason)
        return False
    return True


def _message(change: RegexChange) -> RegexMatchAndSubstitute:
    return RegexMatchAndSubstitute(pattern=RegexMatcher(regex=change.pattern), substitution=change.substitution)


FILTER_REWRITE = FilterRewrites()
