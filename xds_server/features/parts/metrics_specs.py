"""What an Envoy counts, as it is written: `telemetry.metrics` of an EnvoyProxy.

In: nothing. Out: a spec class.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from xds_server.spec import Bool, Spec


class ProxyMetricsSpec(Spec):
    """What is counted besides what Envoy counts by itself."""

    enable_virtual_host_stats: Bool = False
    enable_per_endpoint_stats: Bool = False
    enable_request_response_sizes_stats: Bool = False
    enable_grpc_stats: Annotated[Bool, Field(alias="enableGRPCStats")] = False
