"""All objects -> the graph of every gateway, and the status of every object: the room's one entrance.

In: lowered objects, the features, and options. Out: `Attached`. The result is the same whatever order the objects
came in, and an object with an error changes nothing for unrelated ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from xds_server.attach.backend_tls import tls_policy_statuses
from xds_server.attach.clients import Clients, listeners_by_port, read_clients
from xds_server.attach.conditions import gateway_statuses, policy_statuses, route_status, simple_statuses
from xds_server.attach.exclusive import Attaching, exclusive
from xds_server.attach.gateways import GatewayState, read_gateways
from xds_server.attach.guards import lost_guards
from xds_server.attach.hostnames import owner
from xds_server.attach.idle import idle_settings
from xds_server.attach.index import Index, Outside, build_index, unique
from xds_server.attach.listener_sets import KIND as LISTENER_SET
from xds_server.attach.listeners import ListenerState
from xds_server.attach.names import dns_port
from xds_server.attach.parents import Attachment, Parent, attach_route
from xds_server.attach.policies import PolicyTable, read_policies
from xds_server.attach.protocols import DNS, family_of, transport_of
from xds_server.attach.quic import with_quic
from xds_server.attach.routes import Effective, SortKey, effective, routes_of, scopes_of
from xds_server.attach.rules import Rule, read_rules
from xds_server.attach.shading import Shading
from xds_server.attach.sockets import shared_sockets
from xds_server.attach.strangers import credulous
from xds_server.attach.streams import Known, Streams, attach_streams, stream_chains
from xds_server.diagnostics import Diagnostic
from xds_server.features.contract import AnyFeature
from xds_server.graph import (
    Chain,
    Gateway,
    HttpChain,
    Match,
    Port,
    Respond,
    Route,
    StreamChain,
    VirtualHost,
)
from xds_server.model.object import Object
from xds_server.status import Status
from xds_server.types import GATEWAY_GROUP, Fetched, Key

GROUP_LABEL = "cellway.dev/group"
"""A label of Gateways: an Envoy whose `node.cluster` is this name serves all Gateways that carry it."""

_MISDIRECTED = Route("misdirected", Match(), Respond(421))
"""A request for another TLS listener than the one whose connection it came on (RFC 9110, 15.5.20)."""


@dataclass(frozen=True, slots=True)
class Attached:
    """What follows from a set of objects, before anything is translated."""

    gateways: tuple[Gateway, ...]
    statuses: Mapping[Key, Status]
    diagnostics: tuple[Diagnostic, ...]
    wanted: tuple[str, ...] = ()
    """URLs of documents that features looked for."""


@dataclass(frozen=True, slots=True)
class Given:
    """What is given beside objects: whose Gateways are ours, addresses for those without, documents of the web.

    `one_machine`: the Envoys of all Gateways run there. `log_folders`: where access logs may be written.
    """

    controllers: tuple[str, ...]
    pool: str | None
    fetched: Mapping[str, Fetched]
    databases: Mapping[str, str]
    one_machine: bool = False
    log_folders: tuple[str, ...] = ()


@dataclass(slots=True)
class _Tables:
    """What is known before routes are attached, and what is collected while they are."""

    index: Index
    features: Sequence[AnyFeature]
    states: Mapping[Key, GatewayState]
    foreign: frozenset[Key]
    policies: PolicyTable
    clients: Clients
    hosts: dict[tuple[Key, int], dict[str, list[tuple[SortKey, Route]]]] = field(default_factory=dict)
    attached_routes: dict[tuple[Key, int], set[Key]] = field(default_factory=lambda: defaultdict(set))
    shading: Shading = field(default_factory=Shading)
    streams: Streams = field(default_factory=Streams)
    statuses: dict[Key, Status] = field(default_factory=dict)
    warnings: dict[tuple[Key, Key], Diagnostic] = field(default_factory=dict)
    unproven: dict[Diagnostic, None] = field(default_factory=dict)
    problems: list[Diagnostic] = field(default_factory=list)


def attach_objects(objects: Iterable[Object], features: Sequence[AnyFeature], given: Given) -> Attached:
    """Decide what applies to what."""
    chosen, problems = unique(objects)
    index = build_index(chosen, Outside(given.fetched, given.databases, given.log_folders))
    states, sets, more = read_gateways(index, given.controllers, given.pool, features)
    parents = {state.key: state for state in states}
    foreign = frozenset(item.key for item in index.of_kind(GATEWAY_GROUP, "Gateway")) - {*parents}
    foreign |= frozenset(item.key for item in index.of_kind(GATEWAY_GROUP, LISTENER_SET)) - {
        one.item.key for one in sets
    }
    parents |= {one.item.key: state for state in states for one in state.sets}
    table, found = read_policies(index, features, foreign)
    clients = read_clients(states, table, features)
    table = clients.noted(table)
    tables = _Tables(index, features, parents, foreign, table, clients)
    tables.problems += [*problems, *more, *found, *clients.problems.values()]
    _attach_routes(tables)
    tables.streams = attach_streams(Known(index, features, parents, foreign, table))
    tables.problems += (tables.streams.warnings | tables.warnings).values()
    tables.attached_routes.update(tables.streams.attached)
    tables.statuses |= tables.streams.statuses
    tables.problems += [*tables.streams.problems, *table.merging.problems, *tables.unproven]
    gateways = tuple(_gateway(state, tables) for state in states)
    tables.problems += tables.shading.problems(index)
    tables.problems += shared_sockets(gateways, index) if given.one_machine else ()
    tables.statuses |= gateway_statuses(states, sets, tables.attached_routes)
    tables.statuses |= policy_statuses(table, states, tables.attached_routes)
    tables.statuses |= simple_statuses(index, given.controllers)
    tls_statuses, found = tls_policy_statuses(index, tables.statuses)
    tables.statuses |= tls_statuses
    tables.problems += found
    return Attached(gateways, tables.statuses, tuple(tables.problems), tuple(sorted(index.wanted)))


def _attach_routes(tables: _Tables) -> None:
    attaching: list[Attaching] = []
    for kind in ("HTTPRoute", "GRPCRoute"):
        for route in tables.index.of_kind(GATEWAY_GROUP, kind):
            parents, problems = attach_route(route, tables.states, tables.foreign, tables.index)
            attaching.append((route, parents))
            tables.problems += problems
    kept, problems = exclusive(attaching)
    tables.problems += problems
    for route, parents in kept:
        _attach_one(route, parents, tables)


def _attach_one(route: Object, parents: tuple[Parent, ...], tables: _Tables) -> None:
    rules = read_rules(route, tables.features, tables.index)
    tables.problems += (problem for rule in rules for problem in rule.problems)
    by_name = {feature.name: feature for feature in tables.features}
    for parent in parents:
        for attachment in parent.unserved:
            tables.attached_routes[attachment.gateway.key, attachment.listener.number].add(route.key)
        for attachment in parent.attachments:
            tables.attached_routes[attachment.gateway.key, attachment.listener.number].add(route.key)
            client = tables.clients.of(attachment.gateway.key, attachment.listener)
            shaping = tuple(one for one in client.settings if by_name[one.feature].touches_cluster(one.value))
            for rule in rules:
                scopes = scopes_of(route, rule.spec.name, attachment)
                found = effective(scopes, attachment, tables.policies, by_name)
                policies = replace(found, listener=shaping, proxy=attachment.gateway.proxy)
                tables.unproven.update(dict.fromkeys(idle_settings(policies, attachment.gateway.key)))
                if client.strangers and (believed := credulous(route, rule, policies, attachment.listener)):
                    tables.unproven.update(dict.fromkeys(believed))
                    policies = replace(policies, closed=True)
                _place(route, rule, attachment, policies, tables)
                above = attachment.listener.scopes(attachment.gateway.key)
                lost = lost_guards(scopes, above, tables.policies, tables.features)
                tables.warnings |= [lost] if lost else []
    if parents:
        tables.statuses[route.key] = route_status(route, parents, rules)


def _place(route: Object, rule: Rule, attachment: Attachment, policies: Effective, tables: _Tables) -> None:
    hosts = tables.hosts.setdefault((attachment.gateway.key, attachment.listener.number), {})
    for hostname in attachment.hostnames:
        hosts.setdefault(hostname, []).extend(routes_of(route, rule, attachment, hostname, policies))


def _gateway(state: GatewayState, tables: _Tables) -> Gateway:
    ports = tuple(
        _port(state, listeners, tables)
        for listeners in listeners_by_port(state).values()
        if not state.problem and state.addresses
    )
    ports, problems = with_quic(ports, tables.features)
    tables.problems += problems
    group = state.item.meta.labels.get(GROUP_LABEL)
    above = state.spec.infrastructure
    return Gateway(
        key=state.key,
        ports=ports,
        groups=(group,) if group else (),
        labels=dict(state.item.meta.labels),
        origins=state.item.origins,
        client=state.client,
        settings=state.proxy,
        marks={"labels": dict(above.labels), "annotations": dict(above.annotations)} if above else {},
    )


def _port(state: GatewayState, listeners: list[ListenerState], tables: _Tables) -> Port:
    spec = listeners[0].spec
    protocols = {listener.spec.protocol for listener in listeners}
    name = f"{state.key.namespace}/{state.key.name}/{min(protocols).lower()}-{spec.port}"
    chains: list[Chain] = []
    if protocols == {"HTTP"}:
        chains.append(_chain(state, name, listeners, listeners, tables))
    if protocols == {DNS}:
        port, problem = dns_port(state, listeners[0], tables.hosts)
        tables.problems += [problem] if problem else []
        return port
    names = [listener.hostname for listener in listeners]
    for one in listeners:
        if one.spec.protocol == "HTTPS":
            chains.append(_chain(state, f"{name}/{one.name}", [one], listeners, tables))
        elif one.spec.protocol != "HTTP":
            chains += _stream_chains(state, one, names, name, tables)
    tls, transport = family_of(spec.protocol) == "TLS", transport_of(spec.protocol)
    settings = tables.clients.ports[state.key, (spec.port, transport)]
    return Port(
        name, state.addresses, spec.port, tuple(chains), tls, transport, state.delivery.listener_ttl, settings=settings
    )


def _stream_chains(
    state: GatewayState, listener: ListenerState, names: list[str], port: str, tables: _Tables
) -> tuple[StreamChain, ...]:
    """The chains of a listener without requests, with what counts of its ClientTrafficPolicy. A broken one closes them."""
    client = tables.clients.of(state.key, listener)
    transport = transport_of(listener.spec.protocol)
    fitting = {feature.name for feature in tables.features if transport in feature.transports}
    kept = tuple(one for one in (*client.settings, *state.proxy) if one.feature in fitting)
    chains = stream_chains(state, listener, names, tables.streams, port)
    if client.closed or state.edge:  # what the edge asks for cannot be seen here
        chains = tuple(replace(one, route=replace(one.route, destinations=())) for one in chains)
    return tuple(replace(one, settings=kept) for one in chains)


def _chain(
    state: GatewayState, name: str, listeners: list[ListenerState], beside: list[ListenerState], tables: _Tables
) -> HttpChain:
    """The chain of some listeners. `beside` are all of the port: what is for another one is not answered here."""
    hosts: dict[str, list[tuple[SortKey, Route]]] = {}
    names = [listener.hostname for listener in beside]
    own = [listener.hostname for listener in listeners]
    closed: set[str] = set()
    for listener in listeners:
        # A listener with a hostname of its own owns it even without routes: wider listeners must not answer.
        if len(beside) > 1:
            hosts.setdefault(listener.hostname, [])
        for hostname, routes in tables.hosts.get((state.key, listener.number), {}).items():
            if owner(hostname, names) == listener.hostname:
                hosts.setdefault(hostname, []).extend(routes)
                closed |= {hostname} if tables.clients.of(state.key, listener).closed else set()
    for routes in hosts.values():
        routes.sort(key=lambda item: item[0])
        tables.shading.look(routes)
    for hostname in names:
        if hostname not in own:
            hosts[hostname] = [((), _MISDIRECTED)]
    tls = listeners[0].spec.protocol == "HTTPS"
    return HttpChain(
        name=name,
        hosts=_virtual_hosts(hosts, closed),
        server_names=tuple(host for host in own if host != "*") if tls else (),
        certificates=tuple(dict.fromkeys(one for listener in listeners for one in listener.certificates)),
        settings=(*tables.clients.of(state.key, listeners[0]).settings, *state.edge, *state.proxy),
        on_demand=state.delivery.on_demand,
        origins=tuple(dict.fromkeys((*state.item.origins, *(one for each in listeners for one in each.owner.origins)))),
        validation=listeners[0].validation,
    )


def _virtual_hosts(
    hosts: Mapping[str, list[tuple[SortKey, Route]]], closed: Collection[str]
) -> tuple[VirtualHost, ...]:
    """One virtual host for all hostnames that have the same routes. Those of `closed` answer 500."""
    names: dict[tuple[Route, ...], list[str]] = {}
    for hostname, routes in sorted(hosts.items()):
        names.setdefault(_ordered(routes, broken=hostname in closed), []).append(hostname)
    return tuple(VirtualHost(first, routes, tuple(more)) for routes, (first, *more) in names.items())


def _ordered(routes: list[tuple[SortKey, Route]], *, broken: bool) -> tuple[Route, ...]:
    # They are sorted, and each key is there once, so the result does not depend on insertion.
    ordered = [route for _, route in routes]
    if broken:
        ordered = [Route(one.name, one.match, Respond(500), (), one.origins, one.policies) for one in ordered]
    return tuple(ordered)
