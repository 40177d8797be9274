"""`telemetry` of an EnvoyProxy as it is written; each of its fields belongs to a feature of its own.

In: nothing. Out: the spec class.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from xds_server.features.parts.log_specs import AccessLogSpec
from xds_server.features.parts.metrics_specs import ProxyMetricsSpec
from xds_server.features.parts.probes import ProbeLogSpec
from xds_server.features.parts.tracing_specs import ProxyTracingSpec, RequestIdSpec
from xds_server.spec import Spec


class ProxyTelemetrySpec(Spec):
    """What is told of requests."""

    access_log: AccessLogSpec | None = None
    metrics: ProxyMetricsSpec | None = None
    health_check_log: ProbeLogSpec | None = None
    tracing: ProxyTracingSpec | None = None
    request_id: Annotated[RequestIdSpec | None, Field(alias="requestID")] = None
