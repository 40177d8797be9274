"""One rule of an HTTPRoute or a GRPCRoute -> its action, its own settings and its matches.

In: a rule as written. Out: a `Rule` with every backend resolved, and the reasons that Gateway API wants in the
route's conditions. A rule with a filter that cannot be used answers 500; so does the share of a bad backendRef, or of
one with such a filter. A mirror that leads nowhere is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from xds_server.attach.backends import Unresolved, resolve_backend
from xds_server.attach.index import Index
from xds_server.attach.joined import apart, is_fallback, with_fallback
from xds_server.attach.matches import Rank, read_matches, with_cookies
from xds_server.attach.settings import settings_of
from xds_server.diagnostics import Diagnostic, Path
from xds_server.features.contract import AnyFeature
from xds_server.features.dynamic_resolver import DYNAMIC_RESOLVER, DynamicResolver
from xds_server.features.grpc_web import GRPC_WEB, GrpcWeb
from xds_server.graph import Backend, Match, Redirect, Respond, Setting
from xds_server.model.cookies import FilterMatch
from xds_server.model.gateway_api import HttpRouteRule, HttpRouteSpec
from xds_server.model.grpc_route import GrpcRouteRule, GrpcRouteSpec
from xds_server.model.object import Object
from xds_server.model.policies import HttpRouteFilterSpec
from xds_server.model.route_filters import BackendRef, RequestMirror, RequestRedirect, RouteFilter
from xds_server.types import ENVOY_GATEWAY_GROUP, Origin

_BACKEND_FIELDS = (
    ("backend_refs", "backendRefs"),
    ("timeouts", "timeouts"),
    ("retry", "retry"),
    ("session_persistence", "sessionPersistence"),
)
_DENOMINATORS = (100, 10_000, 1_000_000)
_MOST_MATCHES = 256
"""Matches of one rule, with every way of its cookies."""


@dataclass(frozen=True, slots=True)
class Copies:
    """Where copies of requests go, and which part of them."""

    backend: Backend
    numerator: int = 100
    denominator: int = 100


@dataclass(slots=True)
class Filtered:
    """What a list of filters means. `dropped` says why it cannot be used, empty if it can."""

    action: Redirect | Respond | None = None
    settings: tuple[Setting, ...] = ()
    mirrors: tuple[Copies, ...] = ()
    dropped: str = ""
    origins: tuple[Origin, ...] = ()
    matches: tuple[tuple[FilterMatch, ...], ...] = ()
    """Of each group of cookies a request needs one."""
    renames: bool = False
    """Whether one of them rewrites the host."""


@dataclass(frozen=True, slots=True)
class Share:
    """One backendRef. `backend` None: it leads nowhere, or a filter of it cannot be used."""

    backend: Backend | None
    weight: int
    filtered: Filtered = field(default_factory=Filtered)


@dataclass(slots=True)
class Rule:
    """What one rule means, without the policies that will be put on it.

    `action` is a redirect or an answer of the gateway, or None to forward to `backends`.
    """

    spec: HttpRouteRule | GrpcRouteRule
    number: int
    matches: tuple[tuple[Rank, Match], ...] = ()
    action: Redirect | Respond | None = None
    backends: tuple[Share, ...] = ()
    mirrors: tuple[Copies, ...] = ()
    settings: tuple[Setting, ...] = ()
    unresolved: tuple[Unresolved, ...] = ()
    idle: tuple[str, ...] = ()
    """Backends that nobody stands behind."""
    dropped: str = ""
    origins: tuple[Origin, ...] = ()
    problems: list[Diagnostic] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Reader:
    """One rule while it is read."""

    route: Object
    features: Sequence[AnyFeature]
    index: Index
    rule: Rule

    def report(self, code: str, path: Path, hint: str = "", **words: object) -> None:
        self.rule.problems.append(self.route.diagnose(code, *path, hint=hint, **words))


def read_rules(route: Object, features: Sequence[AnyFeature], index: Index) -> tuple[Rule, ...]:
    """All rules of a route."""
    assert isinstance(route.spec, HttpRouteSpec | GrpcRouteSpec)
    written: tuple[HttpRouteRule | GrpcRouteRule, ...] = route.spec.rules
    return tuple(_read_rule(_Reader(route, features, index, Rule(spec, number))) for number, spec in enumerate(written))


def _read_rule(reader: _Reader) -> Rule:
    rule, route = reader.rule, reader.route
    path: Path = ("rules", rule.number)
    rule.matches = read_matches(rule.spec)
    rule.backends = tuple(
        _read_backend(reader, ref, (*path, "backendRefs", place)) for place, ref in enumerate(rule.spec.backend_refs)
    )
    rule.backends = _with_fallbacks(reader, rule.backends, (*path, "backendRefs"))
    filtered = _read_filters(reader, rule.spec.filters, (*path, "filters"))
    for groups in filtered.matches:
        if len(rule.matches) * len(groups) > _MOST_MATCHES:
            reason = f"cookies and matches together make more than {_MOST_MATCHES} matches of one rule"
            reader.report("A114", (*path, "filters"), reason=reason)
            filtered.dropped = filtered.dropped or reason
            break
        rule.matches = with_cookies(rule.matches, [group.cookies for group in groups])
    settings, problems, failed = settings_of(route, "HTTPRoute.rule", rule.spec, path, reader.features, reader.index)
    rule.problems += problems
    web = (Setting(GRPC_WEB.name, GrpcWeb(), route.origins),) if isinstance(rule.spec, GrpcRouteRule) else ()
    rule.settings = (*web, *filtered.settings, *settings)
    rule.action, rule.mirrors = filtered.action, filtered.mirrors
    rule.origins = (
        *route.origins,
        *filtered.origins,
        *(one for share in rule.backends for one in share.filtered.origins),
    )
    rule.dropped = filtered.dropped or (problems[0].message if failed else "") or _look_up(reader, filtered, path)
    if rule.dropped:
        rule.action, rule.settings = Respond(500), ()
    elif rule.action is not None:
        _report_idle(reader, "redirect" if isinstance(rule.action, Redirect) else "direct response")
    return rule


def _look_up(reader: _Reader, filtered: Filtered, path: Path) -> str:
    """Let requests be looked up by the host that they name, if that is where they go; or why that cannot be."""
    rule = reader.rule
    for place, share in enumerate(rule.backends):
        if share.backend is None or share.backend.lookups is None:
            continue
        reason = "a DynamicResolver must be the only backend of its rule" if len(rule.backends) > 1 else ""
        if filtered.renames or share.filtered.renames:
            reason = (
                "the host of a request cannot be rewritten on its way to a DynamicResolver, which looks it up before"
            )
        if reason:
            reader.report("A112", (*path, "backendRefs", place), reason=reason)
            rule.unresolved += (Unresolved("InvalidBackendRef", reason),)
            return reason
        value = DynamicResolver(share.backend.lookups)
        rule.settings += (Setting(DYNAMIC_RESOLVER.name, value, share.backend.origins),)
    return ""


def _report_idle(reader: _Reader, action: str) -> None:
    """Warn of what concerns backends where no request goes to one."""
    rule = reader.rule
    path: Path = ("rules", rule.number)
    for place, written in enumerate(rule.spec.filters):
        for attribute, name in (("request_mirror", "requestMirror"), ("url_rewrite", "urlRewrite")):
            if getattr(written, attribute, None) is not None:
                reader.report("A118", (*path, "filters", place, name), action=action)
    for attribute, name in _BACKEND_FIELDS:
        if getattr(rule.spec, attribute, None):
            reader.report("A118", (*path, name), action=action)


def _read_backend(reader: _Reader, ref: BackendRef, path: Path) -> Share:
    backend = resolve_backend(ref, reader.route.key, reader.index)
    if isinstance(backend, Unresolved):
        reader.report("A112", (*path, *backend.path), backend.hint, reason=backend.message)
        reader.rule.unresolved += (backend,)
        return Share(None, ref.weight)
    if not backend.endpoints and backend.lookups is None:
        reader.report("A113", path, name=backend.name)
        reader.rule.idle += (backend.name,)
    filtered = _read_filters(reader, getattr(ref, "filters", ()), (*path, "filters"))
    if filtered.matches:
        filtered.dropped = "matches of an HTTPRouteFilter are for a whole rule, not for one of its backends"
        reader.report("A114", (*path, "filters"), reason=filtered.dropped)
    if filtered.dropped:
        reader.rule.unresolved += (Unresolved("InvalidBackendFilters", filtered.dropped),)
        return Share(None, ref.weight)
    return Share(_spoken_to(backend, reader.route), ref.weight, filtered)


def _with_fallbacks(reader: _Reader, shares: tuple[Share, ...], path: Path) -> tuple[Share, ...]:
    """The shares, where backends and those that stand in for them are one; a fallback has no share of its own."""
    waiting = [place for place, one in enumerate(shares) if one.weight and one.backend and is_fallback(one.backend)]
    first = next((place for place, one in enumerate(shares) if one.weight and place not in waiting), None)
    if not waiting or first is None:
        return shares
    found = list(shares)
    together: list[tuple[Backend, int]] = []
    for place, share in enumerate(shares):
        if not share.weight or share.backend is None:
            continue
        chief = next((one for one in shares if one.weight and one.backend and not is_fallback(one.backend)), share)
        assert chief.backend is not None
        reason = apart(chief.backend, share.backend) or (
            "their filters differ" if share.filtered != chief.filtered else ""
        )
        if reason:
            reason = f"a fallback and what it stands in for must be alike: {reason}"
            reader.report("A112", (*path, place), reason=reason)
            reader.rule.unresolved += (Unresolved("UnsupportedValue", reason),)
            found[place] = replace(share, backend=None, weight=0 if place in waiting else share.weight)
            continue
        together.append((share.backend, share.weight))
        found[place] = replace(share, weight=0)
    resolved = [place for place, one in enumerate(shares) if one.weight and one.backend and place not in waiting]
    kept = [place for place in resolved if found[place].backend is not None]
    if kept:
        weight = sum(shares[place].weight for place in kept)
        found[kept[0]] = replace(shares[kept[0]], backend=with_fallback(together), weight=weight)
    return tuple(found)


def _spoken_to(backend: Backend, route: Object) -> Backend:
    """The backend as a route speaks to it: gRPC is HTTP/2, whatever its Service says."""
    if route.key.kind != "GRPCRoute" or backend.protocol == "h2c":
        return backend
    return replace(backend, name=f"{backend.name}/grpc", protocol="h2c")


def _read_filters(reader: _Reader, filters: Sequence[RouteFilter], path: Path) -> Filtered:
    """What the filters at a path mean."""
    found = Filtered()
    for place, written in enumerate(filters):
        redirect: RequestRedirect | None = getattr(written, "request_redirect", None)
        found.renames = found.renames or getattr(getattr(written, "url_rewrite", None), "hostname", None) is not None
        if redirect is not None:
            found.action = _redirect(redirect)
        elif written.request_mirror is not None:
            found.mirrors += _mirror(reader, written.request_mirror, (*path, place, "requestMirror"))
        elif written.extension_ref is not None:
            _read_extension(reader, written, (*path, place, "extensionRef"), found)
        else:
            settings, problems, failed = settings_of(
                reader.route, "HTTPRoute.filter", written, (*path, place), reader.features, reader.index
            )
            found.settings += settings
            reader.rule.problems += problems
            if failed:
                found.dropped = problems[0].message
    return found


def _mirror(reader: _Reader, written: RequestMirror, path: Path) -> tuple[Copies, ...]:
    backend = resolve_backend(written.backend_ref, reader.route.key, reader.index)
    if isinstance(backend, Unresolved):
        reader.report("A115", (*path, "backendRef", *backend.path), backend.hint, reason=backend.message)
        reader.rule.unresolved += (backend,)
        return ()
    if backend.lookups is not None:
        reader.report("A115", (*path, "backendRef"), reason="copies cannot go to a DynamicResolver")
        return ()
    backend = _spoken_to(backend, reader.route)
    if written.fraction is None:
        return (Copies(backend, 100 if written.percent is None else written.percent),)
    numerator, denominator = written.fraction.numerator, written.fraction.denominator
    if denominator not in _DENOMINATORS:
        numerator, denominator = round(numerator * 1_000_000 / denominator), 1_000_000
    return (Copies(backend, numerator, denominator),)


def _read_extension(reader: _Reader, written: RouteFilter, path: Path, found: Filtered) -> None:
    ref, route = written.extension_ref, reader.route
    assert ref is not None
    item = reader.index.get(ref.group, ref.kind, route.namespace, ref.name)
    if (ref.group, ref.kind) != (ENVOY_GATEWAY_GROUP, "HTTPRouteFilter") or route.key.kind != "HTTPRoute":
        found.dropped = f"a {route.key.kind} has no filters of kind {ref.kind} in '{ref.group}'"
    elif item is None or (item.derived and not route.derived):  # those of cells may hold credentials of their gateways
        found.dropped = f"there is no {ref.kind} {route.namespace}/{ref.name} that can be a filter"
    if found.dropped or item is None:
        reader.report("A114", path, reason=found.dropped)
        return
    assert isinstance(item.spec, HttpRouteFilterSpec)
    found.renames = found.renames or bool(item.spec.url_rewrite and item.spec.url_rewrite.hostname)
    settings, problems, failed = settings_of(item, "HTTPRouteFilter", item.spec, (), reader.features, reader.index)
    by_name = {feature.name: feature for feature in reader.features}
    for setting in settings:
        found.action = by_name[setting.feature].action(setting.value) or found.action
    found.settings += settings
    reader.rule.problems += problems
    found.origins += item.origins
    found.matches += (item.spec.matches,) if item.spec.matches else ()
    if failed:
        found.dropped = problems[0].message


def _redirect(spec: RequestRedirect) -> Redirect:
    return Redirect(
        status=spec.status_code,
        scheme=spec.scheme,
        hostname=spec.hostname,
        port=spec.port,
        path=spec.path.replace_full_path if spec.path else None,
        prefix=spec.path.replace_prefix_match if spec.path else None,
    )
