"""EnvoyProxy as it is written: settings of the Envoys of a Gateway, or of all Gateways of a class.

Follows gateway.envoyproxy.io/v1alpha1. Fields that say how Envoys are run are not declared: Cellway runs none but its
own.
"""

from __future__ import annotations

from xds_server.features.parts.proxy_telemetry import ProxyTelemetrySpec
from xds_server.spec import Spec


class EnvoyProxySpec(Spec):
    """What a Gateway or a GatewayClass refers to by `parametersRef`."""

    telemetry: ProxyTelemetrySpec | None = None
