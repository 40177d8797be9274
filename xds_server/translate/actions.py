"""What a route does: forward, answer, redirect -> Envoy's route action.

In: a `graph` action, and which clusters there will be. Out: the action set on a `Route`. A share without a backend is
sent to a cluster that does not exist, which Envoy answers with the share's error status. A route without any working
share answers 500 by itself. Redirects keep what they do not name.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import (
    DirectResponseAction,
    RedirectAction,
    Route,
    RouteAction,
)
from xds_server.envoy_api.envoy.type.matcher.v3.regex_pb2 import RegexMatchAndSubstitute, RegexMatcher
from xds_server.envoy_api.envoy.type.v3.percent_pb2 import FractionalPercent
from xds_server.features.contract import AnyFeature
from xds_server.features.parts.headers import OVERWRITE, option
from xds_server.features.parts.paths import replace_prefix
from xds_server.features.parts.values import uint32
from xds_server.graph import Destination, Forward, Redirect, Respond, Setting

MISSING = "no-backend"
BODY_LIMIT = 4096
_SERVER_ERROR = 500
_NOT_FOUND_CODES = {
    404: RouteAction.NOT_FOUND,
    503: RouteAction.SERVICE_UNAVAILABLE,
}
_DENOMINATORS = {
    100: FractionalPercent.HUNDRED,
    10_000: FractionalPercent.TEN_THOUSAND,
    1_000_000: FractionalPercent.MILLION,
}
_REDIRECT_CODES = {
    301: RedirectAction.MOVED_PERMANENTLY,
    302: RedirectAction.FOUND,
    303: RedirectAction.SEE_OTHER,
    307: RedirectAction.TEMPORARY_REDIRECT,
    308: RedirectAction.PERMANENT_REDIRECT,
}


def set_action(
    route: Route,
    action: Forward | Respond | Redirect,
    clusters: AbstractSet[str],
    features: Sequence[AnyFeature],
) -> str:
    """Give the route its action. The answer is why that cannot be done, empty if it was."""
    if isinstance(action, Respond):
        return _respond(route, action)
    if isinstance(action, Redirect):
        return _redirect(route, action)
    _forward(route, action, clusters, features)
    _mirror(route, action, clusters)
    return ""


def _respond(route: Route, action: Respond) -> str:
    length = len(action.body.encode())
    if length > BODY_LIMIT:
        return f"the body of its answer has {length} bytes, Envoy takes at most {BODY_LIMIT}"
    route.direct_response.status = action.status
    if action.body:
        route.direct_response.body.inline_string = action.body
    if action.content_type:
        route.response_headers_to_add.append(option("content-type", action.content_type, OVERWRITE))
    return ""


def _mirror(route: Route, action: Forward, clusters: AbstractSet[str]) -> None:
    """Copies of requests. Their Host stays what it was, as Gateway API's conformance expects of a mirror."""
    if not route.HasField("route"):
        return
    for mirror in action.mirrors:
        if mirror.cluster in clusters:
            policy = route.route.request_mirror_policies.add(cluster=mirror.cluster)
            policy.disable_shadow_host_suffix_append = True
            share = policy.runtime_fraction.default_value
            share.numerator, share.denominator = mirror.numerator, _DENOMINATORS[mirror.denominator]


def _forward(route: Route, action: Forward, clusters: AbstractSet[str], features: Sequence[AnyFeature]) -> None:
    shares = [share for share in action.destinations if share.weight > 0]
    bad = [share for share in shares if share.backend is None or share.cluster not in clusters]
    if len(bad) == len(shares):
        status = bad[0].error_status if bad else _SERVER_ERROR
        route.direct_response.CopyFrom(DirectResponseAction(status=status))
        return
    forward = route.route
    if bad:
        # Envoy has one code for all missing clusters of a route, and only three to choose from.
        status = max(share.error_status for share in bad)
        forward.cluster_not_found_response_code = _NOT_FOUND_CODES.get(status, RouteAction.INTERNAL_SERVER_ERROR)
    if len(shares) == 1 and not shares[0].settings:
        forward.cluster = shares[0].cluster
        return
    for (name, settings), weight in _merge(shares, bad).items():
        built = forward.weighted_clusters.clusters.add(name=name, weight=uint32(weight))
        for feature in features:
            for setting in settings:
                if setting.feature == feature.name:
                    feature.share(setting.value, built)


def _merge(shares: list[Destination], bad: list[Destination]) -> dict[tuple[str, tuple[Setting, ...]], int]:
    """The weight of each cluster with its settings, in the order written; all that is missing goes to one name."""
    missing = {id(share) for share in bad}
    weights: dict[tuple[str, tuple[Setting, ...]], int] = {}
    for share in shares:
        place = (MISSING, ()) if id(share) in missing else (share.cluster, share.settings)
        weights[place] = weights.get(place, 0) + share.weight
    return weights


def _redirect(route: Route, action: Redirect) -> str:
    redirect = RedirectAction(response_code=_REDIRECT_CODES[action.status])
    if action.scheme is not None:
        redirect.scheme_redirect = action.scheme
    if action.hostname is not None:
        redirect.host_redirect = action.hostname
    if action.port is not None:
        redirect.port_redirect = action.port
    if action.path is not None:
        redirect.path_redirect = action.path or "/"
    elif action.prefix is not None:
        problem = _redirect_prefix(route, redirect, action.prefix)
        if problem:
            return problem
    route.redirect.CopyFrom(redirect)
    return ""


def _redirect_prefix(route: Route, redirect: RedirectAction, replacement: str) -> str:
    kind = route.match.WhichOneof("path_specifier")
    if kind == "path":
        redirect.path_redirect = replacement or "/"
        return ""
    if kind not in ("prefix", "path_separated_prefix"):
        return "a path prefix can be replaced only where the route matches by prefix"
    change = replace_prefix(route.match.prefix or route.match.path_separated_prefix, replacement)
    if change.prefix:
        redirect.prefix_rewrite = change.prefix
    elif change.pattern:
        rewrite = RegexMatchAndSubstitute(pattern=RegexMatcher(regex=change.pattern), substitution=change.substitution)
        redirect.regex_rewrite.CopyFrom(rewrite)
    return ""
