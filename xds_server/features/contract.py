"""What a policy feature is: the one interface between a feature file and the rooms around it.

A feature file holds a spec class (what may be written), a frozen value class (what is meant) and one
`Feature`. `attach/` turns the spec into the value with `resolve`; `translate/` calls the other hooks with
values. Hooks do nothing unless overridden. A feature reads no other feature and decides no attachment.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from pydantic import JsonValue

from xds_server.envoy_api.envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from xds_server.envoy_api.envoy.config.cluster.v3.cluster_pb2 import Cluster
from xds_server.envoy_api.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from xds_server.envoy_api.envoy.config.listener.v3.listener_components_pb2 import FilterChain
from xds_server.envoy_api.envoy.config.listener.v3.listener_pb2 import Listener
from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route, VirtualHost, WeightedCluster
from xds_server.envoy_api.envoy.extensions.filters.http.router.v3.router_pb2 import Router
from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from xds_server.envoy_api.envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from xds_server.envoy_api.envoy.extensions.filters.udp.udp_proxy.v3.udp_proxy_pb2 import UdpProxyConfig
from xds_server.envoy_api.envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext
from xds_server.envoy_api.envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from xds_server.graph import Backend, Endpoint, Redirect, Respond, SecretValue, Setting
from xds_server.types import CodeFile, Fetched, Path, Secret

SpecT = TypeVar("SpecT")
ValueT = TypeVar("ValueT")
Transport = Literal["http", "tcp", "udp"]
"""Traffic: requests, connections that nobody looks into, datagrams."""


class Reference(Protocol):
    """A reference to a Service or a Backend."""

    @property
    def group(self) -> str:
        """API group."""

    @property
    def kind(self) -> str:
        """Kind."""

    @property
    def name(self) -> str:
        """Name."""

    @property
    def namespace(self) -> str | None:
        """Namespace; None is that of the object that refers."""

    @property
    def port(self) -> int | None:
        """Port; a Service needs one."""


class Context(Protocol):
    """What a feature may ask and say while its spec gets its meaning. Paths are relative to the feature's own spec."""

    def problem(self, code: str, *path: str | int, hint: str = "", **words: object) -> None:
        """Report a diagnostic at a place below the spec. An error makes the whole policy invalid."""

    def config_map(self, name: str, namespace: str | None, *path: str | int) -> dict[str, str] | None:
        """The data of a ConfigMap, or None after having reported why there is none (missing, no grant)."""

    def secret(self, name: str, namespace: str | None, *path: str | int) -> dict[str, Secret] | None:
        """The data of a Secret, or None after having reported why there is none."""

    def backend(self, ref: Reference, *path: str | int, needed: bool = True) -> Backend | None:
        """What a backendRef leads to, or None after having reported why nowhere: an error, a warning if not `needed`."""

    def cluster_settings(self, written: JsonValue, *path: str | int) -> tuple[Setting, ...] | None:
        """What `backendSettings` mean, in the words of a BackendTrafficPolicy; None if a problem was reported."""

    def location_databases(self) -> Mapping[str, str]:
        """Files, on Envoys' machines, that tell where addresses are, by what they tell."""

    def log_folders(self) -> Sequence[str]:
        """Folders, on Envoys' machines, in which access logs may be written."""

    def module_folders(self) -> Sequence[str]:
        """Folders, on Envoys' machines, right in which native modules may be."""

    def code_file(self, name: str, *path: str | int) -> CodeFile | None:
        """A module of WebAssembly by its place beside the file that holds the spec, or None after having reported why not."""

    def may_extend(self, *path: str | int) -> bool:
        """True if whoever wrote what stands at a place may run code in Envoys."""

    def namespace(self, *path: str | int) -> str:
        """The namespace of whoever wrote what stands at a place."""

    def unreachable(self, endpoints: Sequence[Endpoint]) -> str:
        """Why Envoys may not be led to these endpoints, as no Backend may lead them there; empty if they may."""

    def document(self, url: str) -> Fetched | None:
        """A document of the web as it is known now; None if it was not asked for yet. From now on it is wanted."""

    @property
    def owner(self) -> str:
        """`NAMESPACE/NAME` of the policy or route that carries the spec; for stable names."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Whose connections are let in: (first address, length of prefix). Of several ranges the longest decides."""

    allowed: tuple[tuple[str, int], ...]
    refused: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Idle:
    """A setting does nothing where it is, for this reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A setting cannot be kept where it is, for this reason: what it covers there is closed. `path` is below its spec."""

    reason: str
    path: Path = ()


