"""Rules with the policies that count for them -> `graph.Route`s on the chains of their listeners.

In: one rule, where it is attached, and the policy table. Out: graph routes, one for each match, with settings,
clusters and the action. A rule under a broken policy answers 500.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from xds_server.attach.index import age
from xds_server.attach.listeners import ListenerState
from xds_server.attach.merging import Policy
from xds_server.attach.parents import Attachment
from xds_server.attach.policies import ROUTE_POLICIES, PolicyTable, Scope
from xds_server.attach.rules import Copies, Rule, Share
from xds_server.features.contract import AnyFeature, Idle, Refused
from xds_server.graph import Covering, Destination, Forward, Mirror, Redirect, Respond, Route, Setting
from xds_server.model.object import Object
from xds_server.types import Origin

_DEFAULT_PORTS = {"http": 80, "https": 443}
_MILLION = 1_000_000
SortKey = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Effective:
    """The policies that count for one rule on one listener, with the scopes they were found at.

    `listener` are settings of the listener's clients that shape clusters, too. `closed`: they cannot be kept there.
    `coverings` are all policies at these scopes, also those that do not count.
    `proxy` is what the EnvoyProxy of the Gateway sets.
    """

    policies: tuple[tuple[Policy, Scope], ...]
    features: Mapping[str, AnyFeature]
    listener: tuple[Setting, ...] = ()
    closed: bool = False
    coverings: tuple[Covering, ...] = ()
    proxy: tuple[Setting, ...] = ()

    @property
    def broken(self) -> bool:
        """True if one of them has errors, so that the rule must be closed."""
        return self.closed or any(policy.broken for policy, _ in self.policies) or any(self.refused)

    @property
    def settings(self) -> tuple[Setting, ...]:
        """All settings of the policies and of the listener."""
        fitted = (self._fitted(one) for policy, _ in self.policies for one in policy.settings)
        return (*(one for one in fitted if isinstance(one, Setting)), *self.listener)

    @property
    def idle(self) -> Iterator[tuple[Object, str, str]]:
        """The policies and their settings that do nothing on this Gateway, and why."""
        for policy, _ in self.policies:
            for one in policy.settings:
                if isinstance(found := self._fitted(one), Idle):
                    yield policy.item, one.feature, found.reason

    @property
    def refused(self) -> Iterator[tuple[Object, str, Refused]]:
        """The policies and their settings that cannot be kept on this Gateway, and why."""
        for policy, _ in self.policies:
            for one in policy.settings:
                if isinstance(found := self._fitted(one), Refused):
                    yield policy.item, one.feature, found

    def _fitted(self, setting: Setting) -> Setting | Idle | Refused:
        """A setting as it is on this Gateway, or why it does nothing, or closes, there."""
        wide = next((one.value for one in self.proxy if one.feature == setting.feature), None)
        value = self.features[setting.feature].within(setting.value, wide)
        if isinstance(value, Idle | Refused):
            return value
        return setting if value is setting.value else replace(setting, value=value)

    @property
    def origins(self) -> tuple[Origin, ...]:
        """The documents of the policies."""
        return tuple(origin for policy, _ in self.policies for origin in policy.item.origins)


def scopes_of(route: Object, rule: str | None, attachment: Attachment) -> tuple[Scope, ...]:
    """Where a policy for a rule of this name may be attached, nearest first."""
    section = ((route.key, rule),) if rule else ()
    return (*section, (route.key, ""), *attachment.listener.scopes(attachment.gateway.key))


def effective(
    scopes: Sequence[Scope], attachment: Attachment, table: PolicyTable, features: Mapping[str, AnyFeature]
) -> Effective:
    """The policies that count for a rule on a listener, given its scopes."""
    above = attachment.listener.scopes(attachment.gateway.key)
    found = tuple(item for kind in ROUTE_POLICIES for item in table.counting(kind, scopes, above))
    return Effective(found, features, coverings=table.coverings(ROUTE_POLICIES, scopes, found))


def routes_of(
    route: Object, rule: Rule, attachment: Attachment, hostname: str, policies: Effective
) -> list[tuple[SortKey, Route]]:
    """The graph routes of a rule in one virtual host, each with its place in the order of precedence."""
    # A feature may be there several times: two header filters, or a policy's timeout and the rule's own.
    settings = () if policies.broken else (*policies.settings, *rule.settings)
    parts: tuple[_Part, ...]
    if policies.broken:
        parts = (_Part(Respond(500), ()),)
    elif rule.action is not None:
        parts = (_Part(rule.action, settings),)
    else:
        parts = _forward(
            rule, _Clusters(rule, policies, _cluster_suffix(route, rule, attachment, policies, settings)), settings
        )
    origins = tuple(dict.fromkeys((*rule.origins, *policies.origins)))
    built: list[tuple[SortKey, Route]] = []
    for number, (rank, match) in enumerate(rule.matches):
        name = f"{route.key.kind.lower()}/{route.namespace}/{route.name}/rule/{rule.spec.name or rule.number}/match/{number}"
        for place, part in enumerate(parts):
            order = (*attachment.closeness(hostname), *rank, *age(route), route.key.kind, rule.number, number, place)
            action = part.action
            if isinstance(action, Redirect):
                action = _located(action, attachment.listener, hostname)
            own = name if part.below is None and not place else f"{name}/share/{place}"
            built.append(
                (
                    order,
                    Route(own, replace(match, below=part.below), action, part.settings, origins, policies.coverings),
                )
            )
    return built


@dataclass(frozen=True, slots=True)
class _Part:
    """What happens to a part of a rule's requests: those below a random number of a million, or all that are left."""

    action: Forward | Respond | Redirect
    settings: tuple[Setting, ...]
    below: int | None = None


