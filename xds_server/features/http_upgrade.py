"""Upgrades: which other protocols a client may switch a request to.

In: `httpUpgrade` of a BackendTrafficPolicy. Out: upgrades of Envoy routes. Without it WebSocket may be used. With it only
what is listed may: a request for another upgrade is answered with 403. CONNECT reaches only rules that match the method
CONNECT; with `connect.terminate` the gateway ends the tunnel and sends the bytes in it to the backend.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route
from xds_server.features.contract import Context, Feature
from xds_server.spec import Bool, HeaderName, Spec

_WEBSOCKET = "websocket"
_CONNECT = "connect"


class ConnectSpec(Spec):
    """What becomes of a tunnel."""

    terminate: Bool = False


class UpgradeSpec(Spec):
    """A protocol by its name in the header `upgrade`, or CONNECT."""

    type: Annotated[HeaderName, Field(max_length=64)]
    connect: ConnectSpec | None = None


@dataclass(frozen=True, slots=True)
class Upgrades:
    """Names in lower case. `terminate`: tunnels end here."""

    names: tuple[str, ...]
    terminate: bool = False


class HttpUpgradeFeature(Feature[tuple[UpgradeSpec, ...], Upgrades]):
    """`httpUpgrade` of a BackendTrafficPolicy."""

    name = "http_upgrade"
    carriers = (("BackendTrafficPolicy", "httpUpgrade"),)

    def resolve(self, spec: tuple[UpgradeSpec, ...], context: Context) -> Upgrades | None:
        """The upgrades, or None if one is there twice or has what is for CONNECT only."""
        names: list[str] = []
        for number, one in enumerate(spec):
            name = one.type.lower()
            if name in names:
                context.problem("F103", number, "type", reason=f"{one.type} is there twice")
                return None
            if one.connect is not None and name != _CONNECT:
                context.problem("F103", number, "connect", reason="this is for type CONNECT only")
                return None
            names.append(name)
        return Upgrades(tuple(names), any(one.connect is not None and one.connect.terminate for one in spec))

    def route(self, value: Upgrades, route: Route) -> None:
        """The upgrades of this route, and no WebSocket unless it is one of them."""
        if not route.HasField("route"):
            return
        for name in value.names:
            written = name.upper() if name == _CONNECT else name
            added = route.route.upgrade_configs.add(upgrade_type=written)
            if name == _CONNECT and value.terminate:
                added.connect_config.SetInParent()
        if _WEBSOCKET not in value.names:
            route.route.upgrade_configs.add(upgrade_type=_WEBSOCKET).enabled.value = False


HTTP_UPGRADE = HttpUpgradeFeature()
