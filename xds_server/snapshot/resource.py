"""`Resource` and `Snapshot`: everything that one gateway's Envoys shall have, as bytes.

In: serialised messages with their names. Out: frozen, picklable values without any protobuf object, so
that a snapshot can cross to another process. A version is a hash of content, equal on every replica and
after every restart. This module decides no order of delivery and opens no message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from xds_server.snapshot.hosts import NO_HOSTS, Hosts, index_hosts
from xds_server.types import Origin

_PREFIX = "type.googleapis.com/"
CLUSTER = _PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINTS = _PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
SECRET = _PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
LISTENER = _PREFIX + "envoy.config.listener.v3.Listener"
ROUTES = _PREFIX + "envoy.config.route.v3.RouteConfiguration"
SCOPES = _PREFIX + "envoy.config.route.v3.ScopedRouteConfiguration"
HOST = _PREFIX + "envoy.config.route.v3.VirtualHost"
EXTENSION = _PREFIX + "envoy.config.core.v3.TypedExtensionConfig"
RUNTIME = _PREFIX + "envoy.service.runtime.v3.Runtime"
TYPES = (CLUSTER, ENDPOINTS, SECRET, EXTENSION, LISTENER, SCOPES, ROUTES, HOST, RUNTIME)
"""The type URLs served, in the order in which additions are delivered."""


def content_version(*parts: bytes) -> str:
    """16 hex digits of a hash over the parts."""
    digest = blake2b(digest_size=8)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Resource:
    """One named resource. `body` is the serialised message that goes into the Any.

    `origins` are the documents that made it; `needs` the (type URL, name) pairs it refers to. `ttl`: seconds after
    which a client drops it unless it hears of it again; 0: never. `on_demand`: a virtual host that is sent only to
    clients that ask for one of its hosts; `aliases` are its further names. `withheld`: it was refused and is not sent;
    what a client has instead stays.
    """

    type_url: str
    name: str
    body: bytes
    version: str
    origins: Sequence[Origin] = field(default=(), compare=False)
    needs: tuple[tuple[str, str], ...] = ()
    ttl: float = 0.0
    on_demand: bool = False
    aliases: tuple[str, ...] = ()
    withheld: bool = False


ENVOY_DRAIN = 600.0
"""The seconds of `--drain-time-s` of an Envoy that is not given any."""
_NOTHING: Mapping[str, Resource] = {}
"""Always the same one: what is the same object need not be compared."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The wanted state of one gateway: resources by type URL and name, and a version for each type.

    `gateway` is what `node.cluster` of its Envoys says: `NAMESPACE/NAME`, or the name of a group of gateways. `drain`: the
    seconds for which its Envoys let connections to a former listener be; where nobody says otherwise as long as Envoys do.
    """

    gateway: str
    resources: Mapping[str, Mapping[str, Resource]]
    versions: Mapping[str, str]
    hosts: Hosts = NO_HOSTS
    """Which virtual host a host name belongs to."""
    drain: float = ENVOY_DRAIN

    def get(self, type_url: str) -> Mapping[str, Resource]:
        """The resources of one type by name; empty for a type that this snapshot does not hold."""
        return self.resources.get(type_url, _NOTHING)


def snapshot_of(gateway: str, resources: Iterable[Resource]) -> Snapshot:
    """A snapshot with its resources in the order of their names, whatever order they came in.

    Equal resources may come more than once (gateways of one group share clusters); two different ones
    of one type and name are a bug of the caller: ValueError.
    """
    by_type: dict[str, dict[str, Resource]] = {}
    for resource in sorted(resources, key=lambda item: (item.type_url, item.name)):
        known = by_type.setdefault(resource.type_url, {}).setdefault(resource.name, resource)
        if known is not resource and known != resource:
            raise ValueError(f"{gateway}: two different resources are named {resource.name!r} ({resource.type_url})")
    versions = {type_url: _version(named) for type_url, named in by_type.items()}
    return Snapshot(gateway, by_type, versions, _hosts(by_type.get(HOST, {})))


def with_resources(snapshot: Snapshot, resources: Iterable[Resource]) -> Snapshot:
    """The same snapshot with other resources of names that it has."""
    by_type, versions, hosts = dict(snapshot.resources), dict(snapshot.versions), snapshot.hosts
    changed: dict[str, dict[str, Resource]] = {}
    for one in resources:
        changed.setdefault(one.type_url, {})[one.name] = one
    for type_url, named in changed.items():
        before = by_type[type_url]
        by_type[type_url] = {**before, **named}
        if any(before[name].version != one.version for name, one in named.items()):
            versions[type_url] = _version(by_type[type_url])
        if type_url == HOST and any(before[name].aliases != one.aliases for name, one in named.items()):
            hosts = _hosts(by_type[HOST])
    return Snapshot(snapshot.gateway, by_type, versions, hosts, snapshot.drain)


def _version(named: Mapping[str, Resource]) -> str:
    return content_version(*(f"{name}={resource.version}".encode() for name, resource in named.items()))


def _hosts(named: Mapping[str, Resource]) -> Hosts:
    return index_hosts((one.name, *one.aliases) for one in named.values())
