"""What a request ends that is no proper HTTP: the connection that it came on, or itself alone.

In: `onInvalidMessage` of a ClientTrafficPolicy (Cellway's own field). Out: a setting of the connection manager, for all
versions of HTTP; `http2.onInvalidMessage` has the last word where it is set. To end the connection is right for strangers.
Where the clients are proxies, one connection carries the requests of many people, and a bad one must not end theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from xds_server.features.contract import Context, Feature


@dataclass(frozen=True, slots=True)
class ClientMessages:
    """A message that is no proper HTTP ends itself alone."""


class ClientMessagesFeature(Feature[str, ClientMessages]):
    """`onInvalidMessage` of a ClientTrafficPolicy."""

    name = "client_messages"
    carriers = (("ClientTrafficPolicy", "onInvalidMessage"),)

    def resolve(self, spec: str, context: Context) -> ClientMessages | None:
        """`TerminateConnection` is as if it were not there."""
        return ClientMessages() if spec == "TerminateStream" else None

    def chain(self, value: ClientMessages, manager: HttpConnectionManager) -> None:
        """Keep the connection."""
        manager.stream_error_on_invalid_http_message.value = True


CLIENT_MESSAGES = ClientMessagesFeature()
