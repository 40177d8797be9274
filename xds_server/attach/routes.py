"""Rules with the policies that count for them -> `graph.Route`s on the chains of their listeners.

In: one rule, where it is attached, and the policy table. Out: graph routes, one for each match, with settings,
clusters and the action. A rule under a broken policy answers 500.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from xds_server.attach.gateways import ListenerState
from xds_server.attach.index import age
from xds_server.attach.parents import Attachment
from xds_server.attach.policies import ROUTE_POLICIES, Policy, PolicyTable, Scope
from xds_server.attach.rules import Rule
from xds_server.features.contract import AnyFeature
from xds_server.graph import Destination, Forward, PathType, Redirect, Respond, Route, Setting
from xds_server.model.object import Object
from xds_server.types import Origin

_DEFAULT_PORTS = {"http": 80, "https": 443}
_PATH_RANK = {PathType.EXACT: 0, PathType.REGEX: 1, PathType.PREFIX: 2}
SortKey = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Effective:
    """The policies that count for one rule on one listener, with the scopes they were found at."""

    policies: tuple[tuple[Policy, Scope], ...]
    features: Mapping[str, AnyFeature]

    @property
    def broken(self) -> bool:
        """True if one of them has errors, so that the rule must be closed."""
        return any(policy.broken for policy, _ in self.policies)

    @property
    def settings(self) -> tuple[Setting, ...]:
        """All settings of the policies."""
        return tuple(setting for policy, _ in self.policies for setting in policy.settings)

    @property
    def origins(self) -> tuple[Origin, ...]:
        """The documents of the policies."""
        return tuple(origin for policy, _ in self.policies for origin in policy.item.origins)


def scopes_of(route: Object, rule: Rule, attachment: Attachment) -> tuple[Scope, ...]:
    """Where a policy for this rule may be attached, nearest first."""
    section = ((route.key, rule.spec.name),) if rule.spec.name else ()
    gateway = attachment.gateway.key
    return (*section, (route.key, ""), (gateway, attachment.listener.spec.name), (gateway, ""))


def effective(
    route: Object, rule: Rule, attachment: Attachment, table: PolicyTable, features: Mapping[str, AnyFeature]
) -> Effective:
    """The policies that count for a rule on a listener."""
    scopes = scopes_of(route, rule, attachment)
    found = (table.nearest(kind, scopes) for kind in ROUTE_POLICIES)
    return Effective(tuple(item for item in found if item is not None), features)


def routes_of(
    route: Object, rule: Rule, attachment: Attachment, hostname: str, policies: Effective
) -> list[tuple[SortKey, Route]]:
    """The graph routes of a rule in one virtual host, each with its place in the order of precedence."""
    # A feature may be there several times: two header filters, or a policy's timeout and the rule's own.
    settings = () if policies.broken else (*policies.settings, *rule.settings)
    action: Forward | Respond | Redirect
    if policies.broken:
        action = Respond(500)
    elif isinstance(rule.action, Redirect):
        action = _located(rule.action, attachment.listener, hostname)
    elif rule.action is not None:
        action = rule.action
    else:
        action = _forward(route, rule, attachment, policies, settings)
    origins = tuple(dict.fromkeys((*rule.origins, *policies.origins)))
    built: list[tuple[SortKey, Route]] = []
    for number, match in enumerate(rule.matches):
        name = f"httproute/{route.namespace}/{route.name}/rule/{rule.spec.name or rule.number}/match/{number}"
        order = (
            _PATH_RANK[match.path_type],
            -len(match.path) if match.path != "/" else 0,
            0 if match.method else 1,
            -len(match.headers),
            -len(match.query),
            *age(route),
            rule.number,
            number,
        )
        built.append((order, Route(name, match, action, settings, origins)))
    return built


def _forward(
    route: Object, rule: Rule, attachment: Attachment, policies: Effective, settings: tuple[Setting, ...]
) -> Forward | Respond:
    if not any(weight for _, weight in rule.backends):
        return Respond(500)
    suffix = _cluster_suffix(route, rule, attachment, policies, settings)
    destinations: dict[str, Destination] = {}
    for number, (backend, weight) in enumerate(rule.backends):
        if not weight:
            continue
        name = f"unresolved/{number}" if backend is None else backend.name + suffix
        known = destinations.get(name)
        total = weight + (known.weight if known else 0)
        destinations[name] = Destination(name, backend, total)
    return Forward(tuple(destinations.values()))


def _cluster_suffix(
    route: Object, rule: Rule, attachment: Attachment, policies: Effective, settings: tuple[Setting, ...]
) -> str:
    """What makes a cluster this route's own when its settings shape it (limits count for the route, not the backend).

    Routes derived from cells have backends of their own already.
    """
    if route.derived or not any(policies.features[item.feature].touches_cluster(item.value) for item in settings):
        return ""
    suffix = f"~{route.namespace}/{route.name}"
    scopes = [scope for _, scope in policies.policies]
    if any(target == route.key and section for target, section in scopes):
        suffix += f"/{rule.spec.name}"
    if any(target == attachment.gateway.key and section for target, section in scopes):
        suffix += f"@{attachment.listener.spec.name}"
    return suffix


def _located(redirect: Redirect, listener: ListenerState, hostname: str) -> Redirect:
    """A redirect whose port is explicit, or absent where it is the scheme's own (Gateway API, HTTPRequestRedirectFilter)."""
    scheme = redirect.scheme or ("https" if listener.spec.protocol == "HTTPS" else "http")
    port = redirect.port or (_DEFAULT_PORTS[scheme] if redirect.scheme else listener.spec.port)
    host = redirect.hostname or ("" if hostname.startswith("*") else hostname)
    if port == _DEFAULT_PORTS[scheme] and host:
        return replace(redirect, hostname=host, port=None)
    return replace(redirect, port=port)
