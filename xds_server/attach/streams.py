"""TLSRoutes, TCPRoutes and UDPRoutes -> who serves what on listeners without requests, and the routes' statuses.

In: the routes, the Gateways that are ours, the policies. Out: `Streams`: for every listener its hostnames with the route
that serves each (the one that names it most closely, of several the oldest; the others say so), and statuses in Gateway
API's words. A route under a broken policy, or under a SecurityPolicy that cannot be kept for its traffic, serves nobody:
its connections are closed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from xds_server.attach.conditions import resolved_refs
from xds_server.attach.gateways import GatewayState
from xds_server.attach.guards import lost_guards
from xds_server.attach.hostnames import owner
from xds_server.attach.index import Index, age
from xds_server.attach.listeners import ListenerState
from xds_server.attach.parents import Attachment, Parent, attach_route
from xds_server.attach.policies import PolicyTable
from xds_server.attach.protocols import passes_through
from xds_server.attach.routes import Effective, effective, scopes_of
from xds_server.attach.stream_rules import StreamRule, read_stream_rule, tcp_destinations, udp_destinations
from xds_server.diagnostics import Diagnostic
from xds_server.features.contract import AnyFeature, Transport
from xds_server.graph import Destination, Setting, StreamChain, StreamRoute
from xds_server.model.object import Object
from xds_server.model.stream_routes import StreamRouteSpec
from xds_server.status import ParentStatus, Status
from xds_server.types import GATEWAY_GROUP, Condition, Key

KINDS = ("TLSRoute", "TCPRoute", "UDPRoute")
_CLOSED = StreamRoute("none")


@dataclass(frozen=True, slots=True)
class Known:
    """What there is before routes are attached."""

    index: Index
    features: Sequence[AnyFeature]
    states: Mapping[Key, GatewayState]
    foreign: frozenset[Key]
    policies: PolicyTable


@dataclass(frozen=True, slots=True)
class _Claim:
    """The route that a hostname of a listener is given to, and how closely that names it."""

    route: Object
    closeness: tuple[int, int]


@dataclass(slots=True)
class Streams:
    """What came of all routes. `claims` and `served` are by Gateway and number of the listener, then by hostname."""

    claims: dict[tuple[Key, int], dict[str, _Claim]] = field(default_factory=lambda: defaultdict(dict))
    served: dict[tuple[Key, int], dict[str, StreamRoute]] = field(default_factory=lambda: defaultdict(dict))
    attached: dict[tuple[Key, int], set[Key]] = field(default_factory=lambda: defaultdict(set))
    statuses: dict[Key, Status] = field(default_factory=dict)
    warnings: dict[tuple[Key, Key], Diagnostic] = field(default_factory=dict)
    problems: list[Diagnostic] = field(default_factory=list)


def attach_streams(known: Known) -> Streams:
    """Attach all routes. A hostname goes to the route that names it most closely, of several to the oldest."""
    streams = Streams()
    routes = [route for kind in KINDS for route in known.index.of_kind(GATEWAY_GROUP, kind)]
    routes.sort(key=lambda item: (age(item), item.key.kind))
    followed = [(route, *attach_route(route, known.states, known.foreign, known.index)) for route in routes]
    for route, parents, _ in followed:
        for attachment in (one for parent in parents for one in parent.attachments):
            _claim(route, attachment, streams)
    for route, parents, problems in followed:
        streams.problems += problems
        _attach_one(route, parents, known, streams)
    return streams


def _claim(route: Object, attachment: Attachment, streams: Streams) -> None:
    """Take the hostnames that nobody has who came before and names them as closely."""
    taken = streams.claims[attachment.gateway.key, attachment.listener.number]
    for hostname in attachment.hostnames:
        closeness = attachment.closeness(hostname)
        if hostname not in taken or closeness < taken[hostname].closeness:
            taken[hostname] = _Claim(route, closeness)


def _attach_one(route: Object, parents: tuple[Parent, ...], known: Known, streams: Streams) -> None:
    rule = read_stream_rule(route, known.index)
    streams.problems += rule.problems
    found = []
    for parent in parents:
        notes: list[str] = []
        for attachment in parent.unserved:
            streams.attached[attachment.gateway.key, attachment.listener.number].add(route.key)
        for attachment in parent.attachments:
            streams.attached[attachment.gateway.key, attachment.listener.number].add(route.key)
            notes += _serve(route, rule, parent, attachment, known, streams)
        for note in dict.fromkeys(notes):
            streams.problems.append(route.diagnose("A142", "parentRefs", parent.number, reason=note))
        found.append(_parent_status(route, rule, parent, "; ".join(dict.fromkeys(notes))))
    if parents:
        streams.statuses[route.key] = Status(parents=tuple(found))


def _serve(
    route: Object, rule: StreamRule, parent: Parent, attachment: Attachment, known: Known, streams: Streams
) -> list[str]:
    """Serve the hostnames that it has. The answer is who has the others."""
    assert isinstance(route.spec, StreamRouteSpec)
    scopes = scopes_of(route, route.spec.rules[0].name, attachment)
    policies = effective(scopes, attachment, known.policies, {feature.name: feature for feature in known.features})
    above = attachment.listener.scopes(attachment.gateway.key)
    lost = lost_guards(scopes, above, known.policies, known.features)
    streams.warnings |= [lost] if lost else []
    refused = _unkept(policies, _transport(route))
    if refused:
        streams.problems.append(route.diagnose("A144", "parentRefs", parent.number, reason=refused))
    stream = _stream(route, rule, attachment, policies, closed=bool(refused) or policies.broken)
    place = attachment.gateway.key, attachment.listener.number
    notes = []
    for hostname in attachment.hostnames:
        first = streams.claims[place][hostname]
        if first.route is route:
            streams.served[place].setdefault(hostname, stream)
        else:
            where = f"listener {attachment.listener.name}" + (f" for {hostname}" if hostname != "*" else "")
            closer = first.closeness < attachment.closeness(hostname)
            notes.append(f"{first.route.key} {'names it more closely' if closer else 'is older'} and serves {where}")
    return notes


def _transport(route: Object) -> Transport:
    return "udp" if route.key.kind == "UDPRoute" else "tcp"


def _unkept(policies: Effective, transport: Transport) -> str:
    """Which guard of a policy cannot be kept without requests; empty if all can."""
    for policy, _ in policies.policies:
        settings = () if policy.broken else policy.settings
        features = [(policies.features[one.feature], one.value) for one in settings]
        names = [one.name for one, value in features if one.guards and not one.keeps(value, transport)]
        if names:
            asked = ", ".join(dict.fromkeys(names))
            return f"{policy.item.key} asks for {asked}, for which only requests can be checked"
    return ""


def _stream(
    route: Object, rule: StreamRule, attachment: Attachment, policies: Effective, *, closed: bool
) -> StreamRoute:
    name = f"{route.key.kind.lower()}/{route.namespace}/{route.name}"
    origins = tuple(dict.fromkeys((*route.origins, *policies.origins)))
    if closed:
        return StreamRoute(name, origins=origins, policies=policies.coverings)
    transport = _transport(route)
    settings = tuple(one for one in policies.settings if transport in policies.features[one.feature].transports)
    suffix = _suffix(route, name, attachment, policies, settings)
    destinations: tuple[Destination, ...]
    if transport == "udp":
        destinations = udp_destinations(rule, name, suffix)
    else:
        destinations = tcp_destinations(rule, suffix, through=passes_through(attachment.listener.spec))
    return StreamRoute(name, destinations, settings, origins, policies.coverings)


def _suffix(route: Object, name: str, attachment: Attachment, policies: Effective, settings: Iterable[Setting]) -> str:
    """What makes a cluster this route's own when its settings shape it, or the Gateway's certificate for backends."""
    gateway, listener = attachment.gateway, attachment.listener
    own = f"~{gateway.key.namespace}/{gateway.key.name}" if gateway.client else ""
    if not any(policies.features[item.feature].touches_cluster(item.value) for item in settings):
        return own
    narrow = set(listener.scopes(gateway.key)) - {(gateway.key, "")}
    by_listener = any(scope in narrow for _, scope in policies.policies)
    return f"{own}~{name}" + (f"@{listener.name}" if by_listener else "")


def _parent_status(route: Object, rule: StreamRule, parent: Parent, note: str) -> ParentStatus:
    accepted = parent.accepted
    if accepted.status and note:
        accepted = Condition("Accepted", True, "Accepted", note)
    conditions = [accepted, resolved_refs(rule.unresolved)]
    if rule.without_endpoints:
        message = "no ready endpoint: " + ", ".join(rule.without_endpoints)
        conditions.append(Condition("BackendsAvailable", False, "EndpointsNotFound", message))
    ref = parent.ref
    place = (ref.group, ref.kind, ref.namespace or route.namespace, ref.name, ref.section_name or "", ref.port or 0)
    return ParentStatus(*place, conditions=tuple(conditions))


def stream_chains(
    state: GatewayState, listener: ListenerState, names: Sequence[str], streams: Streams, port: str
) -> tuple[StreamChain, ...]:
    """The chains of one listener: one for each hostname that it serves, and one that closes what nobody serves.

    `names` are the hostnames of all listeners of the port: of two that cover a host, the more specific one has it.
    """
    known = streams.served.get((state.key, listener.number), {})
    served = {host: stream for host, stream in known.items() if owner(host, names) == listener.hostname}
    # Without this, what the listener has no route for would be served by a listener with a wider hostname.
    served.setdefault(listener.hostname, _CLOSED)
    return tuple(
        StreamChain(
            name=port if listener.spec.protocol in ("TCP", "UDP") else f"{port}/{listener.name}/{host}",
            route=stream,
            server_names=() if host == "*" else (host,),
            certificates=listener.certificates,
            origins=tuple(dict.fromkeys((*state.item.origins, *listener.owner.origins))),
        )
        for host, stream in sorted(served.items())
    )
