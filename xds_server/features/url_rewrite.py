"""Gateway API's URL rewrite: another host, another path, or another prefix of the path, for the backend only.

In: `urlRewrite` of a rule's filter. Out: rewrites of the Envoy route's action. A prefix is replaced by whole path
elements, without lost or doubled slashes; it needs a route that matches by prefix, and one that matches by regular
expression is closed with 500 rather than forwarded with the old path. The query is kept. The original host is not
passed on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import (
    DirectResponseAction,
    Route,
    WeightedCluster,
)
from xds_server.envoy_api.envoy.type.matcher.v3.regex_pb2 import RegexMatchAndSubstitute, RegexMatcher
from xds_server.features.contract import Context, Feature
from xds_server.features.parts.paths import PathChange, replace_all, replace_prefix
from xds_server.spec import PreciseHostname, Spec, Text

Path = Annotated[Text, Field(max_length=1024)]


class PathRewriteSpec(Spec):
    """How the path changes."""

    type: Literal["ReplaceFullPath", "ReplacePrefixMatch"]
    replace_full_path: Path | None = None
    replace_prefix_match: Path | None = None


class UrlRewriteSpec(Spec):
    """What the backend gets instead of the client's host and path."""

    hostname: PreciseHostname | None = None
    path: PathRewriteSpec | None = None


@dataclass(frozen=True, slots=True)
class UrlRewrite:
    """The new host, the new path, or what replaces the matched prefix; None keeps."""

    hostname: str | None
    path: str | None
    prefix: str | None


class UrlRewrites(Feature[UrlRewriteSpec, UrlRewrite]):
    """`urlRewrite` of a rule's filter."""

    name = "url_rewrite"
    carriers = (("HTTPRoute.filter", "urlRewrite"),)

    def resolve(self, spec: UrlRewriteSpec, context: Context) -> UrlRewrite | None:
        """The rewrite, or None if `path` contradicts itself."""
        if spec.path is None:
            return UrlRewrite(spec.hostname, None, None)
        full, prefix = spec.path.replace_full_path, spec.path.replace_prefix_match
        wanted = full if spec.path.type == "ReplaceFullPath" else prefix
        if wanted is None or (full is not None and prefix is not None):
            context.problem("F103", "path", reason=f"type {spec.path.type} needs its own field and no other")
            return None
        # An empty text means the root; anything else has to be a path.
        if wanted and (not wanted.startswith("/") or any(sign in wanted for sign in "?#")):
            context.problem("F103", "path", reason=f"'{wanted}' is not a path: it starts with '/', without '?' and '#'")
            return None
        return UrlRewrite(spec.hostname, full, prefix)

    def fits_share(self, value: UrlRewrite) -> bool:
        """For a share alone Envoy can rewrite the host, no path."""
        return value.path is None and value.prefix is None

    def share(self, value: UrlRewrite, weight: WeightedCluster.ClusterWeight) -> None:
        """The host of the requests to one backend."""
        if value.hostname is not None:
            weight.host_rewrite_literal = value.hostname

    def route(self, value: UrlRewrite, route: Route) -> None:
        """Rewrites of a route that forwards; on other routes there is nothing to rewrite."""
        if not route.HasField("route"):
            return
        if value.hostname is not None:
            route.route.host_rewrite_literal = value.hostname
        if value.path is not None:
            _change(route, replace_all(value.path))
        elif value.prefix is not None:
            _change_prefix(route, value.prefix)


def _change_prefix(route: Route, replacement: str) -> None:
    kind = route.match.WhichOneof("path_specifier")
    if kind in ("prefix", "path_separated_prefix"):
        _change(route, replace_prefix(route.match.prefix or route.match.path_separated_prefix, replacement))
    elif kind == "path":
        _change(route, replace_all(replacement))
    else:
        # There is no prefix to replace. A route that a feature closes is reported by whoever translates it.
        route.direct_response.CopyFrom(DirectResponseAction(status=500))


def _change(route: Route, change: PathChange) -> None:
    # A backendRef's own rewrite takes the place of its rule's.
    route.route.ClearField("prefix_rewrite")
    route.route.ClearField("regex_rewrite")
    if change.prefix:
        route.route.prefix_rewrite = change.prefix
    elif change.pattern:
        rewrite = RegexMatchAndSubstitute(pattern=RegexMatcher(regex=change.pattern), substitution=change.substitution)
        route.route.regex_rewrite.CopyFrom(rewrite)


URL_REWRITE = UrlRewrites()
