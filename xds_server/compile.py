"""The pure rooms in a row: objects -> `Compiled`.

In: parsed objects, in any order, and options. Out: the snapshots of all gateways, the status of every object
and all diagnostics. Same input, same bytes. It reads no clock, no network and no environment, and never raises
for a user's mistake.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import chain

from google.protobuf.message import Message

from xds_server import graph
from xds_server.attach.assemble import Attached, Given, attach_objects
from xds_server.attach.assemble import Memory as AttachMemory
from xds_server.attach.index import Unique, unique
from xds_server.attach.reach import Reach
from xds_server.cells.authority import Authorities
from xds_server.cells.lower import Lowered
from xds_server.cells.origins import SectionSettings
from xds_server.cells.releases import NO_RELEASES, Releases
from xds_server.cells.stages import Memory as StagesMemory
from xds_server.cells.stages import lower_stages
from xds_server.diagnostics import Diagnostic, diagnose, sort_key
from xds_server.features import FEATURES
from xds_server.model.object import Object
from xds_server.model.shadow import Labels
from xds_server.parts import Over, Side
from xds_server.rules import Rules
from xds_server.snapshot.build import Memory as SnapshotMemory
from xds_server.snapshot.build import build_snapshot, merge_snapshots
from xds_server.snapshot.resource import Snapshot
from xds_server.status import Status, all_aggregated, join_derived, join_stages, with_programmed
from xds_server.translate.bootstrap import translate_bootstrap
from xds_server.translate.gateway import Memory as GatewayMemory
from xds_server.translate.gateway import translate_gateway
from xds_server.translate.message import Translated
from xds_server.translate.patches import apply_patches
from xds_server.types import CodeFile, Condition, Fetched, Key

STAGES = ("attach", "translate", "snapshot")
DEFAULT_CONTROLLERS = ("cellway.dev/gateway-controller", "gateway.envoyproxy.io/gatewayclass-controller")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line decides, and what is known of the web and of releases.

    `controllers`: the controllerNames that we answer for. `address_pool`: a CIDR from which every Gateway without
    `spec.addresses` gets an address of its own; without it such a Gateway listens on all addresses. `fetched`: what is
    known of the documents of the web that a compilation before this one `wanted`, by URL. `authorities`: what vouches for
    gateways of cells; None where nothing is served and placeholders will do. `databases`: files on Envoys' machines that
    tell where addresses are. `one_machine`: the Envoys of all gateways run on one. `log_folders`: folders on Envoys' machines
    in which access logs may be written. `extenders`: namespaces whose policies may run code in Envoys and patch what they
    are served; `*`: all. `module_folders`: folders on Envoys' machines right in which native modules may be.
    `code_files`: modules of WebAssembly beside policies, by name. `reach`: where backends may lead.
    """

    controllers: tuple[str, ...] = DEFAULT_CONTROLLERS
    address_pool: str | None = None
    fetched: Mapping[str, Fetched] = field(default_factory=dict)
    releases: Releases = NO_RELEASES
    authorities: Authorities | None = None
    databases: Mapping[str, str] = field(default_factory=dict)
    one_machine: bool = False
    log_folders: tuple[str, ...] = ()
    extenders: tuple[str, ...] = ()
    module_folders: tuple[str, ...] = ()
    code_files: Mapping[str, CodeFile] = field(default_factory=dict)
    reach: Reach = field(default_factory=Reach)


@dataclass(frozen=True, slots=True)
class Compiled:
    """All that follows from one set of objects. `wanted` are URLs.

    `lowered` is what attachment saw for the first stage: Gateway API objects only. `stages` has the same for each stage.
    `settings`: what counts in every section of every cell in every stage, and who set it.
    """

    objects: Sequence[Object] = ()
    lowered: Sequence[Object] = ()
    gateways: tuple[graph.Gateway, ...] = ()
    snapshots: Mapping[str, Snapshot] = field(default_factory=dict)
    statuses: Mapping[Key, Status] = field(default_factory=dict)
    diagnostics: tuple[Diagnostic, ...] = ()
    settings: tuple[SectionSettings, ...] = ()
    wanted: tuple[str, ...] = ()
    stages: tuple[Lowered, ...] = ()
    shadows: tuple[Object, ...] = ()
    would: Compiled | None = None
    """What would be, were all `shadows` in force; None without them."""

    def gateways_of(self, stages: Collection[str]) -> tuple[graph.Gateway, ...]:
        """The gateways of cells in these stages (none: in the first one), and all that are no cell's."""
        chosen = set(stages) or {one.stage for one in self.stages[:1]}
        others = {name for one in self.stages if one.stage not in chosen for name, _ in one.gateways.values()}
        return tuple(gateway for gateway in self.gateways if gateway.name not in others)


