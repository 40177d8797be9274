"""The pure rooms in a row: objects -> `Compiled`.

In: parsed objects, in any order, and options. Out: the snapshots of all gateways, the status of every object
and all diagnostics. Same input, same bytes. It reads no clock, no network and no environment, and never raises
for a user's mistake.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from xds_server import graph
from xds_server.diagnostics import Diagnostic
from xds_server.model.object import Object
from xds_server.snapshot.resource import Snapshot
from xds_server.status import Status
from xds_server.types import Key

DEFAULT_CONTROLLERS = ("cellway.dev/gateway-controller", "gateway.envoyproxy.io/gatewayclass-controller")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line decides.

    `controllers`: the controllerNames that we answer for. `address_pool`: a CIDR from which every Gateway without
    `spec.addresses` gets an address of its own; without it such a Gateway listens on all addresses.
    """

    controllers: tuple[str, ...] = DEFAULT_CONTROLLERS
    address_pool: str | None = None


@dataclass(frozen=True, slots=True)
class Compiled:
    """All that follows from one set of objects. `lowered` is what attachment saw: Gateway API objects only."""

    objects: tuple[Object, ...]
    lowered: tuple[Object, ...]
    gateways: tuple[graph.Gateway, ...]
    snapshots: Mapping[str, Snapshot]
    statuses: Mapping[Key, Status]
    diagnostics: tuple[Diagnostic, ...]


def compile_objects(objects: Iterable[Object], options: Options) -> Compiled:
    """Compile a whole set of objects."""
    raise NotImplementedError
