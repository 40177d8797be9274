"""All objects -> the graph of every gateway, and the status of every object: the room's one entrance.

In: lowered objects, the features, and options. Out: `Attached`. The result is the same whatever order the objects
came in, and an object with an error changes nothing for unrelated ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from xds_server.attach.answers import Asked, Hosts, Listening
from xds_server.attach.backend_tls import TlsPolicies
from xds_server.attach.clients import Clients, listeners_by_port, read_clients
from xds_server.attach.conditions import gateway_statuses, policy_statuses, simple_statuses
from xds_server.attach.gateways import GatewayState, read_gateways
from xds_server.attach.index import Index, Outside
from xds_server.attach.listener_sets import KIND as LISTENER_SET
from xds_server.attach.listener_sets import SetState
from xds_server.attach.listeners import ListenerState
from xds_server.attach.memory import Remembered
from xds_server.attach.names import dns_port
from xds_server.attach.own_ports import own_ports
from xds_server.attach.patches import read_patches
from xds_server.attach.placing import Around, Placing
from xds_server.attach.policies import Policies
from xds_server.attach.protocols import DNS, family_of, transport_of
from xds_server.attach.quic import with_quic
from xds_server.attach.reach import Reach
from xds_server.attach.shading import shading_problems
from xds_server.attach.sockets import shared_sockets
from xds_server.attach.streams import Known, Streams, attach_streams, stream_chains
from xds_server.diagnostics import Diagnostic
from xds_server.features.contract import AnyFeature
from xds_server.graph import Chain, Gateway, HttpChain, Port, StreamChain
from xds_server.model.object import Object
from xds_server.parts import Side
from xds_server.status import Status
from xds_server.types import GATEWAY_GROUP, CodeFile, Fetched, Key

GROUP_LABEL = "cellway.dev/group"
"""A label of Gateways: an Envoy whose `node.cluster` is this name serves all Gateways that carry it."""


@dataclass(frozen=True, slots=True)
class Attached:
    """What follows from a set of objects, before anything is translated."""

    gateways: tuple[Gateway, ...]
    plain: Mapping[Key, Status]
    """The statuses of routes, backends and classes: those without ancestors."""
    others: Mapping[Key, Status]
    """All other statuses."""
    diagnostics: tuple[Diagnostic, ...]
    wanted: tuple[str, ...] = ()
    """URLs of documents that features looked for."""

    @property
    def statuses(self) -> Mapping[Key, Status]:
        """The status of every object."""
        return Side(self.plain, self.others)


@dataclass(frozen=True, slots=True)
class Given:
    """What is given beside objects: whose Gateways are ours, addresses for those without, documents of the web.

    `one_machine`: the Envoys of all Gateways run there. `log_folders`: where access logs may be written. `extenders`:
    namespaces that may extend Envoys. `module_folders`: where native modules may be. `code_files`: modules beside
    policies, by name. `reach`: where backends may lead.
    """

    controllers: tuple[str, ...]
    pool: str | None
    fetched: Mapping[str, Fetched]
    databases: Mapping[str, str]
    one_machine: bool = False
    log_folders: tuple[str, ...] = ()
    extenders: tuple[str, ...] = ()
    module_folders: tuple[str, ...] = ()
    code_files: Mapping[str, CodeFile] = field(default_factory=dict)
    reach: Reach = field(default_factory=Reach)


@dataclass(slots=True)
class _Tables:
    """What is known of all routes, and what is collected while gateways are put together."""

    index: Index
    features: Sequence[AnyFeature]
    clients: Clients
    placing: Placing
    streams: Streams
    hosts: dict[str, Hosts]
    answering: list[Hosts] = field(default_factory=list)
    problems: list[Diagnostic] = field(default_factory=list)


@dataclass(slots=True)
class Memory:
    """What is kept from call to call. Dropping it changes no result."""

    known: Remembered = field(default_factory=Remembered)
    policies: Policies = field(default_factory=Policies)
    placing: Placing = field(default_factory=Placing)
    hosts: dict[str, Hosts] = field(default_factory=lambda: defaultdict(Hosts))
    tls_policies: TlsPolicies = field(default_factory=TlsPolicies)
    streams: frozenset[Key] = frozenset()
    """The routes without requests that there were."""
    foreign: frozenset[Key] = frozenset()
    given: tuple[object, ...] = ()


def attach_objects(
    objects: Iterable[Object], features: Sequence[AnyFeature], given: Given, memory: Memory | None = None
) -> Attached:
    """Decide what applies to what. `memory` is that of earlier calls for the same purpose."""
    memory = memory or Memory()
    _begin(memory, features, given)
    known = memory.known
    chosen, problems = known.chosen.update(objects)
    known.begin(
        chosen,
        Outside(
            given.fetched,
            given.databases,
            given.log_folders,
            given.extenders,
            given.module_folders,
            given.code_files,
            given.reach,
        ),
    )
    index = known.index
    states, sets, more = known.recall(
        ("gateways",), (), lambda seen: read_gateways(seen, given.controllers, given.pool, features)
    )
    gateways_by_key = known.recall(("states",), (states, sets), lambda _: _states_by_key(states))
    memory.foreign = _foreign(index, states, sets, memory.foreign)
    table, found = memory.policies.read(index, features, memory.foreign, known)
    clients = read_clients(states, table, features)
    table = clients.noted(table)
    memory.placing.update(Around(features, gateways_by_key, memory.foreign, table, clients), known)
    streams = attach_streams(Known(index, features, gateways_by_key, memory.foreign, table))
    tables = _Tables(index, features, clients, memory.placing, streams, memory.hosts)
    tables.problems += [*problems, *more, *found, *clients.problems.values(), *streams.warnings.values()]
    tables.problems += memory.placing.problems(index)
    tables.problems += [*streams.problems, *table.merging.problems]
    patches = read_patches(index, {state.key for state in states}, memory.foreign)
    tables.problems += patches.problems
    gateways = tuple(
        replace(_gateway(state, tables), patches=tuple(patches.sets.get(state.key, ()))) for state in states
    )
    chains = {chain.name for one in gateways for port in one.ports for chain in port.http_chains}
    for name in memory.hosts.keys() - chains:
        del memory.hosts[name]
    shaded = (shade for one in tables.answering for shade in one.shaded)
    tables.problems += shading_problems(
        shaded, lambda: (shade for one in tables.answering for shade in one.shades), index
    )
    tables.problems += shared_sockets(gateways, index) if given.one_machine else ()
    attached = {**memory.placing.attached, **streams.attached}
    others = streams.statuses | gateway_statuses(states, sets, attached)
    if table.merging.made or streams.attached:
        others |= policy_statuses(table, states, attached)
    else:
        same = (table.attached, table.accepted, states, memory.placing.moved)
        others |= known.recall(("policy statuses",), same, lambda _: policy_statuses(table, states, attached))
    others |= patches.statuses
    simple = known.recall(
        ("simple statuses",), (given.controllers,), lambda seen: simple_statuses(seen, given.controllers)
    )
    plain = Side(memory.placing.statuses, simple)
    renewed = memory.placing.renewed | streams.statuses.keys() | memory.streams
    memory.streams = frozenset(streams.statuses)
    tls_statuses, found = memory.tls_policies.read(known, Side(plain, others), renewed)
    wanted = tuple(sorted(index.wanted | known.urls()))
    return Attached(gateways, plain, others | tls_statuses, (*tables.problems, *found), wanted)


def _begin(memory: Memory, features: Sequence[AnyFeature], given: Given) -> None:
    """Nothing is known any more where something else is given than documents."""
    folders = (given.log_folders, given.module_folders, given.reach)
    now = (features, given.controllers, given.pool, given.one_machine, folders, given.extenders)
    if memory.given != now:
        empty = Memory()
        memory.known, memory.policies, memory.placing = empty.known, empty.policies, empty.placing
        memory.hosts, memory.foreign, memory.given = empty.hosts, empty.foreign, now
        memory.tls_policies, memory.streams = empty.tls_policies, empty.streams


def _states_by_key(states: Iterable[GatewayState]) -> dict[Key, GatewayState]:
    """The Gateways by their own keys and by those of their ListenerSets."""
    return {state.key: state for state in states} | {one.item.key: state for state in states for one in state.sets}


def _foreign(
    index: Index, states: Iterable[GatewayState], sets: Iterable[SetState], last: frozenset[Key]
) -> frozenset[Key]:
    """The Gateways of other controllers and their ListenerSets; the same object as the last time if they are."""
    found = frozenset(item.key for item in index.of_kind(GATEWAY_GROUP, "Gateway")) - {one.key for one in states}
    found |= frozenset(item.key for item in index.of_kind(GATEWAY_GROUP, LISTENER_SET)) - {one.item.key for one in sets}
    return last if found == last else found


def _gateway(state: GatewayState, tables: _Tables) -> Gateway:
    ports = tuple(
        _port(state, listeners, tables)
        for listeners in listeners_by_port(state).values()
        if not state.problem and state.addresses
    )
    ports, problems = with_quic(ports, tables.features)
    more, wrong = own_ports(state, ports, tables.features, tables.index.reach) if ports else ((), ())
    tables.problems += [*problems, *wrong]
    group = state.item.meta.labels.get(GROUP_LABEL)
    above = state.spec.infrastructure
    return Gateway(
        key=state.key,
        ports=(*ports, *more),
        groups=(group,) if group else (),
        labels=dict(state.item.meta.labels),
        origins=state.item.origins,
        client=state.client,
        settings=state.proxy,
        marks={"labels": dict(above.labels), "annotations": dict(above.annotations)} if above else {},
        process=state.process,
    )


def _port(state: GatewayState, listeners: list[ListenerState], tables: _Tables) -> Port:
    spec = listeners[0].spec
    protocols = {listener.spec.protocol for listener in listeners}
    name = f"{state.key.namespace}/{state.key.name}/{min(protocols).lower()}-{spec.port}"
    chains: list[Chain] = []
    if protocols == {"HTTP"}:
        chains.append(_chain(state, name, listeners, listeners, tables))
    if protocols == {DNS}:
        port, problem = dns_port(state, listeners[0], tables.placing.hosts)
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
    addresses = state.addresses_of(spec.port)
    return Port(
        name, addresses, spec.port, tuple(chains), tls, transport, state.delivery.listener_ttl, settings=settings
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
    return tuple(replace(one, settings=kept, policies=client.policies) for one in chains)


def _chain(
    state: GatewayState, name: str, listeners: list[ListenerState], beside: list[ListenerState], tables: _Tables
) -> HttpChain:
    """The chain of some listeners. `beside` are all of the port: what is for another one is not answered here."""
    own = [listener.hostname for listener in listeners]
    places = [(state.key, listener.number) for listener in listeners]
    asked = Asked(
        tuple(
            Listening(
                place, one.hostname, tables.placing.hosts.get(place, {}), tables.clients.of(state.key, one).closed
            )
            for place, one in zip(places, listeners, strict=True)
        ),
        tuple(listener.hostname for listener in beside),
        frozenset(feature.name for feature in tables.features if feature.chain_follows_routes),
    )
    known = tables.hosts[name]
    hosts = known.update(asked, {host for place in places for host in tables.placing.touched.get(place, ())})
    tables.answering.append(known)
    tls = listeners[0].spec.protocol == "HTTPS"
    return HttpChain(
        name=name,
        hosts=hosts,
        known=known.values,
        server_names=tuple(host for host in own if host != "*") if tls else (),
        certificates=tuple(dict.fromkeys(one for listener in listeners for one in listener.certificates)),
        settings=(*tables.clients.of(state.key, listeners[0]).settings, *state.edge, *state.proxy),
        policies=tables.clients.of(state.key, listeners[0]).policies,
        on_demand=state.delivery.on_demand,
        origins=tuple(dict.fromkeys((*state.item.origins, *(one for each in listeners for one in each.owner.origins)))),
        validation=listeners[0].validation,
    )
