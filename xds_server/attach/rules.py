"""One rule of an HTTPRoute -> its action, its own settings and its matches.

In: a rule as written. Out: a `Rule` with every backend resolved, and the reasons that Gateway API wants in the
route's conditions. A rule with a filter that cannot be used answers 500; so does the share of a bad backendRef.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from xds_server.attach.backends import Unresolved, resolve_backend
from xds_server.attach.index import Index
from xds_server.attach.policies import settings_of
from xds_server.diagnostics import Diagnostic
from xds_server.features.contract import AnyFeature
from xds_server.graph import Backend, Match, PathType, Redirect, Respond, Setting, ValueMatch
from xds_server.model.gateway_api import HttpRouteMatch, HttpRouteRule, HttpRouteSpec, RequestRedirect
from xds_server.model.object import Object
from xds_server.model.policies import HttpRouteFilterSpec
from xds_server.types import ENVOY_GATEWAY_GROUP, Origin


@dataclass(slots=True)
class Rule:
    """What one rule means, without the policies that will be put on it.

    `action` is a redirect or an answer of the gateway, or None to forward to `backends` (backend or None, weight).
    """

    spec: HttpRouteRule
    number: int
    matches: tuple[Match, ...] = ()
    action: Redirect | Respond | None = None
    backends: tuple[tuple[Backend | None, int], ...] = ()
    settings: tuple[Setting, ...] = ()
    unresolved: tuple[Unresolved, ...] = ()
    dropped: str = ""
    origins: tuple[Origin, ...] = ()
    problems: list[Diagnostic] = field(default_factory=list)


def read_rules(route: Object, features: Sequence[AnyFeature], index: Index) -> tuple[Rule, ...]:
    """All rules of a route."""
    assert isinstance(route.spec, HttpRouteSpec)
    return tuple(_read_rule(route, spec, number, features, index) for number, spec in enumerate(route.spec.rules))


def _read_rule(route: Object, spec: HttpRouteRule, number: int, features: Sequence[AnyFeature], index: Index) -> Rule:
    rule = Rule(spec, number)
    rule.matches = tuple(_match(match) for match in spec.matches)
    rule.origins = route.origins
    _read_backends(rule, route, index)
    _read_filters(rule, route, features, index)
    settings, problems, failed = settings_of(route, "HTTPRoute.rule", spec, ("rules", number), features, index)
    rule.settings += settings
    rule.problems += problems
    if failed:
        rule.dropped = rule.dropped or problems[0].message
    if rule.dropped:
        rule.action, rule.settings = Respond(500), ()
    return rule


def _match(match: HttpRouteMatch) -> Match:
    return Match(
        PathType(match.path.type),
        match.path.value,
        match.method or "",
        tuple(_values((item.name.lower(), item.value, item.type) for item in match.headers)),
        tuple(_values((item.name, item.value, item.type) for item in match.query_params)),
    )


def _values(written: Iterable[tuple[str, str, str]]) -> list[ValueMatch]:
    """Of two conditions on one name, the first counts (Gateway API)."""
    found: dict[str, ValueMatch] = {}
    for name, value, type_ in written:
        found.setdefault(name, ValueMatch(name, value, type_ == "RegularExpression"))
    return list(found.values())


def _read_backends(rule: Rule, route: Object, index: Index) -> None:
    found: list[tuple[Backend | None, int]] = []
    unresolved = []
    for place, ref in enumerate(rule.spec.backend_refs):
        backend = resolve_backend(ref, route.key, index)
        if isinstance(backend, Unresolved):
            path = ("rules", rule.number, "backendRefs", place, *backend.path)
            rule.problems.append(route.diagnose("A112", *path, hint=backend.hint, reason=backend.message))
            unresolved.append(backend)
            found.append((None, ref.weight))
            continue
        if not backend.endpoints:
            path = ("rules", rule.number, "backendRefs", place)
            rule.problems.append(route.diagnose("A113", *path, name=backend.name))
        found.append((backend, ref.weight))
    rule.backends, rule.unresolved = tuple(found), tuple(unresolved)


def _read_filters(rule: Rule, route: Object, features: Sequence[AnyFeature], index: Index) -> None:
    for place, written in enumerate(rule.spec.filters):
        path = ("rules", rule.number, "filters", place)
        if written.request_redirect is not None:
            rule.action = _redirect(written.request_redirect)
        elif written.extension_ref is not None:
            _read_extension(rule, route, place, features, index)
        else:
            settings, problems, failed = settings_of(route, "HTTPRoute.filter", written, path, features, index)
            rule.settings += settings
            rule.problems += problems
            if failed:
                rule.dropped = problems[0].message


def _read_extension(rule: Rule, route: Object, place: int, features: Sequence[AnyFeature], index: Index) -> None:
    ref = rule.spec.filters[place].extension_ref
    assert ref is not None
    found = index.get(ref.group, ref.kind, route.namespace, ref.name)
    if (ref.group, ref.kind) != (ENVOY_GATEWAY_GROUP, "HTTPRouteFilter") or found is None:
        rule.dropped = f"there is no {ref.kind} {route.namespace}/{ref.name} that can be a filter"
        path = ("rules", rule.number, "filters", place, "extensionRef")
        rule.problems.append(route.diagnose("A114", *path, reason=rule.dropped))
        return
    assert isinstance(found.spec, HttpRouteFilterSpec)
    settings, problems, failed = settings_of(found, "HTTPRouteFilter", found.spec, (), features, index)
    by_name = {feature.name: feature for feature in features}
    for setting in settings:
        rule.action = by_name[setting.feature].action(setting.value) or rule.action
    rule.settings += settings
    rule.problems += problems
    rule.origins += found.origins
    if failed:
        rule.dropped = problems[0].message


def _redirect(spec: RequestRedirect) -> Redirect:
    return Redirect(
        status=spec.status_code,
        scheme=spec.scheme,
        hostname=spec.hostname,
        port=spec.port,
        path=spec.path.replace_full_path if spec.path else None,
        prefix=spec.path.replace_prefix_match if spec.path else None,
    )
