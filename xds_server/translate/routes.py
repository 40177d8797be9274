"""The virtual hosts of a chain -> one Envoy `RouteConfiguration`.

In: a `graph.HttpChain`, the features, and the clusters that exist. Out: the route table. Routes keep their order; every
feature may change the routes that carry its setting. A route that Envoy would refuse answers 500 and is reported: it
never takes others with it, and never lets a request through that a broken policy should have stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from hashlib import blake2b
from operator import is_

from google.protobuf.message import Message

from xds_server.diagnostics import Diagnostic, diagnose
from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route, VirtualHost
from xds_server.envoy_api.envoy.config.route.v3.route_pb2 import RouteConfiguration
from xds_server.features.contract import AnyFeature
from xds_server.features.parts.headers import TABLE
from xds_server.features.parts.values import ads
from xds_server.graph import Forward, HttpChain, Setting
from xds_server.graph import Route as GraphRoute
from xds_server.graph import VirtualHost as GraphHost
from xds_server.memory import in_common
from xds_server.parts import Gathered
from xds_server.translate.actions import MISSING, set_action
from xds_server.translate.limits import match_problem, rewrite_problem
from xds_server.translate.matches import translate_match
from xds_server.translate.message import Translated
from xds_server.translate.scopes import COUNT, part_names, places, translate_scopes
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
    """The different values of a feature on the routes of a chain, if its filters follow them."""
    return tuple(chain.values.get(feature.name, ())) if feature.chain_follows_routes else ()


def table_name(chain: HttpChain, features: Sequence[AnyFeature]) -> str:
    """The name of the chain's route table.

    Where a filter's configuration depends on the routes (JWT providers), the name carries a hash of it. A listener
    with a new configuration then waits for its own table, and no old route meets it. A table whose hosts come on demand
    has another name, too: connections to a listener from before, which does not ask for hosts, keep the old one.
    """
    digest = blake2b(digest_size=4)
    dependent = False
    for feature in features:
        values = chain_values(chain, feature)
        for filter_name, message in feature.http_filters(values) if values else ():
            dependent = True
            digest.update(filter_name.encode() + message.SerializeToString(deterministic=True))
    name = f"{chain.name}@on-demand" if chain.on_demand else chain.name
    return f"{name}@{digest.hexdigest()}" if dependent else name


def translate_routes(chain: HttpChain, tools: Tools, memory: RoutesMemory) -> tuple[list[Translated], list[Diagnostic]]:
    """The route table of a chain, or its several tables, and the virtual hosts that are not part of it because they come
    on demand."""
    name = table_name(chain, tools.features)
    hosts = memory.table(chain, tools)
    problems = [problem for host in hosts.hosts for problem in host.problems] if hosts.odd else []
    if chain.on_demand:
        table = _empty(name)
        table.vhds.config_source.CopyFrom(ads())
        return [Translated(name, table, chain.origins), *_on_demand(name, hosts.hosts, chain)], problems
    if chain.spread:
        return memory.parts(name, chain, hosts), problems
    return [_filled(_empty(name), chain, hosts)], problems


def _empty(name: str) -> RouteConfiguration:
    """A route table without hosts."""
    table = RouteConfiguration(name=name, ignore_port_in_host_matching=True)
    # Shares without a backend go to a cluster that does not exist, on purpose.
    table.validate_clusters.value = False
    # Envoy's own word for the client's address; x-forwarded-for says it to backends, and others need not know.
    table.request_headers_to_remove.append("x-envoy-external-address")
    return table


def _filled(table: RouteConfiguration, chain: HttpChain, hosts: _Table) -> Translated:
    """A route table with these hosts."""
    origins = Gathered((chain.origins, *hosts.origins))
    found = ((at, one.violation) for at, one in enumerate(hosts.hosts if hosts.odd else ()))
    violation = next((f"virtual_hosts[{at}].{rule}" for at, rule in found if rule), "")
    return Translated(table.name, table, origins, hosts.needs, rest=hosts.fields, violation=violation)


@dataclass(frozen=True, slots=True, eq=False)
class _Host:
    """A virtual host as Envoy gets it, as a field of its table with a hash, what made it, and the clusters that it uses.

    `asks` are the clusters that its routes name, `there` those that were; `places` the tables that it is in, None: all.
    """

    host: GraphHost
    asks: frozenset[str]
    there: frozenset[str]
    field: bytes
    digest: bytes
    origins: Mapping[Origin, None]
    needs: tuple[tuple[str, str], ...]
    problems: tuple[Diagnostic, ...]
    violation: str
    places: frozenset[int] | None


Needs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Table:
    """The virtual hosts of a chain: each, and what follows from all of them. `odd`: something is wrong with one."""

    settings: tuple[Setting, ...]
    given: tuple[GraphHost, ...] = ()
    hosts: tuple[_Host, ...] = ()
    fields: tuple[tuple[bytes, bytes], ...] = ()
    origins: tuple[Mapping[Origin, None], ...] = ()
    needs: Needs = ()
    odd: bool = False

    def changed(self, given: tuple[GraphHost, ...], translate: Callable[[GraphHost], _Host]) -> _Table:
        """The same with other hosts, given what translates one that is not there yet."""
        start, end = in_common(self.given, given)
        old = {id(one.host): one for one in self.hosts[start : len(self.hosts) - end]}
        new = tuple(old.get(id(host)) or translate(host) for host in given[start : len(given) - end])
        after = slice(len(self.hosts) - end, None)
        hosts = (*self.hosts[:start], *new, *self.hosts[after])
        needs = self.needs
        if [one.needs for one in old.values()] != [one.needs for one in new]:
            needs = tuple(sorted({need for host in hosts for need in host.needs}))
        odd = self.odd or any(one.problems or one.violation for one in new)
        return _Table(
            self.settings,
            given,
            hosts,
            (*self.fields[:start], *((one.field, one.digest) for one in new), *self.fields[after]),
            (*self.origins[:start], *(one.origins for one in new), *self.origins[after]),
            needs,
            odd and any(one.problems or one.violation for one in hosts),
        )

    def of(self, hosts: tuple[_Host, ...]) -> _Table:
        """A table of hosts that are translated."""
        made = iter(hosts)
        return self.changed(tuple(one.host for one in hosts), lambda _: next(made))


@dataclass(frozen=True, slots=True)
class _Part:
    """One of several tables, and the hosts that it was made from."""

    hosts: tuple[_Host, ...]
    translated: Translated


@dataclass(frozen=True, slots=True)
class _Spread:
    """The tables of a chain that has several, and all hosts that are in them."""

    origins: tuple[Origin, ...]
    scopes: list[Translated]
    parts: tuple[_Part | None, ...] = (None,) * COUNT
    hosts: tuple[_Host, ...] = ()

    def dealt(self, hosts: tuple[_Host, ...]) -> list[list[_Host] | None]:
        """The hosts of each table; None: those that it has."""
        start, end = in_common(self.hosts, hosts)
        old, new = self.hosts[start : len(self.hosts) - end], hosts[start : len(hosts) - end]
        if not self.hosts or [one.places for one in old] != [one.places for one in new]:
            return _deal(hosts)
        changed = {id(before): now for before, now in zip(old, new, strict=True)}
        concerned = {place for one in old for place in _tables(one)}
        return [
            [changed.get(id(one), one) for one in part.hosts] if place in concerned and part is not None else None
            for place, part in enumerate(self.parts)
        ]


def _tables(host: _Host) -> Iterable[int]:
    return range(COUNT) if host.places is None else host.places


def _deal(hosts: Iterable[_Host]) -> list[list[_Host] | None]:
    """The hosts of each of several tables."""
    spread: list[list[_Host]] = [[] for _ in range(COUNT)]
    for host in hosts:
        for place in _tables(host):
            spread[place].append(host)
    return [*spread]


def _part(last: _Part | None, name: str, chain: HttpChain, hosts: list[_Host] | None) -> _Part:
    """A table with these hosts: the last one, if it is the same."""
    if last is not None and (hosts is None or (len(last.hosts) == len(hosts) and all(map(is_, last.hosts, hosts)))):
        return last
    assert hosts is not None
    table = _empty(name)
    table.request_headers_to_remove.append(TABLE)
    return _Part(tuple(hosts), _filled(table, chain, _Table(chain.settings).of(tuple(hosts))))


class RoutesMemory:
    """The route tables of a gateway, kept from call to call."""

    def __init__(self) -> None:
        self._last: dict[str, _Table] = {}
        self._now: dict[str, _Table] = {}
        self._spread: dict[str, _Spread] = {}
        self._spread_now: dict[str, _Spread] = {}
        self._clusters: AbstractSet[str] = frozenset()
        self._same_clusters = True

    def begin(self, clusters: AbstractSet[str]) -> None:
        """A call begins: what it does not ask for is forgotten. `clusters` are those that exist."""
        self._same_clusters = clusters is self._clusters
        self._last, self._now, self._clusters = self._now, {}, clusters
        self._spread, self._spread_now = self._spread_now, {}

    def table(self, chain: HttpChain, tools: Tools) -> _Table:
        """The hosts of a chain. Those for which nothing has changed are the same."""
        known = self._last.get(chain.name)
        settings = chain.settings
        if known is None or len(known.settings) != len(settings) or not all(map(is_, known.settings, settings)):
            known = _Table(settings)
        elif not self._same_clusters:
            kept = tuple(one for one in known.hosts if one.asks & tools.clusters == one.there)
            if len(kept) < len(known.hosts):
                fitting = {id(one.host): one for one in kept}
                known = _Table(settings).changed(tuple(one.host for one in kept), lambda host: fitting[id(host)])
        found = known.changed(chain.hosts, lambda host: _translate_host(host, settings, tools))
        self._now[chain.name] = found
        return found

    def parts(self, name: str, chain: HttpChain, table: _Table) -> list[Translated]:
        """Several tables in the place of one, and their scopes. Those for which nothing has changed are the same."""
        known = self._spread.get(name)
        if known is None or known.origins != chain.origins:
            known = _Spread(chain.origins, translate_scopes(name, chain.origins))
        made = zip(known.parts, part_names(name), known.dealt(table.hosts), strict=True)
        parts = tuple(_part(last, one, chain, hosts) for last, one, hosts in made)
        self._spread_now[name] = replace(known, parts=parts, hosts=table.hosts)
        return [*known.scopes, *(one.translated for one in parts)]


def _translate_host(host: GraphHost, settings: tuple[Setting, ...], tools: Tools) -> _Host:
    built = VirtualHost(name=host.hostname, domains=[host.hostname, *host.aliases])
    origins: dict[Origin, None] = {}
    clusters: set[str] = set()
    problems = []
    for route in host.routes:
        message, problem = translate_route(route, tools)
        if problem is not None:
            problems.append(problem)
        if message is not None:
            built.routes.append(message)
            clusters.update(_clusters_of(message))
        origins.update(dict.fromkeys(route.origins))
    for feature in tools.features:
        for setting in settings:
            if setting.feature == feature.name:
                feature.virtual_host(setting.value, built)
    asks = frozenset(one for route in host.routes for one in _asked(route))
    needs = tuple((CLUSTER, name) for name in sorted(clusters & tools.clusters))
    field = RouteConfiguration(virtual_hosts=[built]).SerializeToString(deterministic=True)
    digest = blake2b(field, digest_size=16).digest()
    violation = tools.check(built) or ""
    where = places(built.domains)
    return _Host(host, asks, asks & tools.clusters, field, digest, origins, needs, tuple(problems), violation, where)


def _asked(route: GraphRoute) -> list[str]:
    """The clusters that a route names."""
    action = route.action
    if not isinstance(action, Forward):
        return []
    return [*(one.cluster for one in action.destinations), *(one.cluster for one in action.mirrors)]


def _on_demand(table: str, hosts: Iterable[_Host], chain: HttpChain) -> Iterator[Translated]:
    """Resources of their own, named as Envoy asks for them. Until one has come, Envoy does not open the port."""
    first = f"{table}/{_FIRST_HOST}"
    yield Translated(first, VirtualHost(name=first, domains=[_FIRST_HOST]), chain.origins)
    for host in hosts:
        message = RouteConfiguration.FromString(host.field).virtual_hosts[0]
        names = tuple(f"{table}/{domain}" for domain in message.domains)
        message.name = names[0]
        yield Translated(names[0], message, tuple(host.origins), host.needs, on_demand=True, aliases=names[1:])


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
