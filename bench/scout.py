"""What a client of a gateway has when it has everything, so that others can come back with it.

In: the server's address and a gateway. Out: names and versions by type; the requests of a client that has them. In the last of
them it also asks for a name that does not exist: the answer, which takes that name away, shows that it was served.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping

import grpc

from bench.light import METHOD
from xds_server.envoy_api.envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
)
from xds_server.snapshot.resource import CLUSTER, ENDPOINTS, LISTENER, ROUTES

_TYPES = (CLUSTER, ENDPOINTS, LISTENER, ROUTES)


def asked(initial: Mapping[str, Mapping[str, str]]) -> list[bytes]:
    """The requests of a client that has this, by type."""
    found = []
    for type_url in _TYPES:
        names = ["*", "nobody"] if type_url == _TYPES[-1] else ["*"]
        request = DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=names)
        request.initial_resource_versions.update(initial.get(type_url, {}))
        found.append(request.SerializeToString())
    return found


def everything(address: str, gateway: str) -> dict[str, dict[str, str]]:
    """The names and versions of all that a client gets."""
    with grpc.insecure_channel(address, options=(("grpc.max_receive_message_length", -1),)) as channel:
        words = [DeltaDiscoveryRequest.FromString(one) for one in asked({})]
        words[0].node.id, words[0].node.cluster = "scout", gateway
        answered = threading.Semaphore(0)
        nonces: list[tuple[str, str]] = []

        def requests() -> Iterator[bytes]:
            yield from (one.SerializeToString() for one in words)
            for _ in _TYPES:
                answered.acquire()
                type_url, nonce = nonces.pop(0)
                yield DeltaDiscoveryRequest(type_url=type_url, response_nonce=nonce).SerializeToString()

        found: dict[str, dict[str, str]] = {}
        call: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(METHOD)
        for data in call(requests()):
            response = DeltaDiscoveryResponse.FromString(data)
            found.setdefault(response.type_url, {}).update({one.name: one.version for one in response.resources})
            nonces.append((response.type_url, response.nonce))
            answered.release()
            if len(found) == len(_TYPES):
                return found
    raise RuntimeError("the server ended the stream")
