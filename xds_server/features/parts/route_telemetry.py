"""`telemetry` of a BackendTrafficPolicy as it is written; each of its fields belongs to a feature of its own.

In: nothing. Out: spec classes.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from xds_server.features.parts.tracing_specs import TracingSpec
from xds_server.spec import Spec, Text


class MetricsSpec(Spec):
    """The name under which a route is counted."""

    route_stat_name: Annotated[Text, Field(min_length=1, max_length=256)] | None = None


class TelemetrySpec(Spec):
    """What is told of the requests of a route."""

    tracing: TracingSpec | None = None
    metrics: MetricsSpec | None = None
