"""Whole requests: the backend hears of a request when its body is complete, and not of one that is too long.

In: `requestBuffer` of a BackendTrafficPolicy. Out: Envoy's buffer filter. A longer body is answered with 413. The filter
comes after all guards and limits, so that strangers fill no memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route
from xds_server.envoy_api.envoy.extensions.filters.http.buffer.v3.buffer_pb2 import Buffer, BufferPerRoute
from xds_server.features.contract import Context, Feature, enable
from xds_server.features.parts.values import size, uint32
from xds_server.spec import Quantity, Spec

_MOST = 2**32 - 1


class RequestBufferSpec(Spec):
    """The longest body that is taken."""

    limit: Quantity


@dataclass(frozen=True, slots=True)
class RequestBuffer:
    """Bytes."""

    limit: int


class RequestBufferFeature(Feature[RequestBufferSpec, RequestBuffer]):
    """`requestBuffer` of a BackendTrafficPolicy."""

    name = "request_buffer"
    carriers = (("BackendTrafficPolicy", "requestBuffer"),)
    filter_name = "envoy.filters.http.buffer"

    def resolve(self, spec: RequestBufferSpec, context: Context) -> RequestBuffer | None:
        """The limit, if Envoy can keep it."""
        limit = size(spec.limit) or 0
        if not 1 <= limit <= _MOST:
            context.problem("F120", "limit", reason=f"{limit} bytes; Envoy takes 1 to {_MOST}")
            return None
        return RequestBuffer(limit)

    def http_filter(self, values: Sequence[RequestBuffer]) -> Buffer:
        """The filter itself is never on as it stands here; routes have their own limit."""
        return Buffer(max_request_bytes=uint32(_MOST))

    def route(self, value: RequestBuffer, route: Route) -> None:
        """The limit of this route."""
        config = BufferPerRoute(buffer=Buffer(max_request_bytes=uint32(value.limit)))
        enable(route, self.filter_name, config)


REQUEST_BUFFER = RequestBufferFeature()
