"""How long the Envoys of each gateway let connections to a former listener be: the server keeps for them what these need.

In: snapshots, gateways, and how the Envoys on this machine are run. Out: the same snapshots that say it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from xds_server.graph import Gateway, Process
from xds_server.snapshot.resource import ENVOY_DRAIN, Snapshot
from xds_server.supervise.command import drain_of


def with_drains(
    snapshots: Mapping[str, Snapshot], gateways: Iterable[Gateway], local: Mapping[str, Process | None]
) -> dict[str, Snapshot]:
    """The snapshots with the drain time of their Envoys. `local`: the gateways that have one here.

    Envoys that others start have Envoy's own time unless they were told: then rather what is written, if that is longer.
    """
    drains = {name: drain_of(process) for name, process in local.items() if process is not None}
    written: dict[str, float] = {}
    for gateway in gateways:
        if gateway.process is not None and gateway.process.drain is not None:
            for name in (gateway.name, *gateway.groups):
                written[name] = max(written.get(name, ENVOY_DRAIN), gateway.process.drain)
    elsewhere = {name: written.get(name, ENVOY_DRAIN) for name in snapshots}
    return {name: replace(one, drain=drains.get(name, elsewhere[name])) for name, one in snapshots.items()}