@dataclass(slots=True)
class Memory:
    """What is kept from one compilation to the next, so that a small change costs little. Dropping it changes no result."""

    labels: Labels = field(default_factory=Labels)
    written: Unique = field(default_factory=Unique)
    stages: StagesMemory = field(default_factory=StagesMemory)
    attached: dict[str, AttachMemory] = field(default_factory=lambda: defaultdict(AttachMemory))
    gateways: dict[str, GatewayMemory] = field(default_factory=lambda: defaultdict(GatewayMemory))
    snapshots: dict[str, SnapshotMemory] = field(default_factory=lambda: defaultdict(SnapshotMemory))
    rules: Rules = field(default_factory=Rules)
    shadows: Memory | None = None
    """That of what would be with all shadows in force."""

    def clear(self) -> None:
        """Forget everything."""
        empty = Memory()
        for one in fields(self):
            setattr(self, one.name, getattr(empty, one.name))

    def keep(self, stages: Collection[str], gateways: Collection[str]) -> None:
        """Forget the stages and the gateways that are not there any more."""
        for known, names in ((self.attached, stages), (self.gateways, gateways), (self.snapshots, gateways)):
            for name in known.keys() - set(names):
                del known[name]


def compile_objects(
    objects: Iterable[Object],
    options: Options,
    passed: Callable[[str], None] = lambda _stage: None,
    memory: Memory | None = None,
) -> Compiled:
    """Compile a whole set of objects, in every stage of their organization.

    `passed` is told the name of each stage of compiling when it is done (one of STAGES). `memory` is that of earlier
    compilations; one that was left by an exception must not be used again. Shadows are checked only.
    """
    memory = memory or Memory()
    active, shadows, wrong = memory.labels.divide(objects)
    compiled = _compile(active, options, memory, passed)
    if wrong:
        compiled = replace(compiled, diagnostics=tuple(sorted((*compiled.diagnostics, *wrong), key=sort_key)))
    return _with_shadows(compiled, shadows, options, memory) if shadows else compiled


def _with_shadows(compiled: Compiled, objects: Iterable[Object], options: Options, memory: Memory) -> Compiled:
    """The same in force, and what is to be said of shadows: what would be wrong with them, and that they are none."""
    shadows, duplicates = unique(objects)
    keys = {item.key for item in shadows}
    memory.shadows = memory.shadows or Memory()
    would = _compile((*(item for item in compiled.objects if item.key not in keys), *shadows), options, memory.shadows)
    places = {(str(item.key), item.source.positions.start.file) for item in shadows}
    known = set(compiled.diagnostics)
    about = [
        one for one in would.diagnostics if one.span and (one.subject, one.span.file) in places and one not in known
    ]
    told = [diagnose("A160", item.source.positions.start, subject=str(item.key)) for item in shadows]
    waiting = Condition("Accepted", False, "Shadow", "its label cellway.dev/shadow says that it is not in force")
    statuses = {item.key: Status(conditions=(waiting,)) for item in shadows} | dict(compiled.statuses)
    found = tuple(sorted((*compiled.diagnostics, *duplicates, *about, *told), key=sort_key))
    return replace(compiled, diagnostics=found, statuses=statuses, shadows=shadows, would=would)


