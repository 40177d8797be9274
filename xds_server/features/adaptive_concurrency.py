"""Adaptive concurrency: as many requests at a time as a backend serves without becoming slow.

In: `adaptiveConcurrency` of a BackendTrafficPolicy (Cellway's own). Out: Envoy's adaptive concurrency filter, one for
each policy. It measures how long answers take while few requests are under way, and lets so many pass that they do not
take much longer. What is above is refused with 503. All routes of a policy share one measurement, in each Envoy process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from pydantic import Field

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import FilterConfig, Route
from xds_server.envoy_api.envoy.extensions.filters.http.adaptive_concurrency.v3.adaptive_concurrency_pb2 import (
    AdaptiveConcurrency as EnvoyAdaptiveConcurrency,
)
from xds_server.envoy_api.envoy.type.v3.http_status_pb2 import HttpStatus, StatusCode
from xds_server.features.contract import Context, Feature, enable
from xds_server.features.parts.values import content_name, duration, seconds, uint32
from xds_server.spec import Duration, Spec

_FILTER = "envoy.filters.http.adaptive_concurrency"
_RUNTIME = "cellway.adaptive_concurrency"
Percent = Annotated[int, Field(strict=True, ge=0, le=100)]
Share = Annotated[int, Field(strict=True, ge=1, le=100)]
Number = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]


class BaselineSpec(Spec):
    """How it is found out how long an answer takes without load: every `interval`, few requests at a time."""

    interval: Duration = "60s"
    request_count: Number = 50
    concurrency: Number = 3
    jitter_percent: Percent = 15
    fixed: Duration | None = None


class AdaptiveConcurrencySpec(Spec):
    """How slow is too slow, and within which bounds the limit moves."""

    sample_percentile: Share = 50
    tolerance_percent: Percent = 25
    update_interval: Duration = "100ms"
    min_limit: Number = 3
    max_limit: Number = 1000
    baseline: BaselineSpec = BaselineSpec()


@dataclass(frozen=True, slots=True)
class AdaptiveConcurrency:
    """Times in seconds; `fixed` 0: the baseline is measured."""

    owner: str
    percentile: int
    tolerance: int
    update: float
    least: int
    most: int
    interval: float
    count: int
    concurrency: int
    jitter: int
    fixed: float


class AdaptiveConcurrencyFeature(Feature[AdaptiveConcurrencySpec, AdaptiveConcurrency]):
    """`adaptiveConcurrency` of a BackendTrafficPolicy."""

    name = "adaptive_concurrency"
    carriers = (("BackendTrafficPolicy", "adaptiveConcurrency"),)
    chain_follows_routes = True

    def resolve(self, spec: AdaptiveConcurrencySpec, context: Context) -> AdaptiveConcurrency | None:
        """The control, if its times and bounds can be."""
        baseline = spec.baseline
        times = {
            ("updateInterval",): spec.update_interval,
            ("baseline", "interval"): baseline.interval,
            ("baseline", "fixed"): baseline.fixed,
        }
        for path, written in times.items():
            if written is not None and not seconds(written):
                context.problem("F103", *path, reason="this must be longer than 0s")
                return None
        if spec.min_limit > spec.max_limit:
            context.problem("F103", "minLimit", reason=f"it is more than maxLimit, {spec.max_limit}")
            return None
        return AdaptiveConcurrency(
            owner=context.owner,
            percentile=spec.sample_percentile,
            tolerance=spec.tolerance_percent,
            update=seconds(spec.update_interval) or 0.0,
            least=spec.min_limit,
            most=spec.max_limit,
            interval=seconds(baseline.interval) or 0.0,
            count=baseline.request_count,
            concurrency=baseline.concurrency,
            jitter=baseline.jitter_percent,
            fixed=seconds(baseline.fixed) or 0.0,
        )

    def http_filters(self, values: Sequence[AdaptiveConcurrency]) -> Sequence[tuple[str, Message]]:
        """A filter, and so a measurement, for each policy."""
        return [(_name(value), _filter(value)) for value in values]

    def route(self, value: AdaptiveConcurrency, route: Route) -> None:
        """Switches the filter on."""
        enable(route, _name(value), FilterConfig(config=AnyMessage()))


def _name(value: AdaptiveConcurrency) -> str:
    return content_name(f"{_FILTER}/{value.owner}", value)


def _filter(value: AdaptiveConcurrency) -> EnvoyAdaptiveConcurrency:
    config = EnvoyAdaptiveConcurrency(concurrency_limit_exceeded_status=HttpStatus(code=StatusCode.ServiceUnavailable))
    config.enabled.default_value.value = True
    config.enabled.runtime_key = f"{_RUNTIME}.enabled"
    gradient = config.gradient_controller_config
    gradient.sample_aggregate_percentile.value = value.percentile
    limits, baseline = gradient.concurrency_limit_params, gradient.min_rtt_calc_params
    limits.concurrency_update_interval.CopyFrom(duration(value.update))
    limits.max_concurrency_limit.CopyFrom(uint32(value.most))
    limits.min_concurrency_limit.CopyFrom(uint32(value.least))
    if value.fixed:
        baseline.fixed_value.CopyFrom(duration(value.fixed))
    else:
        baseline.interval.CopyFrom(duration(value.interval))
    baseline.request_count.CopyFrom(uint32(value.count))
    baseline.min_concurrency.CopyFrom(uint32(value.concurrency))
    baseline.jitter.value = value.jitter
    baseline.buffer.value = value.tolerance
    return config


ADAPTIVE_CONCURRENCY = AdaptiveConcurrencyFeature()
