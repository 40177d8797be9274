"""What is asked of a request, as predicates of Envoy's matching API.

In: names, values, address ranges. Out: `Predicate`s to combine. Paths are compared without their query. Nothing is
checked here; specs have been checked before.
"""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.message import Message

from xds_server.envoy_api.envoy.config.core.v3.address_pb2 import CidrRange
from xds_server.envoy_api.envoy.extensions.matching.common_inputs.network.v3.network_inputs_pb2 import (
    DynamicMetadataInput,
    SourceIPInput,
)
from xds_server.envoy_api.envoy.extensions.matching.common_inputs.ssl.v3.ssl_inputs_pb2 import UriSanInput
from xds_server.envoy_api.envoy.extensions.matching.input_matchers.ip.v3.ip_pb2 import Ip
from xds_server.envoy_api.envoy.extensions.matching.input_matchers.metadata.v3.metadata_pb2 import Metadata
from xds_server.envoy_api.envoy.type.matcher.v3 import string_pb2, value_pb2
from xds_server.envoy_api.envoy.type.matcher.v3.http_inputs_pb2 import HttpRequestHeaderMatchInput
from xds_server.envoy_api.xds.core.v3.extension_pb2 import TypedExtensionConfig
from xds_server.envoy_api.xds.type.matcher.v3.cel_pb2 import CelMatcher
from xds_server.envoy_api.xds.type.matcher.v3.http_inputs_pb2 import HttpAttributesCelMatchInput
from xds_server.envoy_api.xds.type.matcher.v3.matcher_pb2 import Matcher
from xds_server.envoy_api.xds.type.matcher.v3.regex_pb2 import RegexMatcher
from xds_server.envoy_api.xds.type.matcher.v3.string_pb2 import StringMatcher
from xds_server.features.contract import pack
from xds_server.features.parts.sources import Network
from xds_server.features.parts.values import uint32

Predicate = Matcher.MatcherList.Predicate
_JWT_METADATA = "envoy.filters.http.jwt_authn"


def any_of(predicates: Iterable[Predicate]) -> Predicate:
    """True if one of them is. There must be one at least."""
    found = list(predicates)
    return found[0] if len(found) == 1 else Predicate(or_matcher=Predicate.PredicateList(predicate=found))


def all_of(predicates: Iterable[Predicate]) -> Predicate:
    """True if all of them are. There must be one at least."""
    found = list(predicates)
    return found[0] if len(found) == 1 else Predicate(and_matcher=Predicate.PredicateList(predicate=found))


def none_of(predicate: Predicate) -> Predicate:
    """True if it is not."""
    return Predicate(not_matcher=predicate)


def _single(name: str, source: Message, *, text: StringMatcher | None = None, by: Message | None = None) -> Predicate:
    predicate = Predicate()
    single = predicate.single_predicate
    single.input.CopyFrom(TypedExtensionConfig(name=name, typed_config=pack(source)))
    if text is not None:
        single.value_match.CopyFrom(text)
    if by is not None:
        single.custom_match.CopyFrom(TypedExtensionConfig(name=f"by-{name}", typed_config=pack(by)))
    return predicate


def _header(name: str, text: StringMatcher) -> Predicate:
    return _single("header", HttpRequestHeaderMatchInput(header_name=name.lower()), text=text)


def header_is(name: str, values: Iterable[str]) -> Predicate:
    """A header has one of these values. Of a header that is there twice the values are joined, so it has none of them."""
    return any_of(_header(name, StringMatcher(exact=value)) for value in values)


def header_exists(name: str) -> Predicate:
    """A header is there, whatever its value."""
    return _header(name, StringMatcher(safe_regex=_regex("(?s).*")))


def method_is(methods: Iterable[str]) -> Predicate:
    """The method is one of these."""
    return header_is(":method", methods)


def path_is(kind: str, value: str) -> Predicate:
    """The path fits; `kind` is Exact, PathPrefix (by whole elements) or RegularExpression."""
    if kind == "RegularExpression":
        return _path(StringMatcher(safe_regex=_regex(path_pattern(value))))
    whole = value if kind == "Exact" else value.rstrip("/")
    starts = ["?"] if kind == "Exact" else ["/", "?"]
    found = [_path(StringMatcher(prefix=whole + sign)) for sign in starts]
    return any_of([_path(StringMatcher(exact=whole)), *found] if whole else found)


def path_pattern(pattern: str) -> str:
    """An expression for a path, which may be followed by a query."""
    return rf"(?:{pattern})(?:\?.*)?"


def path_has_parameters() -> Predicate:
    """A `;` stands in the path, or `%3b`: some servers take what follows it for no part of the path."""
    return _path(StringMatcher(safe_regex=_regex(r"[^?]*(?:;|%3[bB]).*")))


def _path(text: StringMatcher) -> Predicate:
    return _header(":path", text)


def _regex(pattern: str) -> RegexMatcher:
    return RegexMatcher(google_re2=RegexMatcher.GoogleRE2(), regex=pattern)


def client_in(networks: Iterable[Network]) -> Predicate:
    """The client's address is in one of these ranges."""
    ranges = [CidrRange(address_prefix=first, prefix_len=uint32(length)) for first, length in networks]
    return _single("client", SourceIPInput(), by=Ip(cidr_ranges=ranges, stat_prefix="authorization"))


def expression_is(matcher: CelMatcher) -> Predicate:
    """An expression fits."""
    return _single("attributes", HttpAttributesCelMatchInput(), by=matcher)


def peer_is(uri: str) -> Predicate:
    """The client's verified certificate is for this URI and no other."""
    return _single("peer", UriSanInput(), text=StringMatcher(exact=uri))


def peer_fits(pattern: str) -> Predicate:
    """The URI of the client's verified certificate fits an expression as a whole."""
    return _single("peer", UriSanInput(), text=StringMatcher(safe_regex=_regex(pattern)))


def claim_is(provider: str, claim: Iterable[str], values: Iterable[str], *, listed: bool) -> Predicate:
    """A claim of a checked token is one of these values; `listed`: it is a list that holds one of them."""
    return any_of(_claim(provider, claim, value, listed=listed) for value in values)


def _claim(provider: str, claim: Iterable[str], value: str, *, listed: bool) -> Predicate:
    path = [DynamicMetadataInput.PathSegment(key=key) for key in (provider, *claim)]
    one = value_pb2.ValueMatcher(string_match=string_pb2.StringMatcher(exact=value))
    wanted = value_pb2.ValueMatcher(list_match=value_pb2.ListMatcher(one_of=one)) if listed else one
    return _single("claim", DynamicMetadataInput(filter=_JWT_METADATA, path=path), by=Metadata(value=wanted))
