"""Bytes of discovery requests and responses: the only file here that knows the envelope's protobuf messages.

In: bytes of requests; resources. Out: `Request`s; responses joined from bytes that were prepared once for each
resource and are shared by all streams. The message inside a resource is never opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain

from google.protobuf.any_pb2 import Any as AnyMessage

from xds_server.envoy_api.envoy.service.cluster.v3 import cds_pb2
from xds_server.envoy_api.envoy.service.discovery.v3 import ads_pb2
from xds_server.envoy_api.envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from xds_server.envoy_api.envoy.service.discovery.v3.discovery_pb2 import Resource as ResourceMessage
from xds_server.envoy_api.envoy.service.endpoint.v3 import eds_pb2
from xds_server.envoy_api.envoy.service.extension.v3 import config_discovery_pb2
from xds_server.envoy_api.envoy.service.listener.v3 import lds_pb2
from xds_server.envoy_api.envoy.service.load_stats.v3 import lrs_pb2
from xds_server.envoy_api.envoy.service.load_stats.v3.lrs_pb2 import LoadStatsRequest, LoadStatsResponse
from xds_server.envoy_api.envoy.service.route.v3 import rds_pb2, srds_pb2
from xds_server.envoy_api.envoy.service.runtime.v3 import rtds_pb2
from xds_server.envoy_api.envoy.service.secret.v3 import sds_pb2
from xds_server.serve.channel import Sent
from xds_server.serve.loads import Load, LoadReport
from xds_server.serve.messages import Message
from xds_server.serve.on_demand import NO_ANSWERS
from xds_server.serve.requests import Node, Request
from xds_server.snapshot.resource import Resource

FILES = (ads_pb2, cds_pb2, eds_pb2, config_discovery_pb2, lds_pb2, lrs_pb2, rds_pb2, srds_pb2, rtds_pb2, sds_pb2)
"""The modules that describe the services; gRPC reflection answers from what they register."""
_MESSAGE_LIMIT = 4096
_SHARED = 16
"""So many responses are kept for others who are told the same."""
_LARGE = 64 * 1024
"""The bytes of a larger body are not prepared: they would be there twice, and are copied into a response all the same."""
_NODE_TAG = 0x0A
_SMALL = 256
"""Bytes of a request that others make word for word: an ACK of a response that they all got."""
_MIDDLE = 64 * 1024
"""Bytes of one that those make who come back with the same: what they have, without who they are."""
_REPORT_BYTES = 1024 * 1024
_REPORT_ENTRIES = 20_000
"""Clusters and their places in one load report. An entry can be two bytes, and each costs time of the event loop."""


class TooLargeError(Exception):
    """Why a message is not read: a sentence."""


def _node(message: DiscoveryRequest | DeltaDiscoveryRequest | LoadStatsRequest) -> Node | None:
    if not message.HasField("node"):
        return None
    node = message.node
    version = node.user_agent_build_version.version
    numbers = f"{version.major_number}.{version.minor_number}.{version.patch}"
    place = "/".join(part for part in (node.locality.region, node.locality.zone, node.locality.sub_zone) if part)
    return Node(node.id, node.cluster, f"{node.user_agent_name} {numbers}".strip(), place)


def _error(message: DiscoveryRequest | DeltaDiscoveryRequest) -> str | None:
    if not message.HasField("error_detail"):
        return None
    text = message.error_detail.message[:_MESSAGE_LIMIT]
    return "".join(letter if letter.isprintable() else " " for letter in text) or "refused without a message"


def read_full(data: bytes) -> Request:
    """A state-of-the-world request. Raises google.protobuf.message.DecodeError."""
    message = DiscoveryRequest.FromString(data)
    return Request(
        message.type_url,
        message.response_nonce,
        _error(message),
        _node(message),
        names=tuple(message.resource_names),
        version=message.version_info,
    )


def read_delta(data: bytes) -> Request:
    """A delta request. Raises google.protobuf.message.DecodeError."""
    if len(data) <= _SMALL:
        return _read_small_delta(data)
    return _read_middle_delta(data) if len(data) <= _MIDDLE and data[0] != _NODE_TAG else _read_delta(data)


def _read_delta(data: bytes) -> Request:
    message = DeltaDiscoveryRequest.FromString(data)
    return Request(
        message.type_url,
        message.response_nonce,
        _error(message),
        _node(message),
        subscribe=tuple(message.resource_names_subscribe),
        unsubscribe=tuple(message.resource_names_unsubscribe),
        initial=dict(message.initial_resource_versions),
    )


@lru_cache(maxsize=16)
def _read_middle_delta(data: bytes) -> Request:
    return _read_delta(data)


@lru_cache(maxsize=1024)
def _read_small_delta(data: bytes) -> Request:
    return _read_delta(data)


def read_loads(data: bytes) -> LoadReport:
    """A load report. Raises google.protobuf.message.DecodeError and TooLargeError."""
    if len(data) > _REPORT_BYTES:
        raise TooLargeError(f"a load report has at most {_REPORT_BYTES} bytes")
    message = LoadStatsRequest.FromString(data)
    entries = len(message.cluster_stats)
    if entries <= _REPORT_ENTRIES:  # else there are too many to go through
        entries += sum(len(one.upstream_locality_stats) for one in message.cluster_stats)
    if entries > _REPORT_ENTRIES:
        raise TooLargeError(f"a load report has at most {_REPORT_ENTRIES} clusters and places")
    loads: dict[str, Load] = {}
    for one in message.cluster_stats:
        for place in one.upstream_locality_stats:
            failed = place.total_error_requests
            load = Load(place.total_successful_requests + failed, failed)
            loads[one.cluster_name] = loads.get(one.cluster_name, Load()).plus(load)
    return LoadReport(_node(message), loads)


def wanted_loads(seconds: int) -> bytes:
    """What is to be reported: all clusters, so often."""
    answer = LoadStatsResponse(send_all_clusters=True)
    answer.load_reporting_interval.FromSeconds(seconds)
    return bytes(answer.SerializeToString())


@dataclass(frozen=True, slots=True)
class _Kept:
    """A response that others may be told, too. The resources are kept, so that no others can have their identities."""

    message: Message
    resources: tuple[Resource, ...]


@dataclass(slots=True)
class Envelope:
    """Prepares a resource's bytes once for each protocol and joins them into responses.

    Streams that are told the same share one response, bytes and nonce: for a large resource copying is all that it costs.
    """

    _delta: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    _full: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    _shared: dict[tuple[object, ...], _Kept] = field(default_factory=dict)
    _number: int = 0

    @property
    def prepared(self) -> int:
        """How much is prepared."""
        return len(self._delta) + len(self._full)

    def drop(self, resources: Iterable[Resource]) -> None:
        """Forget the prepared bytes of these, and all responses. Whoever still wants one has it prepared again."""
        self._shared.clear()
        for one in resources:
            key = (one.type_url, one.name, one.version)
            self._delta.pop(key, None)
            self._full.pop(key, None)

    def keep(self, resources: Iterable[Resource]) -> None:
        """Forget the prepared bytes of all other resources."""
        self._shared.clear()
        wanted = {(one.type_url, one.name, one.version) for one in resources}
        for prepared in (self._delta, self._full):
            for key in [key for key in prepared if key not in wanted]:
                del prepared[key]

    def delta(self, sent: Sent, type_url: str, after: int) -> Message:
        """A DeltaDiscoveryResponse. Repeated fields of joined messages are concatenated (protobuf encoding)."""
        return self._message(sent, type_url, after, self._delta_bytes)

    def full(self, sent: Sent, type_url: str, after: int) -> Message:
        """A DiscoveryResponse. What has a time to live is wrapped, in the version of the whole response."""
        return self._message(sent, type_url, after, self._full_bytes)

    def _message(self, sent: Sent, type_url: str, after: int, encode: Callable[[Sent, str, str], bytes]) -> Message:
        """One that another stream was told already, or a new one. A stream that had that one needs a nonce of its own."""
        if sent.beats or sent.answers is not NO_ANSWERS:
            return self._made(sent, type_url, encode)
        key = (encode.__name__, type_url, sent.version, sent.removed, *map(id, sent.resources))
        kept = self._shared.get(key)
        if kept is None or kept.message.number <= after:
            while len(self._shared) >= _SHARED:
                del self._shared[next(iter(self._shared))]
            kept = self._shared[key] = _Kept(self._made(sent, type_url, encode), sent.resources)
        return kept.message

    def _made(self, sent: Sent, type_url: str, encode: Callable[[Sent, str, str], bytes]) -> Message:
        self._number += 1
        nonce = f"{self._number:x}"
        return Message(self._number, nonce, encode(sent, type_url, nonce))

    def _delta_bytes(self, sent: Sent, type_url: str, nonce: str) -> bytes:
        head = DeltaDiscoveryResponse(
            system_version_info=sent.version, type_url=type_url, nonce=nonce, removed_resources=sent.removed
        )
        head.resources.extend(_absent(name) for name in sent.answers.absent)
        head.resources.extend(_beat(one, one.version) for one in sent.beats)
        aliases = sent.answers.aliases
        entries = (
            self._delta_entry(one) if one.name not in aliases else _aliased(one, aliases[one.name])
            for one in sent.resources
        )
        return b"".join(chain((head.SerializeToString(),), *entries))

    def _full_bytes(self, sent: Sent, type_url: str, nonce: str) -> bytes:
        head = DiscoveryResponse(version_info=sent.version, type_url=type_url, nonce=nonce)
        for one in sent.beats:
            head.resources.add().Pack(_beat(one, sent.version))
        entries = (self._full_entry(one, sent.version) for one in sent.resources)
        return b"".join(chain((head.SerializeToString(),), *entries))

    def _delta_entry(self, resource: Resource) -> tuple[bytes, ...]:
        if len(resource.body) > _LARGE:
            return _aliased(resource, ())
        key = (resource.type_url, resource.name, resource.version)
        if (entry := self._delta.get(key)) is None:
            entry = self._delta[key] = b"".join(_aliased(resource, ()))
        return (entry,)

    def _full_entry(self, resource: Resource, version: str) -> tuple[bytes, ...]:
        if resource.ttl:
            wrapped = DiscoveryResponse()
            wrapped.resources.add().Pack(_whole(resource, version))
            return (wrapped.SerializeToString(),)
        if len(resource.body) > _LARGE:
            return _framed(DiscoveryResponse.RESOURCES_FIELD_NUMBER, _packed(resource))
        key = (resource.type_url, resource.name, resource.version)
        if (entry := self._full.get(key)) is None:
            pieces = _framed(DiscoveryResponse.RESOURCES_FIELD_NUMBER, _packed(resource))
            entry = self._full[key] = b"".join(pieces)
        return (entry,)


def _beat(resource: Resource, version: str) -> ResourceMessage:
    """A resource without its body: the client has it."""
    message = ResourceMessage(name=resource.name, version=version)
    if resource.ttl:
        message.ttl.FromMilliseconds(round(resource.ttl * 1000))
    return message


def _whole(resource: Resource, version: str) -> ResourceMessage:
    message = _beat(resource, version)
    message.resource.type_url, message.resource.value = resource.type_url, resource.body
    return message


def _aliased(resource: Resource, names: Iterable[str]) -> tuple[bytes, ...]:
    """A delta response that holds one resource, in pieces; `names` are those by which the client asked for it."""
    message = _beat(resource, resource.version)
    message.aliases.extend(names)
    parts = (message.SerializeToString(), *_framed(ResourceMessage.RESOURCE_FIELD_NUMBER, _packed(resource)))
    return _framed(DeltaDiscoveryResponse.RESOURCES_FIELD_NUMBER, parts)


def _packed(resource: Resource) -> tuple[bytes, ...]:
    """The Any of a resource, in pieces: its body may be large, and is copied once where these are joined."""
    head = AnyMessage(type_url=resource.type_url).SerializeToString()
    return (head, *_framed(AnyMessage.VALUE_FIELD_NUMBER, (resource.body,)))


def _framed(number: int, parts: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """A field of a message or of bytes, as protobuf's encoding has it."""
    return (_varint(number << 3 | 2) + _varint(sum(map(len, parts))), *parts)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))


def _absent(name: str) -> ResourceMessage:
    """No virtual host answers this name: Envoy then answers 404 at once; called removed, the request would hang."""
    return ResourceMessage(name=name, aliases=[name])
