"""Limits on bytes: how fast the bodies of requests and of answers pass.

In: `bandwidthLimit` of a BackendTrafficPolicy. Out: Envoy's bandwidth limit filter, one for each direction. All requests
of a route (of each match of a rule) share its limit, in each Envoy process. Envoy counts whole KiB a second, at least
one: a rate is rounded to the nearest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import UInt64Value

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route
from xds_server.envoy_api.envoy.extensions.filters.http.bandwidth_limit.v3.bandwidth_limit_pb2 import BandwidthLimit
from xds_server.features.contract import Context, Feature, enable
from xds_server.features.parts.rates import RateSpec, rate
from xds_server.spec import HeaderName, Spec

_REQUEST = "envoy.filters.http.bandwidth_limit/request"
_RESPONSE = "envoy.filters.http.bandwidth_limit/response"


class RequestRateSpec(Spec):
    """The rate of bodies on their way to the backend."""

    limit: RateSpec


class TrailersSpec(Spec):
    """Tell clients in trailers how long their answer was held back; names begin with `prefix`."""

    prefix: HeaderName | None = None


class ResponseRateSpec(Spec):
    """The rate of bodies on their way to the client."""

    limit: RateSpec
    response_trailers: TrailersSpec | None = None


class BandwidthSpec(Spec):
    """A limit for requests, for answers, or both."""

    request: RequestRateSpec | None = None
    response: ResponseRateSpec | None = None


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """KiB a second, 0 for no limit. `prefix` None: no trailers."""

    request: int = 0
    response: int = 0
    prefix: str | None = None


class BandwidthFeature(Feature[BandwidthSpec, Bandwidth]):
    """`bandwidthLimit` of a BackendTrafficPolicy."""

    name = "bandwidth"
    counts = True
    carriers = (("BackendTrafficPolicy", "bandwidthLimit"),)

    def resolve(self, spec: BandwidthSpec, context: Context) -> Bandwidth | None:
        """The limits, or None if Envoy cannot keep one of them."""
        if spec.request is None and spec.response is None:
            context.problem("F103", reason="bandwidthLimit needs request or response")
            return None
        request = rate(spec.request.limit, context, "request", "limit") if spec.request else 0
        response = rate(spec.response.limit, context, "response", "limit") if spec.response else 0
        if request is None or response is None:
            return None
        trailers = spec.response.response_trailers if spec.response else None
        return Bandwidth(request, response, (trailers.prefix or "") if trailers else None)

    def http_filters(self, values: Sequence[Bandwidth]) -> Sequence[tuple[str, Message]]:
        """The filters themselves limit nothing; routes do."""
        idle = BandwidthLimit(stat_prefix="bandwidth_limit")
        return ((_REQUEST, idle), (_RESPONSE, idle))

    def route(self, value: Bandwidth, route: Route) -> None:
        """The limits of this route."""
        if value.request:
            enable(route, _REQUEST, _filter(BandwidthLimit.REQUEST, value.request))
        if value.response:
            config = _filter(BandwidthLimit.RESPONSE, value.response)
            config.enable_response_trailers = value.prefix is not None
            config.response_trailer_prefix = value.prefix or ""
            enable(route, _RESPONSE, config)


def _filter(mode: BandwidthLimit.EnableMode, rate: int) -> BandwidthLimit:
    return BandwidthLimit(stat_prefix="bandwidth_limit", enable_mode=mode, limit_kbps=UInt64Value(value=rate))


BANDWIDTH = BandwidthFeature()
