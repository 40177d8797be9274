"""All objects -> the graph of every gateway, and the status of every object: the room's one entrance.

In: lowered objects, the features, and options. Out: `Attached`. The result is the same whatever order the objects
came in, and an object with an error changes nothing for unrelated ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from xds_server.attach.backend_tls import tls_policy_statuses
from xds_server.attach.conditions import gateway_statuses, policy_statuses, route_status, simple_statuses
from xds_server.attach.gateways import GatewayState, ListenerState, read_gateways
from xds_server.attach.hostnames import covers, specificity
from xds_server.attach.index import Index, build_index, unique
from xds_server.attach.parents import Attachment, attach_route
from xds_server.attach.policies import Policy, PolicyTable, read_policies
from xds_server.attach.routes import Effective, SortKey, effective, routes_of
from xds_server.attach.rules import Rule, read_rules
from xds_server.attach.shading import Shading
from xds_server.diagnostics import Diagnostic
from xds_server.features.contract import AnyFeature
from xds_server.graph import Gateway, HttpChain, Port, Respond, Route, Setting, VirtualHost
from xds_server.model.object import Object
from xds_server.status import Status
from xds_server.types import GATEWAY_GROUP, Key

GROUP_LABEL = "cellway.dev/group"
"""A label of Gateways: an Envoy whose `node.cluster` is this name serves all Gateways that carry it."""


@dataclass(frozen=True, slots=True)
class Attached:
    """What follows from a set of objects, before anything is translated."""

    gateways: tuple[Gateway, ...]
    statuses: Mapping[Key, Status]
    diagnostics: tuple[Diagnostic, ...]


@dataclass(slots=True)
class _Tables:
    """What is known before routes are attached, and what is collected while they are."""

    index: Index
    features: Sequence[AnyFeature]
    states: Mapping[Key, GatewayState]
    foreign: frozenset[Key]
    policies: PolicyTable
    hosts: dict[tuple[Key, int], dict[str, list[tuple[SortKey, Route]]]] = field(default_factory=dict)
    attached_routes: dict[tuple[Key, int], set[Key]] = field(default_factory=lambda: defaultdict(set))
    shading: Shading = field(default_factory=Shading)
    statuses: dict[Key, Status] = field(default_factory=dict)
    problems: list[Diagnostic] = field(default_factory=list)


def attach_objects(
    objects: Iterable[Object], features: Sequence[AnyFeature], controllers: tuple[str, ...], pool: str | None
) -> Attached:
    """Decide what applies to what."""
    chosen, problems = unique(objects)
    index = build_index(chosen)
    states, more = read_gateways(index, controllers, pool)
    foreign = frozenset(item.key for item in index.of_kind(GATEWAY_GROUP, "Gateway")) - {state.key for state in states}
    table, found = read_policies(index, features, foreign)
    tables = _Tables(index, features, {state.key: state for state in states}, foreign, table)
    tables.problems += [*problems, *more, *found]
    for kind in ("HTTPRoute", "GRPCRoute"):
        for route in index.of_kind(GATEWAY_GROUP, kind):
            _attach_one(route, tables)
    gateways = tuple(_gateway(state, tables) for state in states)
    tables.problems += tables.shading.problems(index)
    tables.statuses |= gateway_statuses(states, tables.attached_routes)
    tables.statuses |= policy_statuses(table, states, tables.attached_routes)
    tables.statuses |= simple_statuses(index, controllers)
    tls_statuses, found = tls_policy_statuses(index, tables.statuses)
    tables.statuses |= tls_statuses
    tables.problems += found
    return Attached(gateways, tables.statuses, tuple(tables.problems))


def _attach_one(route: Object, tables: _Tables) -> None:
    parents, problems = attach_route(route, tables.states, tables.foreign, tables.index)
    rules = read_rules(route, tables.features, tables.index)
    tables.problems += [*problems, *(problem for rule in rules for problem in rule.problems)]
    by_name = {feature.name: feature for feature in tables.features}
    for parent in parents:
        for attachment in parent.attachments:
            tables.attached_routes[attachment.gateway.key, attachment.listener.number].add(route.key)
            for rule in rules:
                policies = effective(route, rule, attachment, tables.policies, by_name)
                _place(route, rule, attachment, policies, tables)
    if parents:
        tables.statuses[route.key] = route_status(route, parents, rules)


def _place(route: Object, rule: Rule, attachment: Attachment, policies: Effective, tables: _Tables) -> None:
    hosts = tables.hosts.setdefault((attachment.gateway.key, attachment.listener.number), {})
    for hostname in attachment.hostnames:
        hosts.setdefault(hostname, []).extend(routes_of(route, rule, attachment, hostname, policies))


def _gateway(state: GatewayState, tables: _Tables) -> Gateway:
    by_port: dict[int, list[ListenerState]] = defaultdict(list)
    for listener in state.listeners:
        if listener.problem is None:
            by_port[listener.spec.port].append(listener)
    ports = tuple(
        _port(state, number, listeners, tables) for number, listeners in sorted(by_port.items()) if not state.problem
    )
    group = state.item.meta.labels.get(GROUP_LABEL)
    return Gateway(state.key, ports, (group,) if group else (), dict(state.item.meta.labels), state.item.origins)


def _port(state: GatewayState, number: int, listeners: list[ListenerState], tables: _Tables) -> Port:
    tls = listeners[0].spec.protocol == "HTTPS"
    name = f"{state.key.namespace}/{state.key.name}/{'https' if tls else 'http'}-{number}"
    if tls:
        chains = tuple(_chain(state, f"{name}/{one.spec.name}", [one], tables) for one in listeners)
    else:
        chains = (_chain(state, name, listeners, tables),)
    return Port(name, state.addresses, number, chains, tls, ttl=state.delivery.listener_ttl)


def _chain(state: GatewayState, name: str, listeners: list[ListenerState], tables: _Tables) -> HttpChain:
    settings, broken = _listener_settings(state, listeners, tables)
    hosts: dict[str, list[tuple[SortKey, Route]]] = {}
    names = [listener.hostname for listener in listeners]
    for listener in listeners:
        # A listener with a hostname of its own owns it even without routes: wider listeners must not answer.
        if len(listeners) > 1:
            hosts.setdefault(listener.hostname, [])
        for hostname, routes in tables.hosts.get((state.key, listener.number), {}).items():
            if _owner(hostname, names) == listener.hostname:
                hosts.setdefault(hostname, []).extend(routes)
    for routes in hosts.values():
        routes.sort(key=lambda item: item[0])
        tables.shading.look(routes)
    tls = listeners[0].spec.protocol == "HTTPS"
    return HttpChain(
        name=name,
        hosts=_virtual_hosts(hosts, broken=broken),
        server_names=tuple(host for host in names if host != "*") if tls else (),
        certificates=tuple(dict.fromkeys(one for listener in listeners for one in listener.certificates)),
        settings=settings,
        on_demand=state.delivery.on_demand,
        origins=state.item.origins,
    )


def _owner(hostname: str, listeners: list[str]) -> str:
    """The most specific of the listeners' hostnames that covers a hostname."""
    return max((host for host in listeners if covers(host, hostname)), key=specificity)


