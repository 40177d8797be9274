"""The way of a request through one gateway, as Envoy would go it.

In: the tables of a gateway and a request. Out: an `Answer` for every listener that would take it: the filter chain, the
virtual host, the routes that were tried before and why each lost, the routes that divide the requests, or the status
that Envoy answers by itself. What filters decide is in `filters`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from xds_server.envoy_api.envoy.config.core.v3.base_pb2 import HeaderValueOption
from xds_server.envoy_api.envoy.config.core.v3.protocol_pb2 import HttpProtocolOptions
from xds_server.envoy_api.envoy.config.listener.v3.listener_components_pb2 import FilterChain
from xds_server.envoy_api.envoy.config.listener.v3.listener_pb2 import Listener
from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route, VirtualHost
from xds_server.envoy_api.envoy.config.route.v3.route_pb2 import RouteConfiguration
from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from xds_server.envoy_api.envoy.extensions.http.early_header_mutation.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation,
)
from xds_server.explain.filters import is_on, verdicts
from xds_server.explain.matching import fits, why_not
from xds_server.explain.predicates import in_ranges
from xds_server.explain.request import Request, has_escaped_slash, normal_path, without_double_slashes
from xds_server.explain.tables import Tables, manager_of, proxy_of, unpacked
from xds_server.explain.verdict import Verdict

MILLION = 1_000_000
_PEER = "%DOWNSTREAM_PEER_URI_SAN%"
_BIT = re.compile(r"%CEL\(request\.host\.matches\('(.*?)'\) \? '0' : '1'\)%")
"""An expression for one bit of a hash of the host (`translate/scopes.py`)."""
Manager = HttpConnectionManager


@dataclass(frozen=True, slots=True)
class Tried:
    """A route that came before and lost."""

    route: str
    reason: str


@dataclass(frozen=True, slots=True)
class Share:
    """A route and how many of a million such requests it takes. `verdicts` are what filters make of them before it acts."""

    route: Route
    parts: int
    verdicts: tuple[Verdict, ...] = ()

    @property
    def refusal(self) -> Verdict | None:
        """The filter that surely answers in place of the route."""
        return next((one for one in self.verdicts if one.decision == "answers"), None)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one listener does with the request.

    `request` is what routes see. With a `refusal` Envoy answers `status` itself; 0: it closes the connection. `clusters`
    are where a listener that knows no requests sends connections. `filters` are switched on, in the order in which they
    see the request.
    """

    listener: str
    chain: str = ""
    request: Request | None = None
    table: str = ""
    host: str = ""
    tried: tuple[Tried, ...] = ()
    shares: tuple[Share, ...] = ()
    filters: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    refusal: str = ""
    status: int = 0


def explain(tables: Tables, request: Request) -> tuple[Answer, ...]:
    """What becomes of a request, at every listener that a client could mean."""
    meant = [one for one in tables.listeners if _speaks(one) and request.port in (None, _port(one))]
    same = [one for one in meant if _has_tls(one) == (request.scheme == "https")]
    if same or request.port is None:
        return tuple(_at_listener(one, tables, request) for one in same)
    wrong = "this listener speaks TLS" if request.scheme == "http" else "this listener speaks no TLS"
    return tuple(Answer(one.name, refusal=wrong) for one in meant)


def _speaks(listener: Listener) -> bool:
    """Whether clients connect to it over TCP."""
    return not listener.HasField("udp_listener_config")


def _port(listener: Listener) -> int:
    return listener.address.socket_address.port_value


def _has_tls(listener: Listener) -> bool:
    return any(one.filter_chain_match.transport_protocol == "tls" for one in listener.filter_chains)


def _at_listener(listener: Listener, tables: Tables, request: Request) -> Answer:
    server_name = (request.server_name or request.host) if request.scheme == "https" else ""
    named = _chains_for(listener, server_name)
    if not named:
        return Answer(listener.name, refusal=f"no filter chain is for the server name {server_name}")
    chain, others = _by_source(named, request.source, tables)
    if chain is None:
        return Answer(listener.name, tried=others, refusal=f"connections from {request.source} are closed")
    answer = Answer(listener.name, chain.name, tried=others)
    manager = manager_of(chain)
    if manager is None:
        clusters = _clusters_of(chain, tables)
        refusal = "" if clusters else "connections are closed: there is no backend"
        return replace(answer, clusters=clusters, refusal=refusal)
    seen, refusal = _arriving(manager, request)
    answer = replace(answer, request=seen, table=_table_of(manager, seen, tables))
    if refusal:
        return replace(answer, refusal=refusal, status=400)
    table = tables.routes.get(answer.table)
    found = _host_for(table, seen.host) if table else None
    if found is None:
        return replace(answer, refusal=f"no virtual host is for {seen.host}", status=404)
    domain, host = found
    return _in_host(replace(answer, host=domain), host, manager, seen)


def _clusters_of(chain: FilterChain, tables: Tables) -> tuple[str, ...]:
    """Where a chain that knows no requests sends connections."""
    proxy = proxy_of(chain)
    names = [one.name for one in proxy.weighted_clusters.clusters] or [proxy.cluster] if proxy else []
    return tuple(name for name in names if name in tables.clusters)


def _chains_for(listener: Listener, server_name: str) -> list[FilterChain]:
    """The chains of the closest name. More than one differ in whose connections they are for."""
    by_name: dict[str, list[FilterChain]] = {}
    for chain in listener.filter_chains:
        for name in chain.filter_chain_match.server_names or ("",):
            by_name.setdefault(name, []).append(chain)
    names = (*_narrow_to_wide(server_name), "") if server_name else ("",)
    return next((by_name[name] for name in names if name in by_name), [])


