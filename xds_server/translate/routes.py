"""The virtual hosts of a chain -> one Envoy `RouteConfiguration`.

In: a `graph.HttpChain`, the features, and the clusters that exist. Out: the route table. Routes keep their order; every
feature may change the routes that carry its setting. A route that Envoy would refuse answers 500 and is reported: it
never takes others with it, and never lets a request through that a broken policy should have stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from hashlib import blake2b

from google.protobuf.message import Message

from xds_server.diagnostics import Diagnostic, diagnose
from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route, VirtualHost
from xds_server.envoy_api.envoy.config.route.v3.route_pb2 import RouteConfiguration
from xds_server.features.contract import AnyFeature
from xds_server.features.parts.values import ads
from xds_server.graph import HttpChain
from xds_server.graph import Route as GraphRoute
from xds_server.graph import VirtualHost as GraphHost
from xds_server.translate.actions import MISSING, set_action
from xds_server.translate.limits import match_problem, rewrite_problem
from xds_server.translate.matches import translate_match
from xds_server.translate.message import Translated
from xds_server.types import Origin

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
_SERVER_ERROR = 500
_FIRST_HOST = "first.cellway.invalid"


@dataclass(frozen=True, slots=True)
class Tools:
    """What every route is built with: features in order, names of existing clusters, the check of messages."""

    features: tuple[AnyFeature, ...]
    clusters: AbstractSet[str]
    check: Callable[[Message], str | None]


def chain_values(chain: HttpChain, feature: AnyFeature) -> tuple[object, ...]:
    """The different values of one feature on the routes of a chain."""
    found: dict[object, None] = {}
    for host in chain.hosts:
        for route in host.routes:
            found.update(dict.fromkeys(one.value for one in route.settings if one.feature == feature.name))
    return tuple(found)


def table_name(chain: HttpChain, features: Sequence[AnyFeature]) -> str:
    """The name of the chain's route table.

    Where a filter's configuration depends on the routes (JWT providers), the name carries a hash of it. A listener
    with a new configuration then waits for its own table, and no old route meets it. A table whose hosts come on demand
    has another name, too: connections to a listener from before, which does not ask for hosts, keep the old one.
    """
    digest = blake2b(digest_size=4)
    dependent = False
    for feature in features:
        values = chain_values(chain, feature) if feature.chain_follows_routes else ()
        for filter_name, message in feature.http_filters(values) if values else ():
            dependent = True
            digest.update(filter_name.encode() + message.SerializeToString(deterministic=True))
    name = f"{chain.name}@on-demand" if chain.on_demand else chain.name
    return f"{name}@{digest.hexdigest()}" if dependent else name


def translate_routes(chain: HttpChain, tools: Tools) -> tuple[list[Translated], list[Diagnostic]]:
    """The route table of a chain, and the virtual hosts that are not part of it because they come on demand."""
    problems: list[Diagnostic] = []
    table = RouteConfiguration(name=table_name(chain, tools.features), ignore_port_in_host_matching=True)
    # Shares without a backend go to a cluster that does not exist, on purpose.
    table.validate_clusters.value = False
    # Envoy's own word for the client's address; x-forwarded-for says it to backends, and others need not know.
    table.request_headers_to_remove.append("x-envoy-external-address")
    hosts = [_translate_host(host, tools, problems) for host in chain.hosts]
    for feature in tools.features:
        for setting in chain.settings:
            if setting.feature == feature.name:
                for host in hosts:
                    feature.virtual_host(setting.value, host.message)
    if chain.on_demand:
        table.vhds.config_source.CopyFrom(ads())
        return [Translated(table.name, table, chain.origins), *_on_demand(table.name, hosts, chain)], problems
    table.virtual_hosts.extend(host.message for host in hosts)
    origins = dict.fromkeys((*chain.origins, *(origin for host in hosts for origin in host.origins)))
    needs = tuple(sorted({need for host in hosts for need in host.needs}))
    return [Translated(table.name, table, tuple(origins), needs)], problems


@dataclass(frozen=True, slots=True)
class _Host:
    """A virtual host, what made it, and the clusters that it uses."""

    message: VirtualHost
    origins: tuple[Origin, ...]
    needs: tuple[tuple[str, str], ...]


def _translate_host(host: GraphHost, tools: Tools, problems: list[Diagnostic]) -> _Host:
    built = VirtualHost(name=host.hostname, domains=[host.hostname, *host.aliases])
    origins: dict[Origin, None] = {}
    clusters: set[str] = set()
    for route in host.routes:
        message, problem = translate_route(route, tools)
        if problem is not None:
            problems.append(problem)
        if message is not None:
            built.routes.append(message)
            clusters.update(_clusters_of(message))
        origins.update(dict.fromkeys(route.origins))
    return _Host(built, tuple(origins), tuple((CLUSTER, name) for name in sorted(clusters & tools.clusters)))


def _on_demand(table: str, hosts: list[_Host], chain: HttpChain) -> Iterator[Translated]:
    """Resources of their own, named as Envoy asks for them. Until one has come, Envoy does not open the port."""
    first = f"{table}/{_FIRST_HOST}"
    yield Translated(first, VirtualHost(name=first, domains=[_FIRST_HOST]), chain.origins)
    for host in hosts:
        names = tuple(f"{table}/{domain}" for domain in host.message.domains)
        host.message.name = names[0]
        yield Translated(names[0], host.message, host.origins, host.needs, on_demand=True, aliases=names[1:])


def translate_route(route: GraphRoute, tools: Tools) -> tuple[Route | None, Diagnostic | None]:
    """One route; with a diagnostic if it had to be closed. None if even its match would be refused."""
    first = route.origins[0] if route.origins else None
    span, subject = (first.span, str(first.key)) if first else (None, "")
    closed = Route(name=route.name, match=translate_match(route.match))
    closed.direct_response.status = _SERVER_ERROR
    reason = match_problem(closed.match) or tools.check(closed)
    if reason:
        return None, diagnose("T103", span, subject=subject, name=route.name, reason=reason)
    message = Route(name=route.name, match=closed.match)
    reason = set_action(message, route.action, tools.clusters, tools.features) or _apply(route, message, tools)
    if reason:
        return closed, diagnose("T100", span, subject=subject, name=route.name, reason=reason)
    return message, None


def _apply(route: GraphRoute, message: Route, tools: Tools) -> str | None:
    """Let every feature change the route. The answer is why the result cannot be served."""
    forwards = message.HasField("route")
    for feature in tools.features:
        for setting in route.settings:
            if setting.feature == feature.name:
                feature.route(setting.value, message)
                if forwards and not message.HasField("route"):
                    return f"'{feature.name}' does not work with a match of this type"
    return rewrite_problem(message) or tools.check(message)


def _clusters_of(route: Route) -> list[str]:
    if not route.HasField("route"):
        return []
    names = [one.name for one in route.route.weighted_clusters.clusters if one.name != MISSING]
    names += [one.cluster for one in route.route.request_mirror_policies]
    return [*names, route.route.cluster] if route.route.cluster else names
