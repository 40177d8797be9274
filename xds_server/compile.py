"""The pure rooms in a row: objects -> `Compiled`.

In: parsed objects, in any order, and options. Out: the snapshots of all gateways, the status of every object
and all diagnostics. Same input, same bytes. It reads no clock, no network and no environment, and never raises
for a user's mistake.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from google.protobuf.message import Message

from xds_server import graph
from xds_server.attach.assemble import Given, attach_objects
from xds_server.attach.index import unique
from xds_server.cells.lower import lower_cells
from xds_server.cells.origins import SectionSettings
from xds_server.diagnostics import Diagnostic, sort_key
from xds_server.features import FEATURES
from xds_server.model.object import Object
from xds_server.rules import Rules
from xds_server.snapshot.build import build_snapshot, merge_snapshots
from xds_server.snapshot.resource import Snapshot
from xds_server.status import Status, aggregated
from xds_server.translate.gateway import translate_gateway
from xds_server.translate.message import Translated
from xds_server.types import Condition, Fetched, Key

STAGES = ("attach", "translate", "snapshot")
DEFAULT_CONTROLLERS = ("cellway.dev/gateway-controller", "gateway.envoyproxy.io/gatewayclass-controller")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line decides, and what is known of the web.

    `controllers`: the controllerNames that we answer for. `address_pool`: a CIDR from which every Gateway without
    `spec.addresses` gets an address of its own; without it such a Gateway listens on all addresses. `fetched`: what is
    known of the documents of the web that a compilation before this one `wanted`, by URL.
    """

    controllers: tuple[str, ...] = DEFAULT_CONTROLLERS
    address_pool: str | None = None
    fetched: Mapping[str, Fetched] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Compiled:
    """All that follows from one set of objects. `lowered` is what attachment saw: Gateway API objects only; `wanted` are URLs.

    `settings`: what counts in every section of every cell, and who set it.
    """

    objects: tuple[Object, ...] = ()
    lowered: tuple[Object, ...] = ()
    gateways: tuple[graph.Gateway, ...] = ()
    snapshots: Mapping[str, Snapshot] = field(default_factory=dict)
    statuses: Mapping[Key, Status] = field(default_factory=dict)
    diagnostics: tuple[Diagnostic, ...] = ()
    settings: tuple[SectionSettings, ...] = ()
    wanted: tuple[str, ...] = ()


def compile_objects(
    objects: Iterable[Object], options: Options, passed: Callable[[str], None] = lambda _stage: None
) -> Compiled:
    """Compile a whole set of objects. `passed` is told the name of each stage when it is done (one of STAGES)."""
    written, duplicates = unique(objects)
    lowered = lower_cells(written)
    attached = attach_objects(
        lowered.objects, FEATURES, Given(options.controllers, options.address_pool, options.fetched)
    )
    passed("attach")
    check = Rules().check
    translated = [(gateway, *translate_gateway(gateway, FEATURES, check)) for gateway in attached.gateways]
    passed("translate")
    snapshots, problems = _snapshots(translated, check)
    passed("snapshot")
    found = sorted((*duplicates, *lowered.diagnostics, *attached.diagnostics, *problems), key=sort_key)
    # A leaf of a class is in many derived policies: what is wrong with it is said once.
    once = {(one.code, one.span, one.message): one for one in reversed(found)}
    return Compiled(
        written,
        lowered.objects,
        attached.gateways,
        snapshots,
        _joined(attached.statuses, lowered.statuses, lowered.made),
        tuple(reversed(once.values())),
        lowered.settings,
        attached.wanted,
    )


def _joined(
    attached: Mapping[Key, Status], lowered: Mapping[Key, Status], made: Mapping[Key, tuple[Key, ...]]
) -> dict[Key, Status]:
    """Statuses of written objects: what became of a derived one is said of the object that it carries on."""
    statuses = {**attached, **lowered}
    for written, derived in made.items():
        found = [attached[key] for key in derived if key in attached]
        parents = tuple(parent for status in found for parent in status.parents)
        refused = next(
            (one for status in found for place in status.ancestors for one in place.conditions if not _is_good(one)),
            None,
        )
        known = lowered.get(written, Status())
        ancestors = known.ancestors
        if refused is not None:
            ancestors = tuple(replace(place, conditions=(refused,)) for place in ancestors)
        statuses[written] = replace(known, parents=parents or known.parents, ancestors=ancestors)
    return {key: aggregated(status) for key, status in statuses.items()}


def _is_good(condition: Condition) -> bool:
    return condition.type != "Accepted" or condition.status


def _snapshots(
    translated: Iterable[tuple[graph.Gateway, tuple[Translated, ...], tuple[Diagnostic, ...]]],
    check: Callable[[Message], str | None],
) -> tuple[dict[str, Snapshot], list[Diagnostic]]:
    """A snapshot for every gateway, and one for every group of gateways that one Envoy may serve."""
    snapshots: dict[str, Snapshot] = {}
    groups: dict[str, list[Snapshot]] = defaultdict(list)
    problems: list[Diagnostic] = []
    for gateway, messages, found in translated:
        snapshot, more = build_snapshot(gateway.name, messages, check)
        problems += [*found, *more]
        snapshots[gateway.name] = snapshot
        for group in gateway.groups:
            groups[group].append(snapshot)
    for group, members in groups.items():
        snapshots[group], more = merge_snapshots(group, members)
        problems += more
    return snapshots, problems