def _compile(
    objects: Iterable[Object], options: Options, memory: Memory, passed: Callable[[str], None] = lambda _: None
) -> Compiled:
    written, duplicates = memory.written.update(objects)
    lowered = lower_stages(written, options.releases, options.authorities, memory.stages)
    given = Given(
        options.controllers,
        options.address_pool,
        options.fetched,
        options.databases,
        options.one_machine,
        options.log_folders,
        options.extenders,
        options.module_folders,
        options.code_files,
        options.reach,
    )
    attached = [attach_objects(one.objects, FEATURES, given, memory.attached[one.stage]) for one in lowered]
    gateways = [
        _called(gateway, one) for one, found in zip(lowered, attached, strict=True) for gateway in found.gateways
    ]
    passed("attach")
    check = memory.rules.check
    memory.keep([one.stage for one in lowered], [one.name for one in gateways])
    translated, programmed = [], list[tuple[Key, Condition]]()
    for gateway in gateways:
        messages, wrong = translate_gateway(gateway, FEATURES, check, memory.gateways[gateway.name])
        patched = apply_patches(gateway, messages, check)
        translated.append((gateway, patched.messages, (*wrong, *patched.problems)))
        programmed += patched.programmed
    gateways = [_starting(gateway, messages) for gateway, messages, _ in translated]
    passed("translate")
    snapshots, problems = _snapshots(translated, check, memory.snapshots)
    passed("snapshot")
    found = [problem for one in lowered for problem in one.diagnostics]
    found += [problem for one in attached for problem in one.diagnostics]
    ordered = sorted((*duplicates, *found, *problems), key=lambda one: (*sort_key(one), one.subject, one.hint))
    # A leaf of a class is in many derived policies, and in all stages: what is wrong with it is said once.
    once = {(one.code, one.span, one.message): one for one in reversed(ordered)}
    statuses = _statuses(lowered, attached, memory.written.keys, programmed)
    return Compiled(
        written,
        lowered[0].objects,
        tuple(gateways),
        snapshots,
        statuses,
        tuple(reversed(once.values())),
        tuple(one for each in lowered for one in each.settings),
        tuple(dict.fromkeys(url for one in attached for url in one.wanted)),
        lowered,
    )


def _statuses(
    lowered: Sequence[Lowered],
    attached: Sequence[Attached],
    written: Collection[Key],
    programmed: Iterable[tuple[Key, Condition]],
) -> Mapping[Key, Status]:
    """The statuses of all stages together, and what became of patches."""
    if len(lowered) == 1 and not lowered[0].statuses and not lowered[0].made:
        return Side(attached[0].plain, with_programmed(all_aggregated(attached[0].others), programmed))
    first, plain = lowered[0], attached[0].plain
    later = [
        join_derived(one.statuses, cells.statuses, cells.made)
        for cells, one in zip(lowered[1:], attached[1:], strict=True)
    ]
    concerned = {*first.statuses, *first.made, *chain(*first.made.values()), *chain(*later)}
    known = {key: plain[key] for key in concerned if key in plain}
    joined = join_stages([join_derived({**known, **attached[0].others}, first.statuses, first.made), *later], written)
    return Over(plain, with_programmed(joined, programmed))


def _called(gateway: graph.Gateway, lowered: Lowered) -> graph.Gateway:
    """A gateway under the name that its Envoys ask by: that of a cell has its stage in it."""
    names = lowered.gateways.get(gateway.key)
    return replace(gateway, called=names[0], groups=(names[1],) if names[1] else ()) if names else gateway


def _starting(gateway: graph.Gateway, messages: Iterable[Translated]) -> graph.Gateway:
    """A gateway with what its Envoys start with."""
    text = translate_bootstrap(gateway, FEATURES, messages)
    return replace(gateway, process=replace(gateway.process, start=text)) if text and gateway.process else gateway


def _snapshots(
    translated: Iterable[tuple[graph.Gateway, Sequence[Translated], tuple[Diagnostic, ...]]],
    check: Callable[[Message], str | None],
    memory: Mapping[str, SnapshotMemory],
) -> tuple[dict[str, Snapshot], list[Diagnostic]]:
    """A snapshot for every gateway, and one for every group of gateways that one Envoy may serve."""
    snapshots: dict[str, Snapshot] = {}
    groups: dict[str, list[Snapshot]] = defaultdict(list)
    problems: list[Diagnostic] = []
    for gateway, messages, found in translated:
        snapshot, more = build_snapshot(gateway.name, messages, check, memory[gateway.name])
        problems += [*found, *more]
        snapshots[gateway.name] = snapshot
        for group in gateway.groups:
            groups[group].append(snapshot)
    for group, members in groups.items():
        snapshots[group], more = merge_snapshots(group, members)
        problems += more
    return snapshots, problems
