"""Settings of a section as a route gets them that has no requests, or that ends tunnels.

In: the layers of a dependency, or its merged settings. Out: merged settings. What the class, the cell and the direction say
of requests was not meant for connections and is left out. What somebody says of such a dependency itself stays, and is an
error where it means nothing; a guard stays whoever says it, so that what it cannot check is closed.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy

from pydantic import ValidationError

from xds_server.cells.merge import Layer, Merged, merge_layers, override_layers, put_over
from xds_server.features import FEATURES
from xds_server.model.policies import BackendTrafficPolicySpec
from xds_server.types import GATEWAY_GROUP, Origin

_OWN = ("policy on dependency", "binding override")
_IDLE = "1h"
_TARGET = {"targetRefs": [{"group": GATEWAY_GROUP, "kind": "TCPRoute", "name": "any"}]}


def without_requests(weak: list[Layer], strong: list[Layer]) -> Merged:
    """The settings of a dependency whose bytes nobody looks into."""
    merged = merge_layers(layer for layer in weak if layer.name not in _OWN)
    _drop_unfit(merged)
    override_layers(merged, (layer for layer in weak if layer.name in _OWN), whole=False)
    forced = merge_layers(strong)
    _drop_unfit(forced)
    put_over(merged, forced)
    return merged


def tunnelled(merged: Merged, origins: Iterable[Origin]) -> Merged:
    """The settings with tunnels that Envoy ends: the service gets what is in them, and no other upgrade."""
    found = deepcopy(merged)
    found.remove(("httpUpgrade",))
    found.value["httpUpgrade"] = [{"type": "CONNECT", "connect": {"terminate": True}}]
    waits = found.value.setdefault("timeout", {}).setdefault("http", {})
    # A tunnel is no request that has to end: it lasts as long as a connection does.
    found.remove(("timeout", "http", "requestTimeout"))
    waits["requestTimeout"] = "0s"
    waits.setdefault("streamIdleTimeout", _IDLE)
    found.origins |= dict.fromkeys(origins)
    return found


def _drop_unfit(merged: Merged) -> None:
    try:
        spec = BackendTrafficPolicySpec.model_validate({**merged.value, **_TARGET})
    except ValidationError:  # reported where the policy is made
        return
    aliases = {info.alias or name: name for name, info in BackendTrafficPolicySpec.model_fields.items()}
    for feature in FEATURES:
        for kind, field in feature.carriers:
            written = getattr(spec, aliases[field]) if kind == "BackendTrafficPolicy" and not feature.guards else None
            for path in feature.unfit(written, "tcp") if written is not None else ():
                merged.remove((field, *path))
    for field in [name for name, value in merged.value.items() if value == {}]:
        merged.remove((field,))
