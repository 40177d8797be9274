"""Header changes of a whole listener: on requests before routing, on responses at the very end.

In: `headers` of a ClientTrafficPolicy. Out: an early header mutation of the connection manager, which acts before a
route is chosen, and a header mutation filter in front of all others, which therefore sees every answer of the filter
chain: from backends, from the gateway itself (401, 429, direct responses), the 404 when nothing matched and the 400
for what is no proper HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass

from xds_server.envoy_api.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from xds_server.envoy_api.envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation,
    Mutations,
)
from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from xds_server.envoy_api.envoy.extensions.http.early_header_mutation.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation as EarlyHeaderMutation,
)
from xds_server.features.contract import Context, Feature, pack
from xds_server.features.parts.headers import HeaderChanges, HeaderFilterSpec, mutations, resolve_changes
from xds_server.spec import Spec


class ClientHeadersSpec(Spec):
    """Headers between clients and the gateway."""

    early_request_headers: HeaderFilterSpec | None = None
    late_response_headers: HeaderFilterSpec | None = None


@dataclass(frozen=True, slots=True)
class ClientHeaders:
    """Changes to requests before routing and to responses at the end."""

    requests: HeaderChanges
    responses: HeaderChanges


class EarlyHeaders(Feature[ClientHeadersSpec, ClientHeaders]):
    """`headers` of a ClientTrafficPolicy."""

    name = "early_headers"
    carriers = (("ClientTrafficPolicy", "headers"),)

    def resolve(self, spec: ClientHeadersSpec, context: Context) -> ClientHeaders | None:
        """Both sets of changes."""
        requests = resolve_changes(spec.early_request_headers or HeaderFilterSpec(), context, "earlyRequestHeaders")
        responses = resolve_changes(spec.late_response_headers or HeaderFilterSpec(), context, "lateResponseHeaders")
        if requests is None or responses is None:
            return None
        return ClientHeaders(requests, responses)

    def chain(self, value: ClientHeaders, manager: HttpConnectionManager) -> None:
        """An extension for requests, a filter for responses."""
        early = mutations(value.requests)
        if early:
            manager.early_header_mutation_extensions.append(
                TypedExtensionConfig(
                    name="envoy.http.early_header_mutation.header_mutation",
                    typed_config=pack(EarlyHeaderMutation(mutations=early)),
                )
            )
        late = mutations(value.responses)
        if late:
            config = HeaderMutation(mutations=Mutations(response_mutations=late))
            manager.http_filters.add(name="envoy.filters.http.header_mutation", typed_config=pack(config))


EARLY_HEADERS = EarlyHeaders()
