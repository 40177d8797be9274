"""Whether a request fits a predicate of Envoy's matching API, as far as the request tells.

In: a predicate or a list of matchers, and a request. Out: True, False, or None where more would have to be known: who asks,
what a token holds, what an expression gives. Nothing is guessed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import re2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import UInt32Value

from xds_server.envoy_api.envoy.config.rbac.v3.rbac_pb2 import RBAC, Action
from xds_server.envoy_api.envoy.extensions.matching.common_inputs.network.v3.network_inputs_pb2 import SourceIPInput
from xds_server.envoy_api.envoy.extensions.matching.common_inputs.ssl.v3.ssl_inputs_pb2 import UriSanInput
from xds_server.envoy_api.envoy.extensions.matching.input_matchers.ip.v3.ip_pb2 import Ip
from xds_server.envoy_api.envoy.type.matcher.v3.http_inputs_pb2 import HttpRequestHeaderMatchInput
from xds_server.envoy_api.xds.type.matcher.v3.matcher_pb2 import Matcher
from xds_server.envoy_api.xds.type.matcher.v3.string_pb2 import StringMatcher
from xds_server.explain.request import Request

Predicate = Matcher.MatcherList.Predicate


class Range(Protocol):
    """A range of addresses, in any of Envoy's two spellings."""

    @property
    def address_prefix(self) -> str:
        """Its first address."""

    @property
    def prefix_len(self) -> UInt32Value:
        """The length of its prefix."""


_PSEUDO = (":method", ":path", ":authority", ":scheme", "host")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as a filter sees it. Not `settled`: a filter before may have changed headers."""

    request: Request
    settled: bool = True


def fits_predicate(predicate: Predicate, asked: Asked) -> bool | None:
    """Whether the request fits; None if that is not known."""
    kind = predicate.WhichOneof("match_type")
    if kind == "and_matcher":
        parts = [fits_predicate(one, asked) for one in predicate.and_matcher.predicate]
        return False if False in parts else None if None in parts else True
    if kind == "or_matcher":
        parts = [fits_predicate(one, asked) for one in predicate.or_matcher.predicate]
        return True if True in parts else None if None in parts else False
    if kind == "not_matcher":
        part = fits_predicate(predicate.not_matcher, asked)
        return None if part is None else not part
    return _single(predicate.single_predicate, asked)


def in_ranges(address: str, ranges: Iterable[Range]) -> bool | None:
    """Whether an address is in one of the ranges; None if it is not known."""
    if not address:
        return None
    one = ipaddress.ip_address(address)
    return any(one in ipaddress.ip_network(f"{r.address_prefix}/{r.prefix_len.value}", strict=False) for r in ranges)


def _single(single: Predicate.SinglePredicate, asked: Asked) -> bool | None:
    given, request = single.input.typed_config, asked.request
    header = HttpRequestHeaderMatchInput()
    if given.Unpack(header):
        name = header.header_name.lower()
        if not asked.settled and name not in _PSEUDO:
            return None
        value = _header(name, request)
        return value is not None and fits_text(single.value_match, value)
    if given.Unpack(SourceIPInput()):
        ranges = Ip()
        return in_ranges(request.source, ranges.cidr_ranges) if _opened(single, ranges) else None
    if given.Unpack(UriSanInput()):
        if request.scheme == "http":
            return False  # no certificate, no name
        return fits_text(single.value_match, request.peer) if request.peer else None
    return None


def _opened(single: Predicate.SinglePredicate, into: Message) -> bool:
    packed: AnyMessage = single.custom_match.typed_config
    return bool(packed.Unpack(into))


def _header(name: str, request: Request) -> str | None:
    own = {":method": request.method, ":path": request.path, ":scheme": request.scheme}
    own |= {":authority": request.host, "host": request.host}
    if name in own:
        return own[name]
    values = request.headers.get(name)
    return None if values is None else ",".join(values)


def fits_text(matcher: StringMatcher, value: str) -> bool:
    """Whether a text fits."""
    kind = matcher.WhichOneof("match_pattern") or "exact"
    if kind == "safe_regex":
        return re2.fullmatch(matcher.safe_regex.regex, value) is not None
    wanted: str = getattr(matcher, kind)
    if matcher.ignore_case:
        wanted, value = wanted.lower(), value.lower()
    return {
        "exact": value == wanted,
        "prefix": value.startswith(wanted),
        "suffix": value.endswith(wanted),
        "contains": wanted in value,
    }[kind]


def decided(matcher: Matcher, asked: Asked) -> list[Action]:
    """The actions of rules that may decide: one if it is known, more if it depends."""
    found: list[Action] = []
    for one in matcher.matcher_list.matchers:
        fits = fits_predicate(one.predicate, asked)
        if fits is not False:
            found.append(_action(one.on_match))
        if fits:
            return found
    return [*found, _action(matcher.on_no_match)]


def _action(taken: Matcher.OnMatch) -> Action:
    action = Action(name="no rule", action=RBAC.DENY)
    taken.action.typed_config.Unpack(action)
    return action
