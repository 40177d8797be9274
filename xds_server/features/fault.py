"""Faults on purpose: requests are delayed, or answered with an error in place of the backend.

In: `faultInjection` of a BackendTrafficPolicy. Out: Envoy's fault filter. Shares are in percent with up to four
decimals; who is hit is a matter of chance, for the delay and for the answer apart. Clients cannot ask for faults. The
filter comes after all guards and limits: a fault stands for one of the backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route
from xds_server.envoy_api.envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault
from xds_server.envoy_api.envoy.type.v3.percent_pb2 import FractionalPercent
from xds_server.features.contract import Context, Feature, enable
from xds_server.features.parts.values import duration, seconds
from xds_server.spec import Duration, Spec

_MILLIONTHS = 10_000
Percentage = Annotated[float, Field(strict=True, ge=0, le=100)]


class DelaySpec(Spec):
    """So long a wait, for this share of the requests."""

    fixed_delay: Duration
    percentage: Percentage = 100.0


class AbortSpec(Spec):
    """An answer of the gateway, for this share of the requests: an HTTP status, or a gRPC status."""

    http_status: Annotated[int, Field(strict=True, ge=200, le=599)] | None = None
    grpc_status: Annotated[int, Field(strict=True, ge=0, le=16)] | None = None
    percentage: Percentage = 100.0


class FaultSpec(Spec):
    """A delay, an error, or both: then what is delayed may be answered with the error after the delay."""

    delay: DelaySpec | None = None
    abort: AbortSpec | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """Seconds and statuses; a status of None is not answered. Shares are in millionths."""

    delay: float = 0.0
    delayed: int = 0
    http: int | None = None
    grpc: int | None = None
    aborted: int = 0


class FaultFeature(Feature[FaultSpec, Fault]):
    """`faultInjection` of a BackendTrafficPolicy."""

    name = "fault"
    carriers = (("BackendTrafficPolicy", "faultInjection"),)
    filter_name = "envoy.filters.http.fault"

    def resolve(self, spec: FaultSpec, context: Context) -> Fault | None:
        """The faults, or None if they cannot be made as written."""
        delay, abort = spec.delay, spec.abort
        if delay is None and abort is None:
            context.problem("F103", reason="faultInjection needs delay or abort")
            return None
        if delay is not None and not seconds(delay.fixed_delay):
            context.problem("F103", "delay", "fixedDelay", reason="a delay must be longer than 0s")
            return None
        if abort is not None and (abort.http_status is None) == (abort.grpc_status is None):
            context.problem("F103", "abort", reason="give either httpStatus or grpcStatus")
            return None
        delayed = _share(delay.percentage, context, "delay") if delay else 0
        aborted = _share(abort.percentage, context, "abort") if abort else 0
        if delayed is None or aborted is None:
            return None
        return Fault(
            delay=(seconds(delay.fixed_delay) or 0.0) if delay else 0.0,
            delayed=delayed,
            http=abort.http_status if abort else None,
            grpc=abort.grpc_status if abort else None,
            aborted=aborted,
        )

    def http_filter(self, values: Sequence[Fault]) -> HTTPFault:
        """The filter itself does nothing; routes do."""
        return HTTPFault()

    def route(self, value: Fault, route: Route) -> None:
        """The faults of this route."""
        config = HTTPFault()
        if value.delay:
            config.delay.fixed_delay.CopyFrom(duration(value.delay))
            config.delay.percentage.CopyFrom(_percent(value.delayed))
        if value.http is not None:
            config.abort.http_status = value.http
        if value.grpc is not None:
            config.abort.grpc_status = value.grpc
        if config.HasField("abort"):
            config.abort.percentage.CopyFrom(_percent(value.aborted))
        enable(route, self.filter_name, config)


def _share(percentage: float, context: Context, field: str) -> int | None:
    """Millionths of all requests; None if there is no such number of them, which was reported."""
    exact = percentage * _MILLIONTHS
    if abs(exact - round(exact)) > 1e-6 * _MILLIONTHS / 100:
        context.problem("F103", field, "percentage", reason="a percentage has at most four decimals")
        return None
    return round(exact)


def _percent(millionths: int) -> FractionalPercent:
    return FractionalPercent(numerator=millionths, denominator=FractionalPercent.MILLION)


FAULT = FaultFeature()
