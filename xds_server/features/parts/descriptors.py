"""What a request must be to count under a limit -> actions of Envoy's rate limit filters.

In: a selector. Out: actions that make no descriptor unless the request fits it, and those whose entry holds a value of
the request. Selectors of one rule make equal descriptors, so they share its counter: what they compare is told by the
rule's name, not by their content.
"""

from __future__ import annotations

from collections.abc import Sequence

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import (
    HeaderMatcher,
    QueryParameterMatcher,
    RateLimit,
)
from xds_server.features.parts.patterns import exact, regex
from xds_server.features.parts.selectors import Condition, Selector
from xds_server.features.parts.values import uint32

Action = RateLimit.Action
Actions = list[RateLimit.Action]


def entries(selectors: Sequence[Selector], name: str) -> int:
    """How many entries the conditions of a rule make: as many as those of its longest selector."""
    return max((len(_conditions(selector, name)) for selector in selectors), default=0)


def conditions(selector: Selector, name: str, length: int) -> Actions:
    """Actions that make no descriptor unless the request fits; the n-th of `length` makes the entry (name, n)."""
    actions = _conditions(selector, name)
    for place in range(len(actions), length):
        actions.append(Action(generic_key=Action.GenericKey(descriptor_key=name, descriptor_value=str(place))))
    return actions


def _conditions(selector: Selector, name: str) -> Actions:
    actions: Actions = []
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


def distinct(selector: Selector, name: str) -> list[tuple[str, RateLimit.Action]]:
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