def _by_source(
    chains: Sequence[FilterChain], source: str, tables: Tables
) -> tuple[FilterChain | None, tuple[Tried, ...]]:
    """The chain for an address: the one with the longest range around it. Of an unknown one, what an allowed one gets."""
    if len(chains) == 1 and not chains[0].filter_chain_match.source_prefix_ranges:
        return chains[0], ()
    if source:
        fitting = [(length, one) for one in chains if (length := _closest(one, source)) >= 0]
        chosen = max(fitting, key=lambda found: found[0])[1] if fitting else None
    else:
        chosen = next((one for one in chains if manager_of(one) or _clusters_of(one, tables)), chains[0])
    others = [one for one in chains if one is not chosen]
    return chosen, tuple(Tried(one.name, f"it is for clients in {_ranges(one)}") for one in others)


def _closest(chain: FilterChain, source: str) -> int:
    """The length of the longest range that an address is in; 0 for a chain of all addresses, -1 if it is in none."""
    ranges = chain.filter_chain_match.source_prefix_ranges
    lengths = [one.prefix_len.value for one in ranges if in_ranges(source, [one])]
    return max(lengths, default=-1 if ranges else 0)


def _ranges(chain: FilterChain) -> str:
    found = [f"{one.address_prefix}/{one.prefix_len.value}" for one in chain.filter_chain_match.source_prefix_ranges]
    return ", ".join(found) or "all other ranges"


def _narrow_to_wide(host: str) -> Iterator[str]:
    """The host itself, then the wildcards over it, the longest first."""
    yield host
    labels = host.split(".")
    for number in range(1, len(labels)):
        yield "*." + ".".join(labels[number:])


def _arriving(manager: Manager, request: Request) -> tuple[Request, str]:
    """The request after what the connection manager does to it, and why it refuses it."""
    path = request.path
    strict = manager.common_http_protocol_options.headers_with_underscores_action == HttpProtocolOptions.REJECT_REQUEST
    if strict and any("_" in name for name in request.headers):
        return request, "the name of a header has an underscore"
    if manager.path_with_escaped_slashes_action == Manager.REJECT_REQUEST and has_escaped_slash(path):
        return request, "the path has an escaped slash"
    if manager.normalize_path.value:
        if "%00" in path.partition("?")[0]:
            return request, "the path has an escaped zero byte"
        path = normal_path(path)
    if manager.merge_slashes:
        path = without_double_slashes(path)
    host = request.host.removesuffix(".") if manager.strip_trailing_host_dot else request.host
    return replace(request, path=path, host=host, headers=_early(manager, request)), ""


def _table_of(manager: Manager, request: Request, tables: Tables) -> str:
    """The name of the table: the manager's one, or that of the scope whose key is in the request."""
    if not manager.HasField("scoped_routes"):
        return manager.rds.route_config_name
    fragments = manager.scoped_routes.scope_key_builder.fragments
    found = (request.headers.get(one.header_value_extractor.name, ("",)) for one in fragments)
    return tables.scopes.get("".join(values[0] for values in found), "")


def _early(manager: Manager, request: Request) -> dict[str, tuple[str, ...]]:
    """The headers that routes see."""
    headers = dict(request.headers)
    for extension in manager.early_header_mutation_extensions:
        config = unpacked(extension.typed_config, HeaderMutation)
        for one in config.mutations if config else ():
            if one.remove:
                headers.pop(one.remove.lower(), None)
            elif one.HasField("remove_on_match"):
                matcher = one.remove_on_match.key_matcher
                headers = {name: value for name, value in headers.items() if not fits(matcher, name)}
            elif one.HasField("append"):
                _append(headers, one.append, request.peer, request.host)
    return headers


def _append(headers: dict[str, tuple[str, ...]], option: HeaderValueOption, peer: str, host: str) -> None:
    name, value = option.header.key.lower(), option.header.value.replace(_PEER, peer)
    value = _BIT.sub(lambda bit: "01"[not re.search(bit[1].replace("\\\\", "\\"), host)], value).replace("%%", "%")
    if name not in headers or option.append_action == HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD:
        headers[name] = (value,)
    elif option.append_action == HeaderValueOption.APPEND_IF_EXISTS_OR_ADD:
        headers[name] = (*headers[name], value)


def _host_for(table: RouteConfiguration, host: str) -> tuple[str, VirtualHost] | None:
    by_domain = {domain.lower(): one for one in table.virtual_hosts for domain in one.domains}
    names = (*_narrow_to_wide(host.partition(":")[0]), "*")
    return next(((name, by_domain[name]) for name in names if name in by_domain), None)


def _in_host(answer: Answer, host: VirtualHost, manager: Manager, request: Request) -> Answer:
    tried: list[Tried] = []
    shares: list[Share] = []
    taken = 0
    for route in host.routes:
        reason = why_not(route.match, request)
        if reason:
            tried.append(Tried(route.name, reason))
            continue
        bound = route.match.runtime_fraction.default_value.numerator if _is_share(route) else MILLION
        if bound > taken:
            shares.append(Share(route, bound - taken))
            taken = bound
        if taken >= MILLION:
            break
    answer = replace(answer, tried=tuple(tried), shares=tuple(shares))
    if not shares:
        return replace(answer, refusal=f"no route of {answer.host} fits", status=404)
    filters = tuple(_filters(manager, [one.route for one in shares]))
    decided = tuple(replace(one, verdicts=verdicts(manager, one.route, request)) for one in shares)
    return replace(answer, filters=filters, shares=decided)


def _is_share(route: Route) -> bool:
    return route.match.HasField("runtime_fraction")


def _filters(manager: Manager, routes: Sequence[Route]) -> Iterable[str]:
    """The filters that see a request: those of the listener, and those that a route switches on."""
    for one in manager.http_filters:
        if any(is_on(one, route) for route in routes):
            yield one.name