def _virtual_hosts(hosts: Mapping[str, list[tuple[SortKey, Route]]], *, broken: bool) -> tuple[VirtualHost, ...]:
    """One virtual host for all hostnames that have the same routes."""
    names: dict[tuple[Route, ...], list[str]] = {}
    for hostname, routes in sorted(hosts.items()):
        names.setdefault(_ordered(routes, broken=broken), []).append(hostname)
    return tuple(VirtualHost(first, routes, tuple(more)) for routes, (first, *more) in names.items())


def _ordered(routes: list[tuple[SortKey, Route]], *, broken: bool) -> tuple[Route, ...]:
    # They are sorted, and each key is there once, so the result does not depend on insertion.
    ordered = [route for _, route in routes]
    if broken:
        ordered = [Route(one.name, one.match, Respond(500), (), one.origins) for one in ordered]
    return tuple(ordered)


def _listener_settings(
    state: GatewayState, listeners: list[ListenerState], tables: _Tables
) -> tuple[tuple[Setting, ...], bool]:
    """Settings of the ClientTrafficPolicy that counts for these listeners, and whether it is broken.

    Listeners that share a chain share it too: the policy of the first listener by name that has one counts.
    """
    found: list[Policy] = []
    for listener in sorted(listeners, key=lambda one: one.spec.name):
        scopes = ((state.key, listener.spec.name), (state.key, ""))
        if nearest := tables.policies.nearest("ClientTrafficPolicy", scopes):
            policy, _ = nearest
            if policy not in found:
                found.append(policy)
    return (found[0].settings if found else ()), any(policy.broken for policy in found)
