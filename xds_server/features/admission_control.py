"""Admission control: the more requests a backend fails, the fewer are sent to it.

In: `admissionControl` of a BackendTrafficPolicy. Out: a filter of Envoy's admission control in the cluster, behind all
others and after each choice of a backend. While the share of successes within the window is below the threshold,
requests are refused with 503 by chance, the more the lower it is. Each Envoy worker counts for itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import Annotated, Literal, get_args

from pydantic import Field

from xds_server.envoy_api.envoy.config.core.v3.base_pb2 import RuntimeDouble, RuntimePercent, RuntimeUInt32
from xds_server.envoy_api.envoy.extensions.filters.http.admission_control.v3.admission_control_pb2 import (
    AdmissionControl as EnvoyAdmissionControl,
)
from xds_server.envoy_api.envoy.extensions.filters.http.upstream_codec.v3.upstream_codec_pb2 import UpstreamCodec
from xds_server.envoy_api.envoy.type.v3.percent_pb2 import Percent
from xds_server.features.contract import ClusterParts, Context, Feature, pack
from xds_server.features.parts.values import duration, seconds
from xds_server.spec import Duration, Spec, UInt32

_FILTER = "envoy.filters.http.admission_control"
_CODEC = "envoy.filters.http.upstream_codec"
_RUNTIME = "cellway.admission_control"
_WINDOW = 30.0
Code = Annotated[int, Field(strict=True, ge=100, le=599)]
GrpcCode = Literal[
    "Ok",
    "Cancelled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
]
_NUMBERS = dict(zip(get_args(GrpcCode), count(), strict=False))


class HttpSuccessSpec(Spec):
    """Statuses that are successes."""

    status_codes: Annotated[tuple[Code, ...], Field(min_length=1)]


class GrpcSuccessSpec(Spec):
    """Statuses of gRPC that are successes."""

    status_codes: Annotated[tuple[GrpcCode, ...], Field(min_length=1)]


class SuccessSpec(Spec):
    """What is a success. Not said: every HTTP status below 500, and what gRPC does not blame on the server."""

    http: HttpSuccessSpec | None = None
    grpc: GrpcSuccessSpec | None = None


class AdmissionControlSpec(Spec):
    """When requests are refused, and how many."""

    sampling_window: Duration | None = None
    min_success_rate: Annotated[int, Field(strict=True, ge=1, le=100)] = 95
    rejection_aggression: Annotated[int, Field(strict=True, ge=1, le=2**32 - 1)] = 1
    min_request_rate: UInt32 = 0
    max_rejection_percent: Annotated[int, Field(strict=True, ge=0, le=100)] = 80
    success_criteria: SuccessSpec = SuccessSpec()


@dataclass(frozen=True, slots=True)
class AdmissionControl:
    """Seconds, percents, requests a second. Without `http` or `grpc`, Envoy's own successes."""

    window: float
    threshold: int
    aggression: int
    rate: int
    most: int
    http: tuple[int, ...]
    grpc: tuple[int, ...]


class AdmissionControlFeature(Feature[AdmissionControlSpec, AdmissionControl]):
    """`admissionControl` of a BackendTrafficPolicy."""

    name = "admission_control"
    carriers = (("BackendTrafficPolicy", "admissionControl"),)

    def resolve(self, spec: AdmissionControlSpec, context: Context) -> AdmissionControl | None:
        """The control, if its window is whole seconds."""
        window = seconds(spec.sampling_window) if spec.sampling_window else _WINDOW
        if not window or window % 1:
            context.problem("F103", "samplingWindow", reason="a window is whole seconds, at least 1s")
            return None
        http, grpc = spec.success_criteria.http, spec.success_criteria.grpc
        return AdmissionControl(
            window=window,
            threshold=spec.min_success_rate,
            aggression=spec.rejection_aggression,
            rate=spec.min_request_rate,
            most=spec.max_rejection_percent,
            http=tuple(sorted(set(http.status_codes))) if http else (),
            grpc=tuple(sorted({_NUMBERS[one] for one in grpc.status_codes})) if grpc else (),
        )

    def touches_cluster(self, value: AdmissionControl) -> bool:
        """The filter is the cluster's."""
        return True

    def cluster(self, value: AdmissionControl, parts: ClusterParts) -> None:
        """Put the filter before the codec, which every chain of a cluster ends with."""
        filters = parts.http.http_filters
        if not filters:
            filters.add(name=_CODEC, typed_config=pack(UpstreamCodec()))
        filters.insert(0, type(filters[0])(name=_FILTER, typed_config=pack(_filter(value))))


def _filter(value: AdmissionControl) -> EnvoyAdmissionControl:
    config = EnvoyAdmissionControl(
        sampling_window=duration(value.window),
        aggression=RuntimeDouble(default_value=value.aggression, runtime_key=f"{_RUNTIME}.aggression"),
        sr_threshold=RuntimePercent(default_value=Percent(value=value.threshold), runtime_key=f"{_RUNTIME}.threshold"),
        rps_threshold=RuntimeUInt32(default_value=value.rate, runtime_key=f"{_RUNTIME}.rate"),
        max_rejection_probability=RuntimePercent(
            default_value=Percent(value=value.most), runtime_key=f"{_RUNTIME}.most"
        ),
    )
    config.success_criteria.SetInParent()
    for code in value.http:
        config.success_criteria.http_criteria.http_success_status.add(start=code, end=code + 1)
    if value.grpc:
        config.success_criteria.grpc_criteria.grpc_success_status.extend(value.grpc)
    return config


ADMISSION_CONTROL = AdmissionControlFeature()
