"""Rate limit rules -> token buckets and descriptors of Envoy's local rate limit filter.

In: resolved rules. Out: the filter's configuration for one route. A request makes one descriptor for every selector
that fits; a descriptor of the same entries holds the bucket. Selectors of one rule make equal descriptors, so they
share its bucket: what they compare is told by the rule's number, not by their content.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import RateLimit
from xds_server.envoy_api.envoy.extensions.common.ratelimit.v3.ratelimit_pb2 import (
    DRAFT_VERSION_03,
    LocalRateLimitDescriptor,
    RateLimitDescriptor,
)
from xds_server.envoy_api.envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2 import LocalRateLimit
from xds_server.envoy_api.envoy.type.v3.token_bucket_pb2 import TokenBucket
from xds_server.features.parts.descriptors import conditions, distinct, entries
from xds_server.features.parts.selectors import Selector
from xds_server.features.parts.values import duration, uint32

_UNLIMITED = 2**32 - 1
_DISTINCT_VALUES = 10_000
_ALL = 100
Option = RateLimit.XRateLimitOption


@dataclass(frozen=True, slots=True)
class Rule:
    """`requests` in `seconds`, in a bucket of `burst`. Without selectors it is for all requests that fit no other rule.

    `told`: answers say in headers how much is left.
    """

    requests: int
    seconds: int
    burst: int
    shadow: bool
    selectors: tuple[Selector, ...]
    told: bool = True


def filter_config(rules: Sequence[Rule]) -> LocalRateLimit:
    """The filter's configuration for a route with these rules."""
    default = next((rule for rule in rules if not rule.selectors), None)
    config = LocalRateLimit(
        stat_prefix="local_rate_limit",
        token_bucket=_bucket(default) if default else _bucket(Rule(_UNLIMITED, 1, _UNLIMITED, False, ())),
        max_dynamic_descriptors=uint32(_DISTINCT_VALUES),
    )
    config.filter_enabled.default_value.numerator = _ALL
    config.filter_enforced.default_value.numerator = 0 if all(rule.shadow for rule in rules) else _ALL
    config.always_consume_default_token_bucket.value = False
    if default and default.told:
        config.enable_x_ratelimit_headers = DRAFT_VERSION_03
    for number, rule in enumerate(rules):
        _add_rule(config, f"rule-{number}", rule)
    return config


def _bucket(rule: Rule) -> TokenBucket:
    """Envoy refills continuously, so a whole unit as interval is as smooth as a short one, and exact."""
    return TokenBucket(
        max_tokens=rule.burst, tokens_per_fill=uint32(rule.requests), fill_interval=duration(rule.seconds)
    )


def _add_rule(config: LocalRateLimit, name: str, rule: Rule) -> None:
    length = entries(rule.selectors, name)
    described = set()
    for selector in rule.selectors:
        own = distinct(selector, name)
        config.rate_limits.add(
            actions=[*conditions(selector, name, length), *(action for _, action in own)],
            x_ratelimit_option=Option.DRAFT_VERSION_03 if rule.told else Option.OFF,
        )
        keys = [(name, str(place)) for place in range(length)] + [(key, "") for key, _ in own]
        if tuple(keys) not in described:
            described.add(tuple(keys))
            config.descriptors.append(_descriptor(keys, rule))


def _descriptor(keys: list[tuple[str, str]], rule: Rule) -> LocalRateLimitDescriptor:
    return LocalRateLimitDescriptor(
        entries=[RateLimitDescriptor.Entry(key=key, value=value) for key, value in keys],
        token_bucket=_bucket(rule),
        shadow_mode=rule.shadow,
    )
