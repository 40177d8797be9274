"""Bytes of discovery requests and responses: the only file here that knows the envelope's protobuf messages.

In: bytes of requests; resources. Out: `Request`s; responses joined from bytes that were prepared once for each
resource and are shared by all streams. The message inside a resource is never opened.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from xds_server.envoy_api.envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from xds_server.envoy_api.envoy.service.discovery.v3.discovery_pb2 import Resource as ResourceMessage
from xds_server.serve.channel import Sent
from xds_server.serve.requests import Node, Request
from xds_server.snapshot.resource import Resource

_MESSAGE_LIMIT = 4096


def _node(message: DiscoveryRequest | DeltaDiscoveryRequest) -> Node | None:
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


@dataclass(slots=True)
class Envelope:
    """Prepares a resource's bytes once for each protocol and joins them into responses."""

    _delta: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    _full: dict[tuple[str, str, str], bytes] = field(default_factory=dict)

    def keep(self, resources: Iterable[Resource]) -> None:
        """Forget the prepared bytes of all other resources."""
        wanted = {(one.type_url, one.name, one.version) for one in resources}
        for prepared in (self._delta, self._full):
            for key in [key for key in prepared if key not in wanted]:
                del prepared[key]

    def delta(self, sent: Sent, type_url: str) -> bytes:
        """A DeltaDiscoveryResponse. Repeated fields of joined messages are concatenated (protobuf encoding)."""
        head = DeltaDiscoveryResponse(
            system_version_info=sent.version, type_url=type_url, nonce=sent.nonce, removed_resources=sent.removed
        )
        return b"".join((head.SerializeToString(), *(self._delta_entry(one) for one in sent.resources)))

    def full(self, sent: Sent, type_url: str) -> bytes:
        """A DiscoveryResponse."""
        head = DiscoveryResponse(version_info=sent.version, type_url=type_url, nonce=sent.nonce)
        return b"".join((head.SerializeToString(), *(self._full_entry(one) for one in sent.resources)))

    def _delta_entry(self, resource: Resource) -> bytes:
        key = (resource.type_url, resource.name, resource.version)
        if (entry := self._delta.get(key)) is None:
            message = ResourceMessage(name=resource.name, version=resource.version)
            message.resource.type_url, message.resource.value = resource.type_url, resource.body
            entry = self._delta[key] = DeltaDiscoveryResponse(resources=[message]).SerializeToString()
        return entry

    def _full_entry(self, resource: Resource) -> bytes:
        key = (resource.type_url, resource.name, resource.version)
        if (entry := self._full.get(key)) is None:
            message = DiscoveryResponse()
            message.resources.add(type_url=resource.type_url, value=resource.body)
            entry = self._full[key] = message.SerializeToString()
        return entry
