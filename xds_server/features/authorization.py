"""Authorization: which requests may pass, by who asks and what is asked.

In: `authorization` of a SecurityPolicy. Out: the rules of Envoy's RBAC filter, for each route that the policy covers.
Rules are tried in their order and the first that fits decides; if none does, `defaultAction` does, and that is Deny.
What stands in one rule must all be true. Claims and scopes are those of a token that `jwt` of the same policy has
checked. A refused request is answered with 403 and the body `RBAC: access denied`.

Where a rule looks at paths, a path with a `;` is refused before any rule is tried: servers differ in whether `/admin;x`
is `/admin`, so a rule could be walked around. A Deny rule whose expression fails for a request (a header that is not
there) refuses it, and an Allow rule lets nobody in by one. `shadowMode` (Cellway's own field) refuses nothing: it only
counts, for each rule, in Envoy's counters `rbac.policy.NAMESPACE/POLICY/RULE.shadow_denied`, what would have been refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xds_server.diagnostics import Path
from xds_server.envoy_api.envoy.config.rbac.v3 import rbac_pb2
from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route
from xds_server.envoy_api.envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC, RBACPerRoute
from xds_server.envoy_api.xds.core.v3.extension_pb2 import TypedExtensionConfig
from xds_server.envoy_api.xds.type.matcher.v3.matcher_pb2 import Matcher
from xds_server.features.contract import Context, Feature, Sources, Transport, enable, pack
from xds_server.features.parts.authorization_specs import (
    AuthorizationRuleSpec,
    AuthorizationSpec,
    OperationPathSpec,
    OperationSpec,
    PrincipalSpec,
    TokenSpec,
)
from xds_server.features.parts.expressions import asks_for_names, asks_for_path, cel_matcher, parse_expression
from xds_server.features.parts.locations import Location, resolve_location
from xds_server.features.parts.patterns import check_regex
from xds_server.features.parts.predicates import (
    Predicate,
    all_of,
    any_of,
    claim_is,
    client_in,
    expression_is,
    header_is,
    method_is,
    none_of,
    path_has_parameters,
    path_is,
    path_pattern,
)
from xds_server.features.parts.sources import Network, divide
from xds_server.types import read_network

_SCOPE_CLAIMS = ("scope", "scp")
_PARAMETERS = "path-with-parameters"


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of a provider's token: its path, and the values of which it is, or holds, one."""

    provider: str
    path: tuple[str, ...]
    values: tuple[str, ...]
    listed: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """A checked rule. `path` is (type, value, inverted), `scopes` are (provider, scope) pairs."""

    name: str
    allow: bool
    methods: tuple[str, ...] = ()
    path: tuple[str, str, bool] | None = None
    networks: tuple[Network, ...] = ()
    claims: tuple[Claim, ...] = ()
    scopes: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, tuple[str, ...]], ...] = ()
    cel: str = ""
    locations: tuple[Location, ...] = ()


@dataclass(frozen=True, slots=True)
class Authorization:
    """The rules of a route. `owner` is the policy."""

    owner: str
    rules: tuple[Rule, ...]
    allow: bool
    shadow: bool


