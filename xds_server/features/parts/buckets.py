"""Rate limit rules -> token buckets and descriptors of Envoy's local rate limit filter.

In: resolved rules. Out: the filter's configuration for one route. A request makes one descriptor for every selector
that fits; a descriptor of the same entries holds the bucket. Selectors of one rule make equal descriptors, so they
share its bucket: what they compare is told by the rule's number, not by their content.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import (
    HeaderMatcher,
    QueryParameterMatcher,
    RateLimit,
)
from xds_server.envoy_api.envoy.extensions.common.ratelimit.v3.ratelimit_pb2 import (
    DRAFT_VERSION_03,
    LocalRateLimitDescriptor,
    RateLimitDescriptor,
)
from xds_server.envoy_api.envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2 import LocalRateLimit
from xds_server.envoy_api.envoy.type.v3.token_bucket_pb2 import TokenBucket
from xds_server.features.parts.patterns import exact, regex
from xds_server.features.parts.selectors import Condition, Selector
from xds_server.features.parts.values import duration, uint32

_UNLIMITED = 2**32 - 1
_DISTINCT_VALUES = 10_000
_ALL = 100
Action = RateLimit.Action
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
    length = max((len(_conditions(selector, name)) for selector in rule.selectors), default=0)
    described = set()
    for selector in rule.selectors:
        actions = _conditions(selector, name)
        for place in range(len(actions), length):
            padding = Action.GenericKey(descriptor_key=name, descriptor_value=str(place))
            actions.append(Action(generic_key=padding))
        distinct = _distinct(selector, name)
        config.rate_limits.add(
            actions=[*actions, *(action for _, action in distinct)],
            x_ratelimit_option=Option.DRAFT_VERSION_03 if rule.told else Option.OFF,
        )
        entries = [(name, str(place)) for place in range(length)] + [(key, "") for key, _ in distinct]
        if tuple(entries) not in described:
            described.add(tuple(entries))
            config.descriptors.append(_descriptor(entries, rule))


def _descriptor(entries: list[tuple[str, str]], rule: Rule) -> LocalRateLimitDescriptor:
    return LocalRateLimitDescriptor(
        entries=[RateLimitDescriptor.Entry(key=key, value=value) for key, value in entries],
        token_bucket=_bucket(rule),
        shadow_mode=rule.shadow,
    )


def _conditions(selector: Selector, name: str) -> list[RateLimit.Action]:
    """Actions that make no descriptor unless the request fits; the n-th makes the entry (name, n)."""
    actions: list[RateLimit.Action] = []
    if selector.headers:
        match = Action.HeaderValueMatch(descriptor_key=name, descriptor_value="0")
        match.headers.extend(_header(one) for one in selector.headers)
        actions.append(Action(header_value_match=match))
    if selector.cidr:
        address, length, invert = selector.cidr
        remote = Action.RemoteAddressMatch(descriptor_key=name, descriptor_value=str(len(actions)))
        remote.address_matcher.ranges.add(address_prefix=address, prefix_len=uint32(length))
        remote.address_matcher.invert_match = invert
        actions.append(Action(remote_address_match=remote))
    # One action says of all its parameters that they fit, or that they do not; so every one has its own.
    for one in selector.query:
        query = Action.QueryParameterValueMatch(descriptor_key=name, descriptor_value=str(len(actions)))
        query.expect_match.value = not one.invert
        matcher = regex(one.value) if one.regex else exact(one.value)
        query.query_parameters.append(QueryParameterMatcher(name=one.name, string_match=matcher))
        actions.append(Action(query_parameter_value_match=query))
    return actions


def _header(condition: Condition) -> HeaderMatcher:
    matcher = regex(condition.value) if condition.regex else exact(condition.value)
    return HeaderMatcher(name=condition.name, string_match=matcher, invert_match=condition.invert)


def _distinct(selector: Selector, name: str) -> list[tuple[str, RateLimit.Action]]:
    """Actions whose entry holds the request's own value, with the key of that entry."""
    found: list[tuple[str, RateLimit.Action]] = []
    for header in selector.distinct_headers:
        key = f"{name}/header/{header}"
        found.append((key, Action(request_headers=Action.RequestHeaders(header_name=header, descriptor_key=key))))
    for parameter in selector.distinct_query:
        key = f"{name}/query/{parameter}"
        query = Action.QueryParameters(query_parameter_name=parameter, descriptor_key=key)
        found.append((key, Action(query_parameters=query)))
    if selector.distinct_address:
        found.append(("remote_address", Action(remote_address=Action.RemoteAddress())))
    return found
