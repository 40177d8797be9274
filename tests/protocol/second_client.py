"""An xDS client that shares no code with the server: other messages (betterproto), other gRPC (grpclib)."""

from __future__ import annotations

import asyncio
import ssl
import warnings
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from grpclib.client import Channel

with warnings.catch_warnings():
    # The package's own classes use a form that the newest pydantic deprecates.
    warnings.simplefilter("ignore", DeprecationWarning)
    from envoy_data_plane.envoy.config.core.v3 import Node
    from envoy_data_plane.envoy.service.cluster.v3 import ClusterDiscoveryServiceAsyncStub
    from envoy_data_plane.envoy.service.discovery.v3 import (
        AggregatedDiscoveryServiceAsyncStub,
        DeltaDiscoveryRequest,
        DiscoveryRequest,
    )
    from envoy_data_plane.envoy.service.endpoint.v3 import EndpointDiscoveryServiceAsyncStub
    from envoy_data_plane.envoy.service.extension.v3 import ExtensionConfigDiscoveryServiceAsyncStub
    from envoy_data_plane.envoy.service.listener.v3 import ListenerDiscoveryServiceAsyncStub
    from envoy_data_plane.envoy.service.route.v3 import (
        RouteDiscoveryServiceAsyncStub,
        ScopedRoutesDiscoveryServiceAsyncStub,
        VirtualHostDiscoveryServiceAsyncStub,
    )
    from envoy_data_plane.envoy.service.runtime.v3 import RuntimeDiscoveryServiceAsyncStub
    from envoy_data_plane.envoy.service.secret.v3 import SecretDiscoveryServiceAsyncStub
    from envoy_data_plane.google.rpc import Status

SERVICES: dict[str, tuple[Any, str]] = {
    "": (AggregatedDiscoveryServiceAsyncStub, "aggregated_resources"),
    "clusters": (ClusterDiscoveryServiceAsyncStub, "clusters"),
    "endpoints": (EndpointDiscoveryServiceAsyncStub, "endpoints"),
    "listeners": (ListenerDiscoveryServiceAsyncStub, "listeners"),
    "routes": (RouteDiscoveryServiceAsyncStub, "routes"),
    "secrets": (SecretDiscoveryServiceAsyncStub, "secrets"),
    "scopes": (ScopedRoutesDiscoveryServiceAsyncStub, "scoped_routes"),
    "hosts": (VirtualHostDiscoveryServiceAsyncStub, "virtual_hosts"),
    "extensions": (ExtensionConfigDiscoveryServiceAsyncStub, "extension_configs"),
    "runtime": (RuntimeDiscoveryServiceAsyncStub, "runtime"),
}
SILENCE = 0.3
"""Seconds without a message that count as none."""


def request(delta: bool, type_url: str, *names: str, node: tuple[str, str] | None = None) -> Any:
    """A request as it is; `node` is its id and its cluster."""
    who = Node(id=node[0], cluster=node[1]) if node else None
    if delta:
        return DeltaDiscoveryRequest(node=who, type_url=type_url, resource_names_subscribe=list(names))
    return DiscoveryRequest(node=who, type_url=type_url, resource_names=list(names))


@dataclass
class Client:
    """One stream. `delta` chooses the protocol, `service` the stub of a service for one type; else it is ADS."""

    port: int
    delta: bool
    cluster: str = "default/edge"
    node_id: str = "second-client"
    service: str = ""
    tls: ssl.SSLContext | None = None
    authorization: str = ""
    _requests: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)
    _channel: Channel | None = None
    _responses: AsyncIterator[Any] | None = None
    _first: bool = True

    async def __aenter__(self) -> Client:
        self._channel = Channel("127.0.0.1", self.port, ssl=self.tls)
        stub, name = SERVICES[self.service]
        shown = {"authorization": self.authorization} if self.authorization else {}
        method = getattr(stub(self._channel, metadata=shown), f"{'delta' if self.delta else 'stream'}_{name}")
        self._responses = method(self._sent())
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._requests.put_nowait(None)
        assert self._channel is not None
        self._channel.close()

    async def _sent(self) -> AsyncIterator[Any]:
        while (request := await self._requests.get()) is not None:
            yield request

    def _node(self) -> Node | None:
        first, self._first = self._first, False
        return Node(id=self.node_id, cluster=self.cluster) if first else None

    def ask(self, type_url: str, *names: str, had: dict[str, str] | None = None) -> None:
        """The first request of a type; `had` are versions from an earlier stream (delta)."""
        if self.delta:
            request: Any = DeltaDiscoveryRequest(
                node=self._node(),
                type_url=type_url,
                resource_names_subscribe=list(names),
                initial_resource_versions=had or {},
            )
        else:
            request = DiscoveryRequest(node=self._node(), type_url=type_url, resource_names=list(names))
        self._requests.put_nowait(request)

    def answer(self, response: Any, *names: str, refusal: str = "") -> None:
        """Acknowledge a response, or refuse it with these words. `names`: the subscription (state of the world)."""
        error = Status(code=13, message=refusal) if refusal else None
        if self.delta:
            request: Any = DeltaDiscoveryRequest(
                type_url=response.type_url, response_nonce=response.nonce, error_detail=error
            )
        else:
            request = DiscoveryRequest(
                type_url=response.type_url,
                resource_names=list(names),
                version_info="" if refusal else response.version_info,
                response_nonce=response.nonce,
                error_detail=error,
            )
        self._requests.put_nowait(request)

    def send(self, request: Any) -> None:
        """Any message at all."""
        self._requests.put_nowait(request)

    def hang_up(self) -> None:
        """Say that no more requests come."""
        self._requests.put_nowait(None)

    async def next(self) -> Any:
        """The next response."""
        assert self._responses is not None
        return await asyncio.wait_for(anext(self._responses), 20)

    async def nothing(self) -> None:
        """Fail if a response comes within a while. The stream cannot be read afterwards."""
        assert self._responses is not None
        try:
            response = await asyncio.wait_for(anext(self._responses), SILENCE)
        except TimeoutError:
            return
        raise AssertionError(f"needless message: {response}")

    def names(self, response: Any) -> list[str]:
        """The names in a response. In the state of the world they are inside the resources: here their bytes."""
        if self.delta:
            return [resource.name for resource in response.resources]
        return [bytes(resource.value).decode() for resource in response.resources]


def ads(delta: bool) -> str:
    """The method of the aggregated service."""
    name = "DeltaAggregatedResources" if delta else "StreamAggregatedResources"
    return f"/envoy.service.discovery.v3.AggregatedDiscoveryService/{name}"


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that is about to happen."""
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen within 30 seconds")


class Garbage:
    """Bytes that are no message."""

    def SerializeToString(self) -> bytes:  # noqa: N802
        return b"\xff\xff\xff\xff"

    @staticmethod
    def FromString(data: bytes) -> bytes:  # noqa: N802
        return data
