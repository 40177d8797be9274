"""What backends are told of the scheme: the client's, or that of their own connection.

In: `scheme` of a ClientTrafficPolicy. Out: a setting of the connection manager. `x-forwarded-proto` stays the client's.
"""

from __future__ import annotations

from dataclasses import dataclass

from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from xds_server.features.contract import Context, Feature


@dataclass(frozen=True, slots=True)
class ClientScheme:
    """`:scheme` of a request is that of the connection to the backend."""


class ClientSchemes(Feature[str, ClientScheme]):
    """`scheme` of a ClientTrafficPolicy."""

    name = "client_scheme"
    carriers = (("ClientTrafficPolicy", "scheme"),)

    def resolve(self, spec: str, context: Context) -> ClientScheme | None:
        """`Preserve` is as if it were not there."""
        return ClientScheme() if spec == "MatchBackend" else None

    def chain(self, value: ClientScheme, manager: HttpConnectionManager) -> None:
        """Match the connection to the backend."""
        manager.scheme_header_transformation.match_upstream = True


CLIENT_SCHEME = ClientSchemes()
