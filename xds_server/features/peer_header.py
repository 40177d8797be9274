"""Who the client is, by the certificate that TLS has verified, in a header that it cannot write itself.

In: `peerHeader` of a ClientTrafficPolicy (Cellway's own field). Out: an early header mutation of the connection manager, which
acts before a route is chosen and before any filter: limits, rules and backends see the URI of the certificate. What the
client sent in this header goes in any case, also where there is no certificate, or no URI in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from xds_server.envoy_api.envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from xds_server.envoy_api.envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from xds_server.envoy_api.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from xds_server.envoy_api.envoy.extensions.http.early_header_mutation.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation,
)
from xds_server.features.contract import Context, Feature, pack
from xds_server.features.parts.headers import OVERWRITE, check_forwarded

_PEER = "%DOWNSTREAM_PEER_URI_SAN%"


@dataclass(frozen=True, slots=True)
class PeerHeader:
    """The header's name."""

    name: str


class PeerHeaderFeature(Feature[str, PeerHeader]):
    """`peerHeader` of a ClientTrafficPolicy."""

    name = "peer_header"
    carriers = (("ClientTrafficPolicy", "peerHeader"),)

    def resolve(self, spec: str, context: Context) -> PeerHeader | None:
        """The header, or None if requests need it for themselves."""
        return PeerHeader(spec.lower()) if check_forwarded(context, spec) else None

    def believes_certificates(self, value: PeerHeader) -> bool:
        """Others take the header for the truth."""
        return True

    def chain(self, value: PeerHeader, manager: HttpConnectionManager) -> None:
        """What the client says of itself goes first, for where its certificate says nothing nothing is set."""
        told = HeaderValueOption(header=HeaderValue(key=value.name, value=_PEER), append_action=OVERWRITE)
        mutation = HeaderMutation(
            mutations=[
                mutation_rules_pb2.HeaderMutation(remove=value.name),
                mutation_rules_pb2.HeaderMutation(append=told),
            ]
        )
        name = "envoy.http.early_header_mutation.header_mutation"
        manager.early_header_mutation_extensions.append(TypedExtensionConfig(name=name, typed_config=pack(mutation)))


PEER_HEADER = PeerHeaderFeature()