class AuthorizationFeature(Feature[AuthorizationSpec, Authorization]):
    """`authorization` of a SecurityPolicy."""

    name = "authorization"
    carriers = (("SecurityPolicy", "authorization"),)
    filter_name = "envoy.filters.http.rbac"
    transports = ("http", "tcp")
    guards = True

    def resolve(self, spec: AuthorizationSpec, context: Context) -> Authorization | None:
        """The rules, or None if one of them cannot be kept."""
        names = [rule.name for rule in spec.rules]
        twice = [n for n, name in enumerate(names) if name is not None and name in names[:n]]
        for number in twice:
            reason = f"two rules are named '{names[number]}'"
            context.problem("F130", "rules", number, "name", reason=reason)
        rules = [_rule(rule, number, context) for number, rule in enumerate(spec.rules)]
        found = tuple(rule for rule in rules if rule is not None)
        if len(found) < len(rules) or twice:
            return None
        return Authorization(context.owner, found, spec.default_action == "Allow", spec.shadow_mode)

    def http_filter(self, values: Sequence[Authorization]) -> RBAC:
        """The filter itself refuses nothing; routes do."""
        return RBAC()

    def route(self, value: Authorization, route: Route) -> None:
        """The rules of this route."""
        config = RBAC(matcher=_matcher(value))
        if value.shadow:
            config = RBAC(shadow_matcher=_matcher(value), track_per_rule_stats=True)
        enable(route, self.filter_name, RBACPerRoute(rbac=config))

    def believes_certificates(self, value: Authorization) -> bool:
        """True if an expression asks for names in certificates. A shadow lets nobody in."""
        parsed = (parse_expression(rule.cel) for rule in value.rules if rule.cel and not value.shadow)
        return any(not isinstance(one, str) and asks_for_names(one) for one in parsed)

    def unfit(self, spec: AuthorizationSpec, transport: Transport) -> Sequence[Path]:
        """Of a connection only the client's address is known."""
        if transport != "tcp":
            return super().unfit(spec, transport)
        found: list[Path] = [("shadowMode",)] if spec.shadow_mode else []
        for number, rule in enumerate(spec.rules):
            principal = rule.principal or PrincipalSpec()
            found += [("rules", number, "operation")] if rule.operation else []
            found += [("rules", number, "cel")] if rule.cel else []
            found += [("rules", number, "principal", "jwt")] if principal.jwt else []
            found += [("rules", number, "principal", "headers")] if principal.headers else []
            places = principal.client_ip_geo_locations
            found += [("rules", number, "principal", "clientIPGeoLocations")] if places else []
        return found

    def keeps(self, value: Authorization, transport: Transport) -> bool:
        """Rules by address can be kept for connections too."""
        by_address = all(rule == Rule(rule.name, rule.allow, networks=rule.networks) for rule in value.rules)
        return transport == "http" or (transport == "tcp" and (by_address or value.shadow))

    def sources(self, value: Authorization) -> Sources | None:
        """Addresses that may connect. A shadow refuses nobody."""
        if value.shadow:
            return None
        return divide([(rule.allow, rule.networks) for rule in value.rules], others=value.allow)


def _rule(spec: AuthorizationRuleSpec, number: int, context: Context) -> Rule | None:
    path = ("rules", number)
    principal, operation = spec.principal or PrincipalSpec(), spec.operation or OperationSpec()
    parsed = parse_expression(spec.cel) if spec.cel is not None else ""
    if isinstance(parsed, str) and parsed:
        context.problem("F130", *path, "cel", reason=f"the expression cannot be used: {parsed}")
        return None
    locations = _locations(principal, context, *path, "principal", "clientIPGeoLocations")
    if locations is None:
        return None
    networks = _networks(principal, context, *path, "principal", "clientCIDRs")
    where = _path(operation.path, context, *path, "operation", "path") if operation.path else None
    token = principal.jwt
    if token is not None and not token.claims and not token.scopes:
        context.problem("F130", *path, "principal", "jwt", reason="jwt needs claims or scopes")
        return None
    if networks is None or (operation.path and where is None):
        return None
    claims, scopes = _claims(token) if token else ((), ())
    rule = Rule(
        spec.name or str(number),
        spec.action == "Allow",
        operation.methods,
        where,
        networks,
        claims,
        scopes,
        tuple((one.name.lower(), one.values) for one in principal.headers),
        spec.cel or "",
        locations,
    )
    if not _predicates(rule):
        reason = "a rule needs an operation, a principal or cel; for all requests there is defaultAction"
        context.problem("F130", *path, reason=reason)
        return None
    return rule


def _claims(token: TokenSpec) -> tuple[tuple[Claim, ...], tuple[tuple[str, str], ...]]:
    claims = (
        Claim(token.provider, tuple(one.name.split(".")), one.values, one.value_type == "StringArray")
        for one in token.claims
    )
    return tuple(claims), tuple((token.provider, scope) for scope in token.scopes)


