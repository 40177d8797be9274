"""Limits on the number of requests, counted in each Envoy process.

In: `rateLimit.local` of a BackendTrafficPolicy. Out: token buckets of Envoy's local rate limit filter. Above a limit
the answer is 429 with the body `local_rate_limited`; answers carry `x-ratelimit-limit`, `-remaining` and `-reset`.

A limit is a bucket. `requests: 60, unit: Minute` is a bucket of 60 tokens, full at the start, that is refilled
evenly: one token a second. So 60 requests pass at once, after that one a second. `burst` sets the size of the bucket
apart from the rate (Cellway's own field): `requests: 5, unit: Second, burst: 20` lets 20 pass at once, then 5 a
second. A month has 30 days and a year 365.

Each route (each match of a rule) has buckets of its own, and each Envoy process too; a change of the route table
fills them anew. A rule without `clientSelectors` is the bucket of all requests that fit no other rule. Several rules
may fit one request: the strictest answers. Selectors of one rule share its bucket, but a request that fits two of
them takes two tokens. `Distinct` gives every value a bucket of its own, for the 10,000 values seen last; a request
without that header or parameter is not counted by the rule. For a limit by user, let `jwt` copy a claim into a
header (`claimToHeaders`) and select that header as `Distinct`: tokens are checked before requests are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route
from xds_server.envoy_api.envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2 import LocalRateLimit
from xds_server.features.contract import Context, Feature, enable
from xds_server.features.parts.buckets import Rule, filter_config
from xds_server.features.parts.rate_limits import RateLimitRuleSpec, RateLimitSpec
from xds_server.features.parts.selectors import resolve_selector

_SECONDS = {
    "Second": 1,
    "Minute": 60,
    "Hour": 3600,
    "Day": 86_400,
    "Week": 7 * 86_400,
    "Month": 30 * 86_400,
    "Year": 365 * 86_400,
}


@dataclass(frozen=True, slots=True)
class RateLimit:
    """The limits of a route."""

    rules: tuple[Rule, ...]


class LocalRateLimitFeature(Feature[RateLimitSpec, RateLimit]):
    """`rateLimit` of a BackendTrafficPolicy."""

    name = "local_rate_limit"
    counts = True
    carriers = (("BackendTrafficPolicy", "rateLimit"),)
    filter_name = "envoy.filters.http.local_ratelimit"

    def resolve(self, spec: RateLimitSpec, context: Context) -> RateLimit | None:
        """The limits, or None if one of them cannot be kept."""
        if spec.local is None:
            if spec.global_ is None or spec.type == "Local":
                context.problem("F103", reason="rateLimit needs the field local")
            return None
        rules = [_rule(written, context, "local", "rules", n) for n, written in enumerate(spec.local.rules)]
        found = tuple(rule for rule in rules if rule is not None)
        if len(found) < len(rules) or not _defaults_fit(found, context):
            return None
        return RateLimit(found)

    def http_filter(self, values: Sequence[RateLimit]) -> LocalRateLimit:
        """The filter itself limits nothing; routes do."""
        return LocalRateLimit(stat_prefix="local_rate_limit")

    def route(self, value: RateLimit, route: Route) -> None:
        """The buckets of this route."""
        enable(route, self.filter_name, filter_config(value.rules))


def _rule(spec: RateLimitRuleSpec, context: Context, *path: str | int) -> Rule | None:
    if spec.limit.requests == 0 or spec.burst == 0:
        place = ("burst",) if spec.limit.requests else ("limit", "requests")
        reason = "a limit of 0 requests is not supported for local limits; answer with a directResponse instead"
        context.problem("F120", *path, *place, reason=reason)
        return None
    strange: dict[tuple[str, ...], bool] = {
        ("shared",): spec.shared,
        ("cost",): spec.cost is not None,
        ("limit", "fromMetadata"): spec.limit.from_metadata is not None,
    }
    for field, written in strange.items():
        if written:
            reason = (
                f"{'.'.join(field)} is for rateLimit.global: one Envoy counts by itself, by one, up to a fixed limit"
            )
            context.problem("F103", *path, *field, reason=reason)
            return None
    selectors = [
        resolve_selector(one, context, *path, "clientSelectors", n) for n, one in enumerate(spec.client_selectors)
    ]
    found = tuple(selector for selector in selectors if selector is not None)
    if len(found) < len(selectors):
        return None
    seconds = _SECONDS[spec.limit.unit]
    told = spec.x_rate_limit_headers == "DraftVersion03"
    return Rule(spec.limit.requests, seconds, spec.burst or spec.limit.requests, spec.shadow_mode, found, told)


def _defaults_fit(rules: tuple[Rule, ...], context: Context) -> bool:
    """True if at most one rule is for the rest, and its shadow mode can be told apart from the others'."""
    defaults = [number for number, rule in enumerate(rules) if not rule.selectors]
    if len(defaults) > 1:
        reason = f"rule {defaults[0]} has no clientSelectors either; only one rule can be for all other requests"
        context.problem("F120", "local", "rules", defaults[1], reason=reason)
        return False
    if defaults and rules[defaults[0]].shadow and not all(rule.shadow for rule in rules):
        reason = "shadowMode of a rule without clientSelectors needs it in all rules"
        context.problem("F120", "local", "rules", defaults[0], "shadowMode", reason=reason)
        return False
    return True


LOCAL_RATE_LIMIT = LocalRateLimitFeature()
