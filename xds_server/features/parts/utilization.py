"""Weights of endpoints from the load that they report (ORCA), as users write it.

In: `backendUtilization` of a `loadBalancer`. Out: its meaning, and Envoy's policy for it. Reports come in headers of
answers, which clients do not get unless that is asked for, or by a gRPC stream to each endpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from xds_server.envoy_api.envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3 import (
    client_side_weighted_round_robin_pb2 as weighted,
)
from xds_server.envoy_api.envoy.extensions.load_balancing_policies.common.v3.common_pb2 import SlowStartConfig
from xds_server.features.parts.values import duration, seconds
from xds_server.spec import Bool, Duration, Port, Spec, Text, UInt32

REPORT_HEADERS = ("endpoint-load-metrics", "endpoint-load-metrics-bin")
"""Headers of answers that hold reports."""


class OutOfBandSpec(Spec):
    """A gRPC stream of its own by which endpoints report their load, instead of headers."""

    reporting_period: Duration | None = None
    port: Port | None = None
    authority: Annotated[Text, Field(min_length=1, max_length=259)] | None = None


class BackendUtilizationSpec(Spec):
    """Weights from the load that endpoints report (ORCA)."""

    blackout_period: Duration | None = None
    weight_expiration_period: Duration | None = None
    weight_update_period: Duration | None = None
    error_utilization_penalty_percent: UInt32 | None = None
    metric_names_for_computing_utilization: tuple[Text, ...] = ()
    keep_response_headers: Bool = False
    out_of_band: OutOfBandSpec | None = None


@dataclass(frozen=True, slots=True)
class OutOfBand:
    """`period` in seconds; `port` 0: that of the endpoint; `authority` empty: the endpoint."""

    period: float | None
    port: int
    authority: str


@dataclass(frozen=True, slots=True)
class Utilization:
    """Times in seconds, the penalty as a factor; None leaves Envoy's default."""

    blackout: float | None
    expiration: float | None
    update: float | None
    penalty: float | None
    metrics: tuple[str, ...]
    keep_headers: bool = False
    out_of_band: OutOfBand | None = None


def resolve_utilization(spec: BackendUtilizationSpec) -> Utilization:
    """What the spec means; nothing in it can be wrong."""
    penalty, stream = spec.error_utilization_penalty_percent, spec.out_of_band
    return Utilization(
        seconds(spec.blackout_period),
        seconds(spec.weight_expiration_period),
        seconds(spec.weight_update_period),
        None if penalty is None else penalty / 100,
        spec.metric_names_for_computing_utilization,
        spec.keep_response_headers,
        OutOfBand(seconds(stream.reporting_period), stream.port or 0, stream.authority or "") if stream else None,
    )


def weighted_by_load(
    value: Utilization | None, slow_start: SlowStartConfig | None
) -> weighted.ClientSideWeightedRoundRobin:
    """Envoy's policy. None leaves all its defaults."""
    config = weighted.ClientSideWeightedRoundRobin(slow_start_config=slow_start)
    if value is None:
        return config
    if value.blackout is not None:
        config.blackout_period.CopyFrom(duration(value.blackout))
    if value.expiration is not None:
        config.weight_expiration_period.CopyFrom(duration(value.expiration))
    if value.update is not None:
        config.weight_update_period.CopyFrom(duration(value.update))
    if value.penalty is not None:
        config.error_utilization_penalty.value = value.penalty
    config.metric_names_for_computing_utilization.extend(value.metrics)
    if value.out_of_band is not None:
        config.enable_oob_load_report.value = True
        if value.out_of_band.period:
            config.oob_reporting_period.CopyFrom(duration(value.out_of_band.period))
        config.oob_reporting_config.port_value = value.out_of_band.port
        config.oob_reporting_config.authority = value.out_of_band.authority
    return config
