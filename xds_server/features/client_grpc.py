"""gRPC-Web on all routes of a listener.

In: `grpc.enableWeb` of a ClientTrafficPolicy. Out: Envoy's gRPC-Web filter in front of all routes. Those of GRPCRoutes have
it anyway, and a call that was translated once is not translated twice.
"""

from __future__ import annotations

from dataclasses import dataclass

from xds_server.envoy_api.envoy.extensions.filters.http.grpc_web.v3.grpc_web_pb2 import GrpcWeb
from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from xds_server.features.contract import Context, Feature, pack
from xds_server.spec import Bool, Spec


class ClientGrpcSpec(Spec):
    """gRPC calls of browsers."""

    enable_web: Bool = False


@dataclass(frozen=True, slots=True)
class ClientGrpc:
    """It is on."""


class ClientGrpcs(Feature[ClientGrpcSpec, ClientGrpc]):
    """`grpc` of a ClientTrafficPolicy."""

    name = "client_grpc"
    carriers = (("ClientTrafficPolicy", "grpc"),)

    def resolve(self, spec: ClientGrpcSpec, context: Context) -> ClientGrpc | None:
        """Nothing can be wrong."""
        return ClientGrpc() if spec.enable_web else None

    def chain(self, value: ClientGrpc, manager: HttpConnectionManager) -> None:
        """A filter of its own, which is on."""
        manager.http_filters.add(name="cellway.grpc-web", typed_config=pack(GrpcWeb()))


CLIENT_GRPC = ClientGrpcs()
