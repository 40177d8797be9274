"""Ports of a Gateway that no listener asked for: those on which its Envoys answer for what its EnvoyProxy says.

In: a Gateway, and its ports so far. Out: more of them. One where the Gateway listens itself, or the server, is reported, and is
not there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from xds_server.attach.gateways import GatewayState
from xds_server.attach.reach import Reach
from xds_server.diagnostics import Diagnostic
from xds_server.features.contract import AnyFeature
from xds_server.graph import Port


def own_ports(
    state: GatewayState, ports: Sequence[Port], features: Sequence[AnyFeature], reach: Reach
) -> tuple[tuple[Port, ...], tuple[Diagnostic, ...]]:
    """The ports, and what is wrong with some."""
    by_name = {feature.name: feature for feature in features}
    found, problems = list[Port](), list[Diagnostic]()
    for setting in state.proxy:
        place = by_name[setting.feature].place(setting.value)
        if place is None:
            continue
        address, number = place
        name = f"{state.key.namespace}/{state.key.name}/{setting.feature}-{number}"
        port = Port(name, (address,), number, (), settings=(setting,), origins=setting.origins, own=True)
        met = any(_meet(port, one) for one in (*ports, *found))
        if other := "a listener of this Gateway" if met else reach.server_at(port.addresses, number):
            own = state.spec.infrastructure is not None and state.spec.infrastructure.parameters_ref is not None
            path = ("infrastructure", "parametersRef") if own else ("gatewayClassName",)
            words = {"what": setting.feature, "place": f"{address}:{number}", "other": other}
            problems.append(state.item.diagnose("A152", *path, **words))
        else:
            found.append(port)
    return tuple(found), tuple(problems)


def _meet(one: Port, other: Port) -> bool:
    """Whether a connection could be for either of them."""
    if (one.port, one.transport) != (other.port, other.transport):
        return False
    return any(a == b or _all(a) or _all(b) for a in one.addresses for b in other.addresses)


def _all(address: str) -> bool:
    return ipaddress.ip_address(address).is_unspecified
