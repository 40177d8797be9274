"""A small rate limit service, over gRPC: it counts by descriptor, up to the limit that the descriptor itself carries."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc

from xds_server.envoy_api.envoy.extensions.common.ratelimit.v3.ratelimit_pb2 import RateLimitDescriptor
from xds_server.envoy_api.envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse

Entries = tuple[tuple[str, str], ...]


class RateLimitService:
    """Counts for ever. `requests` is what was asked; without a limit in its descriptor a request is let through."""

    def __init__(self) -> None:
        self.counts: Counter[Entries] = Counter()
        self.requests: list[RateLimitRequest] = []
        self._server = grpc.server(ThreadPoolExecutor(4))
        handler = grpc.unary_unary_rpc_method_handler(
            self._count,
            request_deserializer=RateLimitRequest.FromString,
            response_serializer=RateLimitResponse.SerializeToString,
        )
        name = "envoy.service.ratelimit.v3.RateLimitService"
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(name, {"ShouldRateLimit": handler}),)
        )
        self.address = ("127.0.0.1", self._server.add_insecure_port("127.0.0.1:0"))
        self._server.start()

    def _count(self, request: RateLimitRequest, context: grpc.ServicerContext) -> RateLimitResponse:
        del context
        self.requests.append(request)
        answer = RateLimitResponse(overall_code=RateLimitResponse.OK)
        for descriptor in request.descriptors:
            status = self._status(descriptor)
            answer.statuses.append(status)
            if status.code == RateLimitResponse.OVER_LIMIT:
                answer.overall_code = RateLimitResponse.OVER_LIMIT
        return answer

    def _status(self, descriptor: RateLimitDescriptor) -> RateLimitResponse.DescriptorStatus:
        key = tuple((entry.key, entry.value) for entry in descriptor.entries)
        self.counts[key] += descriptor.hits_addend.value if descriptor.HasField("hits_addend") else 1
        if not descriptor.HasField("limit"):
            return RateLimitResponse.DescriptorStatus(code=RateLimitResponse.OK)
        most = descriptor.limit.requests_per_unit
        status = RateLimitResponse.DescriptorStatus(
            code=RateLimitResponse.OVER_LIMIT if self.counts[key] > most else RateLimitResponse.OK,
            limit_remaining=max(0, most - self.counts[key]),
        )
        status.current_limit.requests_per_unit = most
        status.current_limit.unit = RateLimitResponse.RateLimit.Unit.MINUTE
        status.duration_until_reset.seconds = 60
        return status

    def close(self) -> None:
        """Stop."""
        self._server.stop(None).wait(5)