@dataclass(slots=True)
class ClusterParts:
    """The messages of one cluster while it is built. `http` is packed into the cluster afterwards."""

    cluster: Cluster
    http: HttpProtocolOptions


class Feature(Generic[SpecT, ValueT]):
    """One policy feature.

    `carriers` says where its spec is written, as (kind, field) pairs: ("SecurityPolicy", "jwt"). For the
    filters and fields of routes the kind is "HTTPRoute.filter" (field: the filter's field, such as
    "requestHeaderModifier") or "HTTPRoute.rule" ("timeouts").
    """

    name: ClassVar[str]
    carriers: ClassVar[tuple[tuple[str, str], ...]]
    filter_name: ClassVar[str] = ""
    """Name of its HTTP filter, which sits in every chain, disabled; empty if it has none."""
    chain_follows_routes: ClassVar[bool] = False
    """True if the filter's configuration in the chain depends on the routes' values (as JWT providers do)."""
    guards: ClassVar[bool] = False
    """True if it refuses requests of people who are not let in: losing it is worth a warning."""

    runs_code: ClassVar[bool] = False
    """True if its filters run code that only Envoy reads, which may refuse a listener for it (`chain_follows_routes`)."""
    reads_requests: ClassVar[bool] = False
    """True if its filters may show all headers of a request to somebody, or change the host that it is for."""
    counts: ClassVar[bool] = False
    """True if Envoy counts something for each route that carries its setting: two copies of a route would count apart."""
    transports: ClassVar[tuple[Transport, ...]] = ("http",)
    """The traffic that it works on. What a feature `guards` and cannot check is refused."""
    finds_clients: ClassVar[bool] = False
    """True if it says whose address is the client's behind proxies: there is one such word for a listener."""
    needs_tls: ClassVar[bool] = False
    """True if it means nothing for listeners where no TLS ends."""

    def resolve(self, spec: SpecT, context: Context) -> ValueT | None:
        """The meaning of a spec; None when a problem was reported, or when there is nothing to do."""
        raise NotImplementedError

    def action(self, value: ValueT) -> Respond | Redirect | None:
        """What the gateway answers by itself instead of forwarding, if the value says so."""
        return None

    def http_filter(self, values: Sequence[ValueT]) -> Message | None:
        """The filter's configuration in a chain whose routes hold these different values."""
        return None

    def http_filters(self, values: Sequence[ValueT]) -> Sequence[tuple[str, Message]]:
        """The filters of a chain by name, in their order. Most features have the one of `http_filter`.

        `values` are those of the chain's routes; none if `chain_follows_routes` is False.
        """
        config = self.http_filter(values) if self.filter_name else None
        return () if config is None else ((self.filter_name, config),)

    def chain(self, value: ValueT, manager: HttpConnectionManager) -> None:
        """Change a listener's connection manager (listener-wide features)."""

    def router(self, value: ValueT, router: Router, chain: str) -> None:
        """Change the last filter of a listener's chain of this name."""

    def filter_chain(self, value: ValueT, chain: FilterChain) -> None:
        """Change a listener's chain once its filters and its TLS are there."""

    def downstream_tls(self, value: ValueT, context: DownstreamTlsContext) -> None:
        """Change the TLS of a listener."""

    def checks_clients(self, value: ValueT) -> bool:
        """True if the value says which certificates clients must show."""
        return False

    def takes_any_certificate(self, value: ValueT) -> bool:
        """True if clients may show certificates that nobody vouches for: what is written in them proves nothing."""
        return False

    def believes_certificates(self, value: ValueT) -> bool:
        """True if it goes by what certificates of clients say, which must have been verified therefore."""
        return False

    def believes_only(self, value: ValueT) -> Sequence[tuple[str, int]]:
        """Address ranges whose connections alone the value counts for; none: for all. Others are served without it."""
        return ()

    def within(self, value: ValueT, wide: ValueT | None) -> ValueT | Idle | Refused:
        """A policy's value for a route of a Gateway whose EnvoyProxy says `wide`, or why it does nothing, or closes, there."""
        return value

    def chooses_again(self, value: ValueT) -> bool:
        """True if its filters have the route of a request chosen anew, after headers that they have changed."""
        return False

    def port_wide(self, value: ValueT) -> Hashable:
        """What the value wants of the port as a whole, which all of its listeners share; None if nothing."""
        return None

    def listener(self, value: ValueT, listener: Listener) -> None:
        """Change the Envoy listener of a port. Only called for values that `port_wide` or `place` gives something for."""

    def place(self, value: ValueT) -> tuple[str, int] | None:
        """An address and a port at which an Envoy answers for the value itself; `listener` says what (EnvoyProxies)."""
        return None

    def quic(self, value: ValueT) -> bool:
        """True if the listener is to be served over QUIC, too (HTTP/3)."""
        return False

    def no_quic(self, value: ValueT) -> str:
        """Why a listener with this value cannot be served over QUIC; empty if it can."""
        return ""

    def route(self, value: ValueT, route: Route) -> None:
        """Change a route, whatever its action is; most often `enable(route, self.filter_name, config)`."""

    def virtual_host(self, value: ValueT, host: VirtualHost) -> None:
        """Change the virtual hosts of a listener (listener-wide features)."""

    def fits_share(self, value: ValueT) -> bool:
        """True if `share` can do it: a value on one backendRef that cannot gives its share a route of its own."""
        return False

    def share(self, value: ValueT, weight: WeightedCluster.ClusterWeight) -> None:
        """Change the share of one destination of a route."""

    def touches_cluster(self, value: ValueT) -> bool:
        """True if `cluster` does anything: such a value gives its route a cluster of its own."""
        return False

    def cluster(self, value: ValueT, parts: ClusterParts) -> None:
        """Change the cluster of every destination of the route."""

    def cluster_problem(self, value: ValueT, parts: ClusterParts) -> str:
        """Why this cannot be done for such a cluster, which is then left out; empty if it can."""
        return ""

    def endpoints(self, value: ValueT, assignment: ClusterLoadAssignment) -> None:
        """Change the endpoints of every destination of the route (`touches_cluster` must be True)."""

    def unfit(self, spec: SpecT, transport: Transport) -> Sequence[Path]:
        """The fields that are set and mean nothing for this traffic; the empty path stands for all of the spec."""
        return () if transport in self.transports else ((),)

    def keeps(self, value: ValueT, transport: Transport) -> bool:
        """True if the value can be kept for this traffic. Where a guard cannot, nothing is let in."""
        return transport in self.transports

    def sources(self, value: ValueT) -> Sources | None:
        """Whose connections a chain lets in; None for all. Requests are never asked this."""
        return None

    def tcp(self, value: ValueT, proxy: TcpProxy) -> None:
        """Change how the connections of a chain are forwarded."""

    def udp(self, value: ValueT, proxy: UdpProxyConfig) -> None:
        """Change how the datagrams of a port are forwarded."""

    def backends(self, value: ValueT) -> Sequence[Backend]:
        """Further backends that the value needs (a JWKS server, who gets logs); each becomes a cluster of its name."""
        return ()

    def fixed_backends(self, value: ValueT) -> Sequence[Backend]:
        """Those of `backends` that an Envoy must know when it starts, as clusters of the name `fixed_name`."""
        return ()

    def bootstrap(self, value: ValueT, bootstrap: Bootstrap) -> None:
        """Change what an Envoy starts with (values of EnvoyProxies)."""

    def secrets(self, value: ValueT) -> Sequence[SecretValue]:
        """Secrets that the filters of the value ask for by name (`chain_follows_routes` must be True)."""
        return ()


AnyFeature = Feature[Any, Any]


def fixed_name(backend: Backend) -> str:
    """The name of the cluster of a backend that an Envoy knows when it starts."""
    return f"fixed/{backend.name}"


def pack(message: Message) -> AnyMessage:
    """The message inside an Any, serialised so that equal messages have equal bytes."""
    packed = AnyMessage()
    packed.Pack(message, deterministic=True)
    return packed


def enable(route: Route, filter_name: str, config: Message) -> None:
    """Switch a filter on for one route, with this configuration."""
    route.typed_per_filter_config[filter_name].CopyFrom(pack(config))
