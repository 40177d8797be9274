"""A log of all probes of a Gateway's backends.

In: `telemetry.healthCheckLog` of an EnvoyProxy. Out: the event logger of every active health check that has none of its
own. It probes nothing: that is for `healthCheck.active` of policies.
"""

from __future__ import annotations

from xds_server.features.contract import ClusterParts, Context, Feature
from xds_server.features.parts.probes import ProbeLog, resolve_log, set_log
from xds_server.features.parts.proxy_telemetry import ProxyTelemetrySpec


class HealthLogFeature(Feature[ProxyTelemetrySpec, ProbeLog]):
    """`telemetry.healthCheckLog` of an EnvoyProxy."""

    name = "health_log"
    carriers = (("EnvoyProxy", "telemetry"),)
    transports = ("http", "tcp", "udp")

    def resolve(self, spec: ProxyTelemetrySpec, context: Context) -> ProbeLog | None:
        """The log, or None if there is none or it cannot be."""
        written = spec.health_check_log
        return resolve_log(written, context, "healthCheckLog") if written is not None else None

    def touches_cluster(self, value: ProbeLog) -> bool:
        """Probes belong to clusters."""
        return True

    def cluster(self, value: ProbeLog, parts: ClusterParts) -> None:
        """The log of checks without one."""
        for check in parts.cluster.health_checks:
            if not check.event_logger:
                set_log(value, check)


HEALTH_LOG = HealthLogFeature()
