"""Peers: which owners of certificates may send which requests.

In: `peers` of an HTTPRouteFilter (Cellway's own field), for listeners that demand certificates of clients. Out: the rules of
an RBAC filter of its own, for each route that has such a filter. What counts is the URI in the certificate that TLS has
verified, the whole of it, and no header. A certificate with two URIs, or none, is nobody's. A peer that no rule names
is answered with 403 and the body `RBAC: access denied`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, StringConstraints

from xds_server.envoy_api.envoy.config.rbac.v3 import rbac_pb2
from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route
from xds_server.envoy_api.envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC, RBACPerRoute
from xds_server.envoy_api.xds.core.v3.extension_pb2 import TypedExtensionConfig
from xds_server.envoy_api.xds.type.matcher.v3.matcher_pb2 import Matcher
from xds_server.features.contract import Context, Feature, enable, pack
from xds_server.features.parts.patterns import check_regex
from xds_server.features.parts.predicates import (
    Predicate,
    all_of,
    any_of,
    header_exists,
    method_is,
    none_of,
    peer_fits,
    peer_is,
)
from xds_server.spec import HeaderName, HttpMethod, Spec, Text

Uri = Annotated[str, StringConstraints(min_length=1, max_length=2048, pattern=r"^[a-z][a-z0-9+.-]*://[^\s,]+$")]


class PeerRuleSpec(Spec):
    """Peers by URI or by an expression for all of it, and the methods that they may use (none: every method).

    A request with one of the headers `withoutHeaders` is not let in by this rule.
    """

    uris: Annotated[tuple[Uri, ...], Field(max_length=1024)] = ()
    pattern: Annotated[Text, Field(min_length=1, max_length=1024)] | None = None
    methods: Annotated[tuple[HttpMethod, ...], Field(max_length=16)] = ()
    without_headers: Annotated[tuple[HeaderName, ...], Field(max_length=16)] = ()


class PeersSpec(Spec):
    """Who is let in. Without rules nobody is."""

    allow: Annotated[tuple[PeerRuleSpec, ...], Field(max_length=1024)] = ()


@dataclass(frozen=True, slots=True)
class PeerRule:
    """Whole URIs, an expression for whole URIs (empty: none), methods (empty: all), headers that may not be there."""

    uris: tuple[str, ...]
    pattern: str = ""
    methods: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Peers:
    """Any of these rules lets a request pass."""

    rules: tuple[PeerRule, ...]


class PeersFeature(Feature[PeersSpec, Peers]):
    """`peers` of an HTTPRouteFilter."""

    name = "peers"
    carriers = (("HTTPRouteFilter", "peers"),)
    filter_name = "cellway.peers"
    guards = True

    def resolve(self, spec: PeersSpec, context: Context) -> Peers | None:
        """The rules, or None if one names nobody or cannot be read."""
        good = True
        for number, rule in enumerate(spec.allow):
            if not rule.uris and rule.pattern is None:
                context.problem("F130", "allow", number, reason="a rule needs 'uris', a 'pattern', or both")
                good = False
            elif rule.pattern is not None:
                good = check_regex(context, rule.pattern, "allow", number, "pattern") and good
        if not good:
            return None
        return Peers(
            tuple(PeerRule(one.uris, one.pattern or "", one.methods, one.without_headers) for one in spec.allow)
        )

    def believes_certificates(self, value: Peers) -> bool:
        """URIs in certificates are all that counts. Without rules nobody passes, whatever they say."""
        return bool(value.rules)

    def http_filter(self, values: Sequence[Peers]) -> RBAC:
        """The filter itself refuses nothing; routes do."""
        return RBAC()

    def route(self, value: Peers, route: Route) -> None:
        """The rules of this route."""
        enable(route, self.filter_name, RBACPerRoute(rbac=RBAC(matcher=_matcher(value))))


def _matcher(value: Peers) -> Matcher:
    matcher = Matcher()
    for number, rule in enumerate(value.rules):
        one = matcher.matcher_list.matchers.add(predicate=_predicate(rule))
        one.on_match.action.CopyFrom(_action(str(number), allow=True))
    matcher.on_no_match.action.CopyFrom(_action("not-granted", allow=False))
    return matcher


def _predicate(rule: PeerRule) -> Predicate:
    names = [peer_is(uri) for uri in rule.uris] + ([peer_fits(rule.pattern)] if rule.pattern else [])
    asked = [any_of(names), *([method_is(rule.methods)] if rule.methods else [])]
    return all_of([*asked, *(none_of(header_exists(name)) for name in rule.without)])


def _action(name: str, *, allow: bool) -> TypedExtensionConfig:
    action = rbac_pb2.Action(name=name, action=rbac_pb2.RBAC.ALLOW if allow else rbac_pb2.RBAC.DENY)
    return TypedExtensionConfig(name="action", typed_config=pack(action))


PEERS = PeersFeature()
