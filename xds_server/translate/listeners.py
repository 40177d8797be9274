"""Ports and chains -> Envoy listeners with their connection managers, or their proxies of streams.

In: a `graph.Port` and the features. Out: a `Listener`. Every filter of every feature sits in every chain, switched
off, in the order of the features; a route switches its own on. The rest is what Envoy's guide to edge proxies asks:
clients are not trusted to name their address, escaped slashes and underscores in header names are refused, paths are
normalised, headers that speak to Envoy (`x-envoy-*`) have no effect, buffers and times are bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

from google.protobuf.message import Message

from xds_server.envoy_api.envoy.config.accesslog.v3.accesslog_pb2 import AccessLogFilter, ResponseFlagFilter
from xds_server.envoy_api.envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import (
    HeaderMutation as EarlyMutation,
)
from xds_server.envoy_api.envoy.config.core.v3.protocol_pb2 import HttpProtocolOptions
from xds_server.envoy_api.envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain, ListenerFilter
from xds_server.envoy_api.envoy.config.listener.v3.listener_pb2 import Listener
from xds_server.envoy_api.envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation,
    Mutations,
)
from xds_server.envoy_api.envoy.extensions.filters.http.on_demand.v3.on_demand_pb2 import OnDemand
from xds_server.envoy_api.envoy.extensions.filters.http.router.v3.router_pb2 import Router
from xds_server.envoy_api.envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 import TlsInspector
from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
)
from xds_server.envoy_api.envoy.extensions.http.early_header_mutation.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation as EarlyHeaderMutation,
)
from xds_server.envoy_api.envoy.type.matcher.v3.string_pb2 import StringMatcher
from xds_server.features.contract import AnyFeature, pack
from xds_server.features.parts.headers import OVERWRITE, option
from xds_server.features.parts.values import ads, duration, uint32
from xds_server.graph import Chain, HttpChain, Port, Setting, StreamChain
from xds_server.translate.believed import by_belief
from xds_server.translate.endpoints import address
from xds_server.translate.message import Translated
from xds_server.translate.names import names_filter
from xds_server.translate.routes import CLUSTER, chain_values, table_name
from xds_server.translate.scopes import part_names, set_scopes
from xds_server.translate.streams import by_source, tcp_chain, udp_filter
from xds_server.translate.tls import SECRET, downstream_socket, listener_values
from xds_server.types import Origin

ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
SCOPES = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"
MARKS = "cellway.dev/infrastructure"
_ALTERNATIVE_LIFETIME = 86_400
_BUFFER = 32 * 1024
_STREAMS = 100
_STREAM_WINDOW = 64 * 1024
_CONNECTION_WINDOW = 1024 * 1024
_TLS_TIMEOUT = 10.0
_INSPECTION_TIMEOUT = 5.0
_IDLE_CONNECTION = 3600.0
_IDLE_STREAM = 300.0
_HEADERS_TIMEOUT = 10.0
_HEADERS_SIZE = 60  # KiB
_HEADERS_COUNT = 100
_ACCEPTED_AT_ONCE = 1
_CLOSE_TIMEOUT = 1.0
Manager = HttpConnectionManager


def sockets(port: Port) -> tuple[Port, ...]:
    """What becomes one Envoy listener each: a TCP port as it is, a UDP port by address.

    When the addresses of a UDP listener change, Envoy keeps the old sockets open while the old listener drains, and the
    kernel goes on to give them a share of the datagrams. A listener of one address never changes it.
    """
    if port.transport == "tcp":
        return (port,)
    return tuple(replace(port, name=f"{port.name}/{one}", addresses=(one,)) for one in port.addresses)


def translate_listener(port: Port, features: Sequence[AnyFeature], clusters: AbstractSet[str]) -> Translated:
    """The listener of a port, on all its addresses. `clusters` are the names of those that exist."""
    listener = Listener(name=port.name, address=address(port.addresses[0], port.port, port.transport))
    for more in port.addresses[1:]:
        listener.additional_addresses.add(address=address(more, port.port, port.transport))
    listener.per_connection_buffer_limit_bytes.CopyFrom(uint32(_BUFFER))
    if port.tls:
        config = pack(TlsInspector())
        listener.listener_filters.append(
            ListenerFilter(name="envoy.filters.listener.tls_inspector", typed_config=config)
        )
    if port.transport == "tcp":
        listener.listener_filters_timeout.CopyFrom(duration(_INSPECTION_TIMEOUT))
        listener.max_connections_to_accept_per_socket_event.CopyFrom(uint32(_ACCEPTED_AT_ONCE))
    if port.names is not None:
        listener.udp_listener_config.SetInParent()
        listener.listener_filters.append(names_filter(port))
    for chain in port.chains:
        if port.transport == "udp" and isinstance(chain, StreamChain):
            listener.udp_listener_config.SetInParent()
            listener.listener_filters.append(udp_filter(chain, features, clusters))
        else:
            listener.filter_chains.extend(_filter_chains(chain, port, features, clusters))
    for feature in features:
        for setting in port.settings:
            if setting.feature == feature.name:
                feature.listener(setting.value, listener)
    needs = listener_needs(port.chains, features, clusters, port.settings)
    return Translated(
        port.name, listener, (*port.origins, *listener_origins(port.chains, features)), needs, ttl=port.ttl
    )


def listener_origins(chains: Iterable[Chain], features: Sequence[AnyFeature]) -> tuple[Origin, ...]:
    """The documents behind a listener with these chains. Of routes only those whose code Envoy may refuse it for."""
    runners = {one.name for one in features if one.runs_code}
    origins: dict[Origin, None] = {}
    for chain in chains:
        origins.update(dict.fromkeys((*chain.origins, *(one for item in chain.settings for one in item.origins))))
        if isinstance(chain, StreamChain):
            origins.update(dict.fromkeys(chain.route.origins))
        elif running := runners & chain.values.keys():
            for host in chain.hosts:
                routes = host.routes if running & host.values.keys() else ()
                settings = (one for route in routes for one in route.settings if one.feature in running)
                origins.update(dict.fromkeys(origin for one in settings for origin in one.origins))
    return tuple(origins)


def listener_needs(
    chains: Iterable[Chain],
    features: Sequence[AnyFeature],
    clusters: AbstractSet[str],
    settings: Sequence[Setting] = (),
) -> tuple[tuple[str, str], ...]:
    """The resources that a listener with these chains, and these settings of its port, refers to."""
    needs = {one for chain in chains for one in (*_needs(chain, features), *_asked(chain.settings, features))}
    needs.update(_asked(settings, features))
    return tuple(sorted(one for one in needs if one[0] != CLUSTER or one[1] in clusters))


def set_marks(listener: Message, marks: Mapping[str, Mapping[str, str]]) -> None:
    """Write labels and annotations into a listener's metadata, where access logs and configuration dumps find them."""
    assert isinstance(listener, Listener)
    if any(marks.values()):
        listener.metadata.filter_metadata[MARKS].update({name: dict(texts) for name, texts in marks.items()})


