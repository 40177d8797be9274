"""To what requests go: the endpoints of a Service, always.

In: `routingType` of an EnvoyProxy or a BackendTrafficPolicy. Out: nothing: `Endpoint` is what is done anyway. `Service` is
refused: behind the address of a Service somebody else would have to spread requests, and without Kubernetes nobody does.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from xds_server.features.contract import Context, Feature

RoutingTypeSpec = Literal["Endpoint", "Service"]
_REASON = (
    "requests go to endpoints; the address of a Service means nothing where no Kubernetes spreads what comes to it"
)


class RoutingType(Feature[RoutingTypeSpec, None]):
    """`routingType` of an EnvoyProxy and a BackendTrafficPolicy."""

    name = "routing_type"
    carriers: ClassVar[tuple[tuple[str, str], ...]] = (
        ("EnvoyProxy", "routingType"),
        ("BackendTrafficPolicy", "routingType"),
    )
    transports = ("http", "tcp", "udp")

    def resolve(self, spec: RoutingTypeSpec, context: Context) -> None:
        """Nothing, after having said what cannot be."""
        if spec == "Service":
            context.problem("F103", hint="write routingType: Endpoint, or leave it out", reason=_REASON)


ROUTING_TYPE = RoutingType()