@dataclass(frozen=True, slots=True)
class _Clusters:
    """How the clusters of a rule are called."""

    rule: Rule
    policies: Effective
    suffix: str

    def destination(self, number: int, share: Share, weight: int, moved: tuple[Setting, ...] = ()) -> Destination:
        """The destination of one share with a weight. `moved` are settings of the rule that come before its own."""
        name = f"unresolved/{number}" if share.backend is None else share.backend.name + self.suffix
        return Destination(name, share.backend, weight, settings=(*moved, *share.filtered.settings))

    def mirrors(self, copies: tuple[Copies, ...]) -> tuple[Mirror, ...]:
        """The clusters that get copies."""
        return tuple(
            Mirror(one.backend.name + self.suffix, one.backend, one.numerator, one.denominator)
            for one in copies
            if one.numerator
        )


def _forward(rule: Rule, clusters: _Clusters, settings: tuple[Setting, ...]) -> tuple[_Part, ...]:
    shares = [(number, share) for number, share in enumerate(rule.backends) if share.weight]
    if not shares:
        return (_Part(Respond(500), ()),)
    if any(_needs_route(share, rule, clusters.policies.features) for _, share in shares):
        return _divided(shares, rule, clusters, settings)
    moved: tuple[Setting, ...] = ()
    if any(share.filtered.settings for _, share in shares):
        # Envoy changes headers of a share first and those of the route then; but the share shall have the last word.
        moved = tuple(item for item in rule.settings if _fits(item, clusters.policies.features))
        settings = tuple(item for item in settings if item not in moved)
    destinations: dict[tuple[str, tuple[Setting, ...]], Destination] = {}
    for number, share in shares:
        one = clusters.destination(number, share, share.weight, moved)
        known = destinations.get((one.cluster, one.settings))
        destinations[one.cluster, one.settings] = replace(one, weight=one.weight + known.weight) if known else one
    return (_Part(Forward(tuple(destinations.values()), clusters.mirrors(rule.mirrors)), settings),)


def _fits(setting: Setting, features: Mapping[str, AnyFeature]) -> bool:
    return features[setting.feature].fits_share(setting.value)


def _needs_route(share: Share, rule: Rule, features: Mapping[str, AnyFeature]) -> bool:
    """True if a share does what Envoy does only for a whole route, or changes what its rule does there."""
    filtered = share.filtered
    if filtered.action is not None or filtered.mirrors:
        return True
    whole = {item.feature for item in rule.settings if not _fits(item, features)}
    return any(not _fits(item, features) or item.feature in whole for item in filtered.settings)


def _divided(
    shares: list[tuple[int, Share]], rule: Rule, clusters: _Clusters, settings: tuple[Setting, ...]
) -> tuple[_Part, ...]:
    """A route for each share, which takes its part of the requests."""
    total, passed = sum(share.weight for _, share in shares), 0
    parts = []
    for number, share in shares:
        passed += share.weight
        below = None if passed == total else round(passed * _MILLION / total)
        filtered = share.filtered
        action: Forward | Respond | Redirect
        if share.backend is None:
            action = Respond(500)
        elif filtered.action is not None:
            action = filtered.action
        else:
            to = replace(clusters.destination(number, share, 1), settings=())
            action = Forward((to,), clusters.mirrors((*rule.mirrors, *filtered.mirrors)))
        parts.append(_Part(action, (*settings, *filtered.settings), below))
    return tuple(parts)


def _cluster_suffix(
    route: Object, rule: Rule, attachment: Attachment, policies: Effective, settings: tuple[Setting, ...]
) -> str:
    """What makes a cluster this route's own when its settings shape it (limits count for the route, not the backend).

    Routes and Gateways derived from cells have backends of their own already.
    """
    shows = attachment.gateway.client is not None and not attachment.gateway.item.derived
    own = f"~{attachment.gateway.key.namespace}/{attachment.gateway.key.name}" if shows else ""
    if route.derived or not any(policies.features[item.feature].touches_cluster(item.value) for item in settings):
        return own
    kind = "" if route.key.kind == "HTTPRoute" else f"{route.key.kind.lower()}/"
    suffix = f"{own}~{kind}{route.namespace}/{route.name}"
    scopes = [scope for _, scope in policies.policies]
    if any(target == route.key and section for target, section in scopes):
        suffix += f"/{rule.spec.name}"
    gateway, listener = attachment.gateway.key, attachment.listener
    if policies.listener or any(scope in listener.scopes(gateway) and scope != (gateway, "") for scope in scopes):
        suffix += f"@{listener.name}"
    return suffix


def _located(redirect: Redirect, listener: ListenerState, hostname: str) -> Redirect:
    """A redirect whose port is explicit, or absent where it is the scheme's own (Gateway API, HTTPRequestRedirectFilter).

    Where only the request knows the host, the port in its `Host` would stay. There is none if the listener's port is
    its scheme's own; on any other the redirect has to name its port.
    """
    own = "https" if listener.spec.protocol == "HTTPS" else "http"
    scheme = redirect.scheme or own
    port = redirect.port or (_DEFAULT_PORTS[scheme] if redirect.scheme else listener.spec.port)
    host = redirect.hostname or ("" if hostname.startswith("*") else hostname)
    if port == _DEFAULT_PORTS[scheme] and (host or listener.spec.port == _DEFAULT_PORTS[own]):
        return replace(redirect, hostname=host or None, port=None)
    return replace(redirect, port=port)