def _networks(spec: PrincipalSpec, context: Context, *path: str | int) -> tuple[Network, ...] | None:
    """The address ranges of a principal; None if one is none."""
    found: list[Network] = []
    for number, text in enumerate(spec.client_cidrs):
        try:
            network = read_network(text)
        except ValueError as error:
            context.problem("F130", *path, number, reason=f"this is no address range such as 192.0.2.0/24: {error}")
            return None
        found.append((str(network.network_address), network.prefixlen))
    return tuple(found)


def _locations(spec: PrincipalSpec, context: Context, *path: str | int) -> tuple[Location, ...] | None:
    """The locations of a principal; None if one cannot be told."""
    found = []
    for number, one in enumerate(spec.client_ip_geo_locations):
        location = resolve_location(one, context, *path, number)
        if location is None:
            return None
        found.append(location)
    return tuple(found)


def _is_there(location: Location) -> Predicate:
    facts = ((fact, header_is(fact.header, (fact.value,))) for fact in location)
    return all_of(fits if fact.wanted else none_of(fits) for fact, fits in facts)


def _path(spec: OperationPathSpec, context: Context, *path: str | int) -> tuple[str, str, bool] | None:
    if spec.type != "RegularExpression":
        if not spec.value.startswith("/") or "?" in spec.value or ";" in spec.value:
            context.problem("F130", *path, "value", reason="a path starts with '/' and holds neither '?' nor ';'")
            return None
    elif not check_regex(context, spec.value, *path, "value") or not check_regex(
        context, path_pattern(spec.value), *path, "value"
    ):
        return None
    return spec.type, spec.value, spec.invert


def _predicates(rule: Rule) -> list[Predicate]:
    """All that must be true of a request."""
    found = [method_is(rule.methods)] if rule.methods else []
    if rule.path is not None:
        kind, value, invert = rule.path
        fits = path_is(kind, value)
        found.append(none_of(fits) if invert else fits)
    if rule.networks:
        found.append(client_in(rule.networks))
    if rule.locations:
        found.append(any_of(_is_there(one) for one in rule.locations))
    found += [header_is(name, values) for name, values in rule.headers]
    found += [claim_is(one.provider, one.path, one.values, listed=one.listed) for one in rule.claims]
    for provider, scope in rule.scopes:
        either = [claim_is(provider, (claim,), (scope,), listed=True) for claim in _SCOPE_CLAIMS]
        found.append(Predicate(or_matcher=Predicate.PredicateList(predicate=either)))
    parsed = parse_expression(rule.cel) if rule.cel else ""
    if not isinstance(parsed, str):
        fits = expression_is(cel_matcher(parsed, unless_false=not rule.allow))
        found.append(fits if rule.allow else none_of(fits))
    return found


def _asks_for_path(rule: Rule) -> bool:
    parsed = parse_expression(rule.cel) if rule.cel else ""
    return rule.path is not None or (not isinstance(parsed, str) and asks_for_path(parsed))


def _matcher(value: Authorization) -> Matcher:
    matcher = Matcher()
    if any(_asks_for_path(rule) for rule in value.rules):
        _add(matcher, f"{value.owner}/{_PARAMETERS}", path_has_parameters(), allow=False)
    for rule in value.rules:
        _add(matcher, f"{value.owner}/{rule.name}", all_of(_predicates(rule)), allow=rule.allow)
    matcher.on_no_match.action.CopyFrom(_action(f"{value.owner}/default", allow=value.allow))
    return matcher


def _add(matcher: Matcher, name: str, predicate: Predicate, *, allow: bool) -> None:
    one = matcher.matcher_list.matchers.add(predicate=predicate)
    one.on_match.action.CopyFrom(_action(name, allow=allow))


def _action(name: str, *, allow: bool) -> TypedExtensionConfig:
    action = rbac_pb2.Action(name=name, action=rbac_pb2.RBAC.ALLOW if allow else rbac_pb2.RBAC.DENY)
    return TypedExtensionConfig(name="action", typed_config=pack(action))


AUTHORIZATION = AuthorizationFeature()