def _filter_chains(
    chain: Chain, port: Port, features: Sequence[AnyFeature], clusters: AbstractSet[str]
) -> list[FilterChain]:
    """One chain, or several where the address of a connection makes a difference."""
    if isinstance(chain, StreamChain):
        return by_source(_filter_chain(chain, port, features, clusters), chain, features)
    return [one.mark(_filter_chain(one.chain, port, features, clusters)) for one in by_belief(chain, features)]


def _filter_chain(chain: Chain, port: Port, features: Sequence[AnyFeature], clusters: AbstractSet[str]) -> FilterChain:
    if isinstance(chain, StreamChain):
        built = tcp_chain(chain, features, clusters)
    else:
        manager = connection_manager(chain, features)
        if chain.quic:
            manager.http_filters.insert(0, _alternative(port))
        config = pack(manager)
        built = FilterChain(name=chain.name)
        built.filters.append(Filter(name="envoy.filters.network.http_connection_manager", typed_config=config))
    if port.tls:
        built.filter_chain_match.transport_protocol = "tls"
        built.filter_chain_match.server_names.extend(chain.server_names)
    if port.tls and chain.certificates:
        built.transport_socket.CopyFrom(downstream_socket(chain, features))
        built.transport_socket_connect_timeout.CopyFrom(duration(_TLS_TIMEOUT))
    for feature in features:
        for value in listener_values(chain, feature):
            feature.filter_chain(value, built)
    return built


def _alternative(port: Port) -> HttpFilter:
    """A filter that tells clients on TCP of the UDP listener (RFC 7838)."""
    mutations = Mutations()
    mutations.response_mutations.add(
        append=option("alt-svc", f'h3=":{port.port}"; ma={_ALTERNATIVE_LIFETIME}', OVERWRITE)
    )
    return HttpFilter(name="cellway.alt-svc", typed_config=pack(HeaderMutation(mutations=mutations)))


def _needs(chain: Chain, features: Sequence[AnyFeature]) -> list[tuple[str, str]]:
    """The resources that a chain refers to: its routes, its certificates, clusters in its filters."""
    found = [(SECRET, certificate.name) for certificate in chain.certificates]
    if isinstance(chain, StreamChain):
        return found + [(CLUSTER, share.cluster) for share in chain.route.destinations]
    table = table_name(chain, features)
    if chain.spread:
        found += [(kind, name) for name in part_names(table) for kind in (SCOPES, ROUTES)]
    else:
        found.append((ROUTES, table))
    found += [(SECRET, chain.validation.name)] if chain.validation else []
    for feature in features:
        if feature.chain_follows_routes:
            for value in chain_values(chain, feature):
                found += [(CLUSTER, backend.name) for backend in feature.backends(value)]
                found += [(SECRET, secret.name) for secret in feature.secrets(value)]
    return found


