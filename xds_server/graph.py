"""The resolved graph: what every gateway shall do, with all references followed and all conflicts decided.

In (from `attach/`): frozen values. Out (to `translate/`): the same. It holds the structure of traffic
(gateway, listener, virtual host, route, backend) and no field of any policy feature: those hang on it as
`Setting`s, which only their own feature can read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Literal

from xds_server.types import Key, Origin, Secret


class PathType(StrEnum):
    """How a path is compared. A prefix is element-wise: `/v1` fits `/v1` and `/v1/x`, not `/v12`."""

    EXACT = "Exact"
    PREFIX = "PathPrefix"
    REGEX = "RegularExpression"


@dataclass(frozen=True, slots=True, order=True)
class ValueMatch:
    """A header, a query parameter or a cookie that a request must have."""

    name: str
    value: str
    regex: bool = False


@dataclass(frozen=True, slots=True)
class Match:
    """What a request must look like. `method` CONNECT stands for CONNECT requests, which have no path.

    `below` takes a share of the requests: those whose random number, of a million, is below it. All routes that a
    request meets compare the same number, so routes with growing bounds divide the requests among them.
    """

    path_type: PathType = PathType.PREFIX
    path: str = "/"
    method: str = ""
    headers: tuple[ValueMatch, ...] = ()
    query: tuple[ValueMatch, ...] = ()
    below: int | None = None
    cookies: tuple[ValueMatch, ...] = ()


@dataclass(frozen=True, slots=True)
class Setting:
    """What one feature shall do here. `value` is the feature's own frozen type; `origins` who asked for it."""

    feature: str
    value: object
    origins: tuple[Origin, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of a backend: an IP address or a name with a port, or the path of a Unix socket, which begins with `/`.

    `hostname` is what probes and Host rewrites use; `zone` its locality. `weight` is relative to the other endpoints of
    the backend. Endpoints with a higher `priority` are used when too many of the lower ones are ill.
    """

    address: str
    port: int
    zone: str = ""
    hostname: str = ""
    weight: int = 1
    priority: int = 0


@dataclass(frozen=True, slots=True)
class AltName:
    """A subject alternative name of a certificate: a DNS name or a URI."""

    type: Literal["DNS", "URI"]
    value: str


@dataclass(frozen=True, slots=True)
class BackendTls:
    """TLS to a backend. `sni` is sent, `san` must be in its certificate. Empty `ca`: the system's authorities.

    Where there are `alternatives`, one of them must be in the certificate, and not `san`. With `by_endpoint` the hostname
    of the endpoint is sent, and must be in its certificate. Not `verified`: any certificate will do. `client` is shown to
    the backend, in place of what the gateway shows. `versions` are the oldest and the newest, `protocols` what ALPN offers,
    `ciphers`, `curves` and `signatures` the algorithms; empty: what is usual.
    """

    sni: str = ""
    san: str = ""
    ca: str = ""
    alternatives: tuple[AltName, ...] = ()
    by_endpoint: bool = False
    verified: bool = True
    client: Certificate | None = None
    versions: tuple[str, str] = ("", "")
    protocols: tuple[str, ...] = ()
    ciphers: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()
    signatures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Backend:
    """Where requests go: either endpoints with IP addresses, or DNS names (`dns` True), never mixed.

    `name` is unique in its organisation and is shown in Envoy's stats. `protocol` is spoken to it; `tcp` and `udp`
    stand for bytes that nobody looks into. `settings` are those of a service that filters call: its cluster's.
    With `lookups` there are no endpoints: each request names its own, by DNS, which must not lead inside except to these
    ranges.
    """

    name: str
    endpoints: tuple[Endpoint, ...]
    dns: bool = False
    protocol: Literal["http1", "h2c", "tcp", "udp"] = "http1"
    tls: BackendTls | None = None
    origins: tuple[Origin, ...] = field(default=(), compare=False)
    settings: tuple[Setting, ...] = ()
    lookups: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Destination:
    """A backend's share of a route.

    `backend` None stands for a reference that cannot be followed: its share is answered with `error_status`.
    `cluster` names the Envoy cluster: equal names have equal backends and equal cluster settings. `settings` are for
    this share alone.
    """

    cluster: str
    backend: Backend | None
    weight: int = 1
    error_status: int = 500
    settings: tuple[Setting, ...] = ()


@dataclass(frozen=True, slots=True)
class Mirror:
    """A copy of requests, whose answer nobody waits for: of `numerator` in `denominator` (100, 10,000 or a million)."""

    cluster: str
    backend: Backend
    numerator: int = 100
    denominator: int = 100


@dataclass(frozen=True, slots=True)
class Forward:
    """Send to one of the destinations by weight, and copies to all mirrors."""

    destinations: tuple[Destination, ...]
    mirrors: tuple[Mirror, ...] = ()


@dataclass(frozen=True, slots=True)
class Respond:
    """Answer at the gateway. A broken security policy, for instance, is `Respond(500)`."""

    status: int
    body: str = ""
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class Redirect:
    """Send the client elsewhere. None keeps that part of the request's URL. At most one of the two paths is set."""

    status: int = 302
    scheme: str | None = None
    hostname: str | None = None
    port: int | None = None
    path: str | None = None
    prefix: str | None = None


@dataclass(frozen=True, slots=True)
class Covering:
    """A policy that is attached to a route or to what is above it, at `place`. `counts`: it has a say here.

    `fields` are the names of what it sets; `broken` why nothing of it can be kept, so that what it covers is closed.
    """

    key: Key
    place: str
    counts: bool
    fields: tuple[str, ...] = ()
    broken: str = ""
    origins: tuple[Origin, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """One match of one rule. `name` is stable and for people: `httproute/NAMESPACE/NAME/rule/0/match/0`.

    `policies` says who was asked about it, the nearest of each kind first; what follows from that are its settings.
    """

    name: str
    match: Match
    action: Forward | Respond | Redirect
    settings: tuple[Setting, ...] = ()
    origins: tuple[Origin, ...] = field(default=(), compare=False)
    policies: tuple[Covering, ...] = field(default=(), compare=False)

    def setting(self, feature: str) -> Setting | None:
        """The setting of one feature, if it has one here."""
        return next((item for item in self.settings if item.feature == feature), None)


@dataclass(frozen=True)
class VirtualHost:
    """The routes of one hostname (`*` for any, `*.example.com` for subdomains), most specific first.

    `aliases` are further hostnames with the very same routes: what a route counts, it counts for all of them.
    """

    hostname: str
    routes: tuple[Route, ...]
    aliases: tuple[str, ...] = ()

    @cached_property
    def values(self) -> Mapping[str, Mapping[object, None]]:
        """The different values of each feature on its routes, in the order of the routes."""
        found: dict[str, dict[object, None]] = {}
        for route in self.routes:
            for one in route.settings:
                found.setdefault(one.feature, {})[one.value] = None
        return found


@dataclass(frozen=True, slots=True)
class Certificate:
    """A server certificate. `name` is the name of the secret resource; chain and key are PEM."""

    name: str
    chain: bytes
    key: bytes = field(repr=False)
    origins: tuple[Origin, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class ClientValidation:
    """Which certificates clients must show. `ca` is PEM, in the secret `name`; `insecure`: any, or none, will do."""

    name: str
    ca: str
    insecure: bool = False
    origins: tuple[Origin, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class SecretValue:
    """A secret that a filter asks for by name: no resource but the secret of this name holds it."""

    name: str
    value: Secret


@dataclass(frozen=True)
class HttpChain:
    """One HTTP or HTTPS filter chain and its route table.

    Listeners without TLS that share a port are one chain; with TLS each listener is a chain of its own, picked
    by SNI (`server_names`; empty: any). `name` names its route configuration and is part of its stats prefix.
    `on_demand`: an Envoy gets a virtual host when a request for it comes; `spread`: its hosts are in several route tables.
    `settings` are listener-wide features. `validation` is what clients must show; with `quic` the chain is served over
    UDP, too (HTTP/3).
    """

    name: str
    hosts: tuple[VirtualHost, ...]
    server_names: tuple[str, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    settings: tuple[Setting, ...] = ()
    origins: tuple[Origin, ...] = field(default=(), compare=False)
    on_demand: bool = False
    spread: bool = False
    validation: ClientValidation | None = None
    quic: bool = False
    policies: tuple[Covering, ...] = field(default=(), compare=False)
    known: Mapping[str, Mapping[object, None]] | None = field(default=None, compare=False, repr=False)
    """The values of the features that chains follow, where they are known already."""

    @cached_property
    def values(self) -> Mapping[str, Mapping[object, None]]:
        """The different values of each feature on its routes, in the order of hosts and routes."""
        if self.known is not None:
            return self.known
        found: dict[str, dict[object, None]] = {}
        for host in self.hosts:
            for feature, values in host.values.items():
                found.setdefault(feature, {}).update(values)
        return found


@dataclass(frozen=True, slots=True)
class StreamRoute:
    """Where connections or datagrams go, whatever is in them. Without destinations connections are closed.

    `name` is stable and for people: `tcproute/NAMESPACE/NAME`. Over UDP there is at most one destination.
    """

    name: str
    destinations: tuple[Destination, ...] = ()
    settings: tuple[Setting, ...] = ()
    origins: tuple[Origin, ...] = field(default=(), compare=False)
    policies: tuple[Covering, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class StreamChain:
    """One filter chain that forwards what it gets: TCP, UDP, or TLS that is picked by SNI (`server_names`; empty: any).

    With certificates TLS ends here; without them it is passed through. `name` is its stats prefix. `settings` are
    listener-wide features.
    """

    name: str
    route: StreamRoute
    server_names: tuple[str, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    settings: tuple[Setting, ...] = ()
    origins: tuple[Origin, ...] = field(default=(), compare=False)
    policies: tuple[Covering, ...] = field(default=(), compare=False)


Chain = HttpChain | StreamChain


@dataclass(frozen=True, slots=True)
class Port:
    """One listening socket of a gateway, on every one of `addresses`. With `tls` SNI tells its chains apart.

    `ttl`: seconds without a word from the control plane after which it is closed; 0: never. A UDP port with `names` has no
    chains: it answers DNS, and these names lead to its own addresses. `origins` are the documents behind such a port.
    `settings` are features of the port as a whole. An `own` port has no chains: its settings say what answers there.
    """

    name: str
    addresses: tuple[str, ...]
    port: int
    chains: tuple[Chain, ...]
    tls: bool = False
    transport: Literal["tcp", "udp"] = "tcp"
    ttl: float = 0.0
    names: tuple[str, ...] | None = None
    origins: tuple[Origin, ...] = field(default=(), compare=False)
    settings: tuple[Setting, ...] = ()
    own: bool = False

    @property
    def http_chains(self) -> tuple[HttpChain, ...]:
        """The chains that know requests."""
        return tuple(one for one in self.chains if isinstance(one, HttpChain))

    @property
    def stream_chains(self) -> tuple[StreamChain, ...]:
        """The chains that know connections or datagrams only."""
        return tuple(one for one in self.chains if isinstance(one, StreamChain))


@dataclass(frozen=True, slots=True)
class Process:
    """How the Envoys of a gateway are run where Cellway runs them.

    `levels`: how much a component of Envoy logs, where that is not `level`. `drain`: seconds that requests under way are
    given when an Envoy is replaced or stopped; None: the usual. `quiet`: seconds for which it goes on at least.
    `delay`: seconds before it begins to say that it is about to go. `arguments` are more words of its command line;
    `bootstrap` is a JSON list of changes of its bootstrap. `start`: parts of one, as a JSON object or nothing, that are there
    before such changes.
    """

    concurrency: int = 1
    level: str = "warning"
    levels: tuple[tuple[str, str], ...] = ()
    drain: float | None = None
    quiet: float = 1.0
    delay: float = 0.0
    arguments: tuple[str, ...] = ()
    bootstrap: str = ""
    start: str = ""


@dataclass(frozen=True, slots=True)
class Patch:
    """A change of one Envoy resource, by JSON Patch (RFC 6902). `operation` is its JSON; `origin` where it is written."""

    type_url: str
    name: str
    operation: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class PatchSet:
    """The changes of one policy: all of them are made, or none."""

    key: Key
    patches: tuple[Patch, ...]


@dataclass(frozen=True, slots=True)
class Gateway:
    """All that one gateway does. `groups` are further names that an Envoy may ask by to serve several gateways.

    `client` is the certificate that it shows to backends over TLS. `patches` change what all of this means to Envoy, in
    order. `marks` are labels and annotations, as texts by
    name, that its Envoy listeners carry as metadata.
    """

    key: Key
    ports: tuple[Port, ...]
    groups: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    origins: tuple[Origin, ...] = field(default=(), compare=False)
    client: Certificate | None = None
    marks: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    process: Process | None = Process()
    """How its Envoys are run; None: as they are, because what is written about it has errors."""
    patches: tuple[PatchSet, ...] = ()
    called: str = ""
    """Its name, if that is not `NAMESPACE/NAME`: a cell's gateway is there once in every stage."""
    settings: tuple[Setting, ...] = ()
    """What its EnvoyProxy sets for all that it does."""

    @property
    def name(self) -> str:
        """What `node.cluster` of its Envoys says."""
        return self.called or f"{self.key.namespace}/{self.key.name}"
