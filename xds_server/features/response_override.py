"""Other answers than the backend's, or than the gateway's own.

In: `responseOverride` of a BackendTrafficPolicy. Out: Envoy's custom_response filter. Of the list the first entry whose
parts all fit the answer counts. The new answer takes the place of the whole old one, with its headers and its body; its
status stays unless `statusCode` says otherwise. The body is literal. The filter is the outermost, so it sees the answers
of guards and limits, too. A redirect is an answer with `location`; Envoy itself follows nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import UInt32Value
from pydantic import Field

from xds_server.envoy_api.envoy.config.core.v3.base_pb2 import HeaderValue as EnvoyHeader
from xds_server.envoy_api.envoy.config.core.v3.base_pb2 import HeaderValueOption
from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route
from xds_server.envoy_api.envoy.extensions.filters.http.custom_response.v3.custom_response_pb2 import CustomResponse
from xds_server.envoy_api.envoy.extensions.http.custom_response.local_response_policy.v3.local_response_policy_pb2 import (
    LocalResponsePolicy,
)
from xds_server.envoy_api.envoy.type.matcher.v3.http_inputs_pb2 import HttpResponseHeaderMatchInput
from xds_server.envoy_api.envoy.type.matcher.v3.status_code_input_pb2 import (
    HttpResponseLocalReplyMatchInput,
    HttpResponseStatusCodeMatchInput,
)
from xds_server.envoy_api.xds.core.v3.extension_pb2 import TypedExtensionConfig
from xds_server.envoy_api.xds.type.matcher.v3.matcher_pb2 import Matcher
from xds_server.envoy_api.xds.type.matcher.v3.regex_pb2 import RegexMatcher
from xds_server.envoy_api.xds.type.matcher.v3.string_pb2 import StringMatcher
from xds_server.features.contract import Context, Feature, enable, pack
from xds_server.features.parts.elsewhere import ElsewhereSpec, location
from xds_server.features.parts.headers import APPEND, OVERWRITE, Headers, Names, Pairs, check_names, option, pairs
from xds_server.features.parts.patterns import StringMatchSpec, check_regex
from xds_server.features.parts.texts import TextSpec, resolve_text
from xds_server.spec import HeaderName, HeaderValue, Spec

_BODY_KEY = "response.body"
Code = Annotated[int, Field(strict=True, ge=100, le=599)]
Predicate = Matcher.MatcherList.Predicate


class CodeRangeSpec(Spec):
    """Statuses from one to another."""

    start: Code
    end: Code


class CodeMatchSpec(Spec):
    """A status, or a range of them."""

    type: Literal["Value", "Range"] = "Value"
    value: Code | None = None
    range: CodeRangeSpec | None = None


class ResponseHeaderMatchSpec(Spec):
    """A header of the answer."""

    name: HeaderName
    value: StringMatchSpec


class ResponseMatchSpec(Spec):
    """One of the statuses, and all of the headers."""

    status_codes: Annotated[tuple[CodeMatchSpec, ...], Field(max_length=50)] = ()
    response_headers: Annotated[tuple[ResponseHeaderMatchSpec, ...], Field(max_length=16)] = ()


class NewHeadersSpec(Spec):
    """Headers of the new answer. `remove` is refused: none of the old ones are left."""

    set: Headers = ()
    add: Headers = ()
    remove: Names = ()


class NewResponseSpec(Spec):
    """The new answer. In a ConfigMap the body has the key `response.body`."""

    status_code: Annotated[int, Field(strict=True, ge=200, le=599)] | None = None
    content_type: HeaderValue | None = None
    body: TextSpec | None = None
    header: NewHeadersSpec = NewHeadersSpec()


class ResponseOverrideSpec(Spec):
    """Which answers, and what takes their place."""

    match: ResponseMatchSpec
    response: NewResponseSpec | None = None
    redirect: ElsewhereSpec | None = None
    source: Literal["All", "Local", "Backend"] = "All"


@dataclass(frozen=True, slots=True)
class Override:
    """`codes` are ranges; `headers` are (name, type, value). A status of 0 is the old one.

    `location` is where clients are sent, with Envoy's operators in it; empty: nowhere.
    """

    codes: tuple[tuple[int, int], ...]
    headers: tuple[tuple[str, str, str], ...]
    source: str
    status: int
    content_type: str
    body: str
    set: Pairs
    add: Pairs
    location: str = ""


class ResponseOverrideFeature(Feature[tuple[ResponseOverrideSpec, ...], tuple[Override, ...]]):
    """`responseOverride` of a BackendTrafficPolicy."""

    name = "response_override"
    carriers = (("BackendTrafficPolicy", "responseOverride"),)
    filter_name = "envoy.filters.http.custom_response"

    def resolve(self, spec: tuple[ResponseOverrideSpec, ...], context: Context) -> tuple[Override, ...] | None:
        """The overrides, or None if one of them cannot be made."""
        found = [_override(one, context, number) for number, one in enumerate(spec)]
        good = tuple(one for one in found if one is not None)
        return good if good and len(good) == len(found) else None

    def http_filter(self, values: Sequence[tuple[Override, ...]]) -> CustomResponse:
        """The filter itself changes nothing; routes do."""
        return CustomResponse()

    def route(self, value: tuple[Override, ...], route: Route) -> None:
        """The overrides of this route."""
        config = CustomResponse()
        for one in value:
            found = config.custom_response_matcher.matcher_list.matchers.add()
            predicates = _predicates(one)
            if len(predicates) == 1:
                found.predicate.CopyFrom(predicates[0])
            else:
                found.predicate.and_matcher.predicate.extend(predicates)
            found.on_match.action.CopyFrom(_extension("override", _policy(one)))
        enable(route, self.filter_name, config)


def _override(spec: ResponseOverrideSpec, context: Context, *path: str | int) -> Override | None:
    if (spec.redirect is None) == (spec.response is None):
        context.problem("F103", *path, reason="it needs either response or redirect")
        return None
    if spec.response is None:
        return _redirect(spec, context, *path)
    body_spec, header = spec.response.body, spec.response.header
    if header.remove:
        reason = "the new answer has no header of the old one, so there is nothing to remove"
        context.problem("F103", *path, "response", "header", "remove", reason=reason)
        return None
    names = {"set": header.set, "add": header.add}
    good = _check_match(spec.match, context, *path, "match")
    for field, each in names.items():
        listed = tuple(one.name for one in each)
        good = check_names(context, field, listed, *path, "response", "header") and good
    body = resolve_text(body_spec, _BODY_KEY, context, *path, "response", "body") if body_spec else ""
    if body is None or not good:
        return None
    return Override(
        codes=tuple(_bounds(one) for one in spec.match.status_codes),
        headers=tuple((one.name.lower(), one.value.type, one.value.value) for one in spec.match.response_headers),
        source=spec.source,
        status=spec.response.status_code or 0,
        content_type=spec.response.content_type or "",
        body=body,
        set=pairs(header.set),
        add=pairs(header.add),
    )


def _redirect(spec: ResponseOverrideSpec, context: Context, *path: str | int) -> Override | None:
    assert spec.redirect is not None
    target = location(spec.redirect, context, *path, "redirect")
    if target is None or not _check_match(spec.match, context, *path, "match"):
        return None
    return Override(
        codes=tuple(_bounds(one) for one in spec.match.status_codes),
        headers=tuple((one.name.lower(), one.value.type, one.value.value) for one in spec.match.response_headers),
        source=spec.source,
        status=spec.redirect.status_code,
        content_type="",
        body="",
        set=(),
        add=(),
        location=target,
    )


def _check_match(spec: ResponseMatchSpec, context: Context, *path: str | int) -> bool:
    """True if answers can be compared so; else why not was reported."""
    if not spec.status_codes and not spec.response_headers:
        context.problem("F103", *path, reason="it needs statusCodes or responseHeaders")
        return False
    for number, one in enumerate(spec.status_codes):
        wanted, other = (one.value, one.range) if one.type == "Value" else (one.range, one.value)
        if wanted is None or other is not None:
            reason = f"type {one.type} needs its own field and no other"
            context.problem("F103", *path, "statusCodes", number, reason=reason)
            return False
        if one.range is not None and one.range.end < one.range.start:
            context.problem("F103", *path, "statusCodes", number, "range", reason="end is before start")
            return False
    return all(
        check_regex(context, one.value.value, *path, "responseHeaders", number, "value", "value")
        for number, one in enumerate(spec.response_headers)
        if one.value.type == "RegularExpression"
    )


def _bounds(spec: CodeMatchSpec) -> tuple[int, int]:
    return (spec.range.start, spec.range.end) if spec.range else (spec.value or 0, spec.value or 0)


def _predicates(value: Override) -> list[Predicate]:
    """What must all be true of an answer."""
    found = []
    if value.codes:
        texts = [text for bounds in value.codes for text in _prefixes(*bounds)]
        status = HttpResponseStatusCodeMatchInput()
        any_of = [_single(status, StringMatcher(prefix=text)) for text in dict.fromkeys(texts)]
        found.append(any_of[0] if len(any_of) == 1 else Predicate(or_matcher=Predicate.PredicateList(predicate=any_of)))
    for name, kind, text in value.headers:
        found.append(_single(HttpResponseHeaderMatchInput(header_name=name), _text(kind, text)))
    if value.source != "All":
        wanted = "true" if value.source == "Local" else "false"
        found.append(_single(HttpResponseLocalReplyMatchInput(), StringMatcher(exact=wanted)))
    return found


def _prefixes(first: int, last: int) -> list[str]:
    """The beginnings that exactly the numbers (of three digits) of a range have: 500 to 511 are 50, 510 and 511."""
    found = []
    while first <= last:
        step = next(one for one in (100, 10, 1) if first % one == 0 and first + one - 1 <= last)
        found.append(str(first // step))
        first += step
    return found


def _text(kind: str, value: str) -> StringMatcher:
    if kind == "RegularExpression":
        return StringMatcher(safe_regex=RegexMatcher(google_re2=RegexMatcher.GoogleRE2(), regex=value))
    if kind == "Prefix":
        return StringMatcher(prefix=value)
    return StringMatcher(suffix=value) if kind == "Suffix" else StringMatcher(exact=value)


def _single(source: Message, matcher: StringMatcher) -> Predicate:
    return Predicate(single_predicate=Predicate.SinglePredicate(input=_extension("of", source), value_match=matcher))


def _extension(name: str, config: Message) -> TypedExtensionConfig:
    return TypedExtensionConfig(name=name, typed_config=pack(config))


def _policy(value: Override) -> LocalResponsePolicy:
    policy = LocalResponsePolicy()
    policy.body.inline_string = value.body
    if value.content_type:
        policy.response_headers_to_add.append(option("content-type", value.content_type, OVERWRITE))
    if value.status:
        policy.status_code.CopyFrom(UInt32Value(value=value.status))
    if value.location:
        header = EnvoyHeader(key="location", value=value.location)
        policy.response_headers_to_add.append(HeaderValueOption(header=header, append_action=OVERWRITE))
    policy.response_headers_to_add.extend(option(name, text, OVERWRITE) for name, text in value.set)
    policy.response_headers_to_add.extend(option(name, text, APPEND) for name, text in value.add)
    return policy


RESPONSE_OVERRIDE = ResponseOverrideFeature()