def _asked(settings: Iterable[Setting], features: Sequence[AnyFeature]) -> list[tuple[str, str]]:
    """The clusters of those whom listener-wide settings call."""
    by_name = {feature.name: feature for feature in features}
    return [
        (CLUSTER, backend.name)
        for setting in settings
        if setting.feature in by_name
        for backend in by_name[setting.feature].backends(setting.value)
    ]


def connection_manager(chain: HttpChain, features: Sequence[AnyFeature]) -> HttpConnectionManager:
    """The HTTP connection manager of a chain."""
    manager = HttpConnectionManager(
        codec_type=Manager.AUTO,
        stat_prefix=chain.name,
        server_header_transformation=Manager.PASS_THROUGH,
        forward_client_cert_details=Manager.SANITIZE,
        merge_slashes=True,
        path_with_escaped_slashes_action=Manager.REJECT_REQUEST,
        strip_trailing_host_dot=True,
        xff_num_trusted_hops=0,
    )
    if not chain.spread:
        manager.rds.route_config_name = table_name(chain, features)
        manager.rds.config_source.CopyFrom(ads())
    manager.normalize_path.value = True
    manager.use_remote_address.value = True
    # Nobody may steer Envoy by x-envoy-* headers, so no client is "internal". Without any range Envoy would take all
    # private addresses for internal ones; the broadcast address is no client's.
    manager.internal_address_config.cidr_ranges.add(address_prefix="255.255.255.255", prefix_len=uint32(32))
    _remove_words_of_envoy(manager)
    _set_limits(manager)
    for kind in ("websocket", "CONNECT"):
        # CONNECT reaches only routes that match it; without it no such route could answer.
        manager.upgrade_configs.add(upgrade_type=kind)
    _mark_overload(manager)
    _add_filters(manager, chain, features)
    if chain.spread:
        set_scopes(manager, table_name(chain, features))
    return manager


def _remove_words_of_envoy(manager: HttpConnectionManager) -> None:
    """Envoy removes most `x-envoy-*` headers of strangers; access logs and backends would believe the others."""
    words = StringMatcher(prefix="x-envoy-")
    mutation = EarlyMutation(remove_on_match=EarlyMutation.RemoveOnMatch(key_matcher=words))
    config = pack(EarlyHeaderMutation(mutations=[mutation]))
    manager.early_header_mutation_extensions.add(name="cellway.words-of-envoy", typed_config=config)


def _set_limits(manager: HttpConnectionManager) -> None:
    common = manager.common_http_protocol_options
    common.headers_with_underscores_action = HttpProtocolOptions.REJECT_REQUEST
    common.idle_timeout.CopyFrom(duration(_IDLE_CONNECTION))
    common.max_headers_count.CopyFrom(uint32(_HEADERS_COUNT))
    manager.max_request_headers_kb.CopyFrom(uint32(_HEADERS_SIZE))
    manager.stream_idle_timeout.CopyFrom(duration(_IDLE_STREAM))
    manager.request_headers_timeout.CopyFrom(duration(_HEADERS_TIMEOUT))
    manager.delayed_close_timeout.CopyFrom(duration(_CLOSE_TIMEOUT))
    http2 = manager.http2_protocol_options
    http2.allow_connect = True
    http2.max_concurrent_streams.CopyFrom(uint32(_STREAMS))
    http2.initial_stream_window_size.CopyFrom(uint32(_STREAM_WINDOW))
    http2.initial_connection_window_size.CopyFrom(uint32(_CONNECTION_WINDOW))


def _mark_overload(manager: HttpConnectionManager) -> None:
    """Say that a circuit breaker answered. The router would, but it says nothing of Envoy (see `_add_filters`)."""
    overflow = AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=["UO"]))
    header = option("x-envoy-overloaded", "true", OVERWRITE)
    manager.local_reply_config.mappers.add(filter=overflow, headers_to_add=[header])


def _add_filters(manager: HttpConnectionManager, chain: HttpChain, features: Sequence[AnyFeature]) -> None:
    if chain.on_demand:
        # First, so that every other filter sees the route: it holds a request until its virtual host has come.
        manager.http_filters.add(name="envoy.filters.http.on_demand", typed_config=pack(OnDemand()))
    for feature in features:
        for name, config in feature.http_filters(chain_values(chain, feature)):
            manager.http_filters.add(name=name, typed_config=pack(config), disabled=True)
        for value in listener_values(chain, feature):
            feature.chain(value, manager)
    router = Router(suppress_envoy_headers=True)
    for feature in features:
        for value in listener_values(chain, feature):
            feature.router(value, router, chain.name)
    manager.http_filters.add(name="envoy.filters.http.router", typed_config=pack(router))
