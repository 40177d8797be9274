"""Promotion and rollback: which release a stage shall have next, and what speaks against it.

In: what is compiled now, its options with all releases, the history of a cell, and what is asked for. Out: a `Move` for
every cell, with blockers and warnings. It looks at what would be compiled then; nothing is written or changed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from xds_server.cells.bindings import close
from xds_server.cells.releases import Releases, cell_key, release_name, release_of
from xds_server.cells.sidecars import enforced_places
from xds_server.compile import Compiled, Options, compile_objects
from xds_server.diagnostics import Diagnostic, Severity
from xds_server.model.cell_kinds import WORKING_COPY, CellBindingSpec
from xds_server.model.object import Object
from xds_server.releases.store import read_release, release_text

_WARNED = ("C125",)
"""Errors that stand in nobody's way: an override that changes nothing."""
_LIMITS = ("rateLimit",)
"""Traffic settings that protect."""
_FROM = "sidecar that keeps its `from`"


@dataclass(frozen=True, slots=True)
class Finding:
    """What speaks against a move: a sentence, and where it is written (empty if nowhere)."""

    message: str
    place: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Move:
    """A release for a cell in a stage. `text` is what is to be stored, if it is not there yet."""

    cell: str
    stage: str
    release: str = ""
    replaces: str = ""
    source: str = ""
    text: str = field(default="", repr=False)
    blockers: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """What is in force: compiled, with these options; `folder` is where releases are stored."""

    compiled: Compiled
    options: Options
    folder: Path

    @property
    def stages(self) -> list[str]:
        """All stages, in the order of promotion."""
        return [one.stage for one in self.compiled.stages]

    @property
    def releases(self) -> Releases:
        """All releases."""
        return self.options.releases

    def has(self, cell: str, stage: str) -> bool:
        """Whether a cell is in a stage."""
        return any(one.stage == stage and cell in one.cells for one in self.compiled.stages)

    def live(self, cell: str, stage: str) -> str:
        """The release that a cell has in a stage; empty for the working copy, and where it is not."""
        return next((one.releases.get(cell, "") for one in self.compiled.stages if one.stage == stage), "")

    def binding(self, cell: str, stage: str) -> Object | None:
        """The binding of a cell in a stage."""
        for item in self.compiled.objects:
            if isinstance(item.spec, CellBindingSpec) and (item.spec.cell, item.spec.stage) == (cell, stage):
                return item
        return None


def plan_promotion(known: Known, cells: Iterable[str], stage: str) -> tuple[Move, ...]:
    """What each cell's move to a stage would be. Cells that are promoted together may need each other."""
    moves = [_promotion(known, cell, stage) for cell in dict.fromkeys(cells)]
    return _checked(known, moves, blocking=True)


def plan_rollback(known: Known, cell: str, stage: str, release: str, history: Sequence[str]) -> Move:
    """What going back would be: to a release, or to the one before. Nothing but what makes it impossible blocks it."""
    move = Move(cell, stage, release, known.live(cell, stage))
    blockers = _unknown(known, cell, stage) or _first_or_fixed(known, cell, stage)
    if not blockers and not release:
        earlier = [name for name in history if name != move.replaces]
        move = replace(move, release=earlier[-1] if earlier else "")
        if not earlier:
            blockers = (Finding(f"cell {cell} had nothing else in stage {stage}: there is nothing to go back to"),)
    if not blockers and not known.releases.has(move.release, cell):
        hint = close(move.release, [one for one in known.releases.stored if known.releases.has(one, cell)])
        blockers = (Finding(f"there is no release '{move.release}' of cell {cell}", hint=hint),)
    (checked,) = _checked(known, [replace(move, blockers=blockers)], blocking=False)
    return checked


def _promotion(known: Known, cell: str, stage: str) -> Move:
    move = Move(cell, stage, replaces=known.live(cell, stage))
    if found := _unknown(known, cell, stage):
        return replace(move, blockers=found)
    if stage == known.stages[0]:
        path = " -> ".join(known.stages)
        return replace(move, blockers=(Finding(f"cells begin in stage {stage}; the path is {path}"),))
    source = known.stages[known.stages.index(stage) - 1]
    move = replace(move, source=source)
    if not known.has(cell, source):
        path = " -> ".join(known.stages[: known.stages.index(stage) + 1])
        message = f"cell {cell} is not in stage {source}; the path is {path}"
        hint = "" if source == known.stages[0] else f"cellway promote {cell} --to {source}"
        return replace(move, blockers=(Finding(message, hint=hint),))
    move = _with_release(known, move)
    if not move.release:
        return replace(move, blockers=(Finding(f"cell {cell} cannot be stored: it does not read as it is written"),))
    broken = _broken(known, cell, source)
    return replace(move, blockers=broken + _first_or_fixed(known, cell, stage, move.release))


def _with_release(known: Known, move: Move) -> Move:
    """The release of the stage before; of a working copy it is made now."""
    live = known.live(move.cell, move.source)
    if live:
        return replace(move, release=live)
    objects = release_of(known.compiled.objects, move.cell)
    name, text = release_name(objects, move.cell, known.releases), release_text(objects)
    if not read_release(name, text, known.folder / f"{name}.yaml").objects:
        return move
    return replace(move, release=name, text=text)


def _broken(known: Known, cell: str, source: str) -> tuple[Finding, ...]:
    """Errors of a working copy itself: a release is something that was good once."""
    if known.live(cell, source):
        return ()
    files = {(str(item.key), item.source.positions.start.file) for item in release_of(known.compiled.objects, cell)}
    found = [one for one in known.compiled.diagnostics if one.severity == Severity.ERROR and one.code != "C103"]
    return tuple(_finding(one) for one in found if one.span and (one.subject, one.span.file) in files)


def _unknown(known: Known, cell: str, stage: str) -> tuple[Finding, ...]:
    if stage not in known.stages:
        text = f"the organization has no stage '{stage}'; it has {', '.join(known.stages)}"
        return (Finding(text, hint=close(stage, known.stages)),)
    cells = [item.name for item in known.compiled.objects if item.key == cell_key(item.name)]
    if cell not in cells and not known.has(cell, stage):
        return (Finding(f"there is no cell '{cell}'", hint=close(cell, cells)),)
    return ()


def _first_or_fixed(known: Known, cell: str, stage: str, release: str = "") -> tuple[Finding, ...]:
    """Why the store has no say: the first stage has the working copy, or a binding says what the stage has."""
    binding = known.binding(cell, stage)
    if binding is None:
        hint = f"write a CellBinding with cell: {cell} and stage: {stage}"
        return (Finding(f"cell {cell} has no binding in stage {stage}", hint=hint),)
    assert isinstance(binding.spec, CellBindingSpec)
    place = str(binding.source.value("spec", "release"))
    if binding.spec.release is not None:
        says = "the working copy" if binding.spec.release == WORKING_COPY else binding.spec.release
        hint = f"write release: {release} there, or leave release out" if release else "change it there"
        return (Finding(f"the binding says that stage {stage} has {says}", place, hint),)
    if stage == known.stages[0]:
        hint = "go back in the files, or name a release in the binding"
        return (Finding(f"stage {stage} has the working copy", str(binding.source.positions.start), hint),)
    return ()


def _checked(known: Known, moves: Sequence[Move], *, blocking: bool) -> tuple[Move, ...]:
    """The moves with what compiling them shows, all of them together."""
    possible = [move for move in moves if not move.blockers]
    if not possible:
        return tuple(moves)
    stored = dict(known.releases.stored)
    for move in possible:
        if move.text:
            # As it is written now, so that whatever is found has its place in a file that people know.
            stored[move.release] = release_of(known.compiled.objects, move.cell)
    live = {**known.releases.live, **{(move.stage, move.cell): move.release for move in possible}}
    after = compile_objects(
        known.compiled.objects, replace(known.options, releases=replace(known.releases, stored=stored, live=live))
    )
    new = [one for one in after.diagnostics if one not in set(known.compiled.diagnostics)]
    return tuple(_judged(known, move, after, new, blocking=blocking) if not move.blockers else move for move in moves)


def _judged(known: Known, move: Move, after: Compiled, new: Iterable[Diagnostic], *, blocking: bool) -> Move:
    binding = known.binding(move.cell, move.stage)
    subjects = (f"Cell {move.cell}", str(binding.key) if binding is not None else "")
    own = [
        one
        for lowered in after.stages
        if lowered.stage == move.stage
        for one in lowered.diagnostics
        if one.subject in subjects or f" {move.cell}/" in one.subject
    ]
    found = list(dict.fromkeys((*own, *new)))
    errors = [one for one in found if one.severity == Severity.ERROR]
    blockers = [one for one in errors if blocking and one.code not in _WARNED]
    warnings = [_finding(one) for one in errors if one not in blockers]
    warnings += [_finding(one) for one in found if one.severity == Severity.WARNING]
    return replace(
        move,
        blockers=tuple(_finding(one) for one in blockers),
        warnings=(*warnings, *_weaker(move, known.compiled, after)),
    )


def _weaker(move: Move, now: Compiled, after: Compiled) -> list[Finding]:
    """What protects a section in the stage before and not in this one. A rollback is compared with what is there now."""
    before = move.source or move.stage
    there, here = _protections(now, move.cell, before), _protections(after, move.cell, move.stage)
    what = f"in stage {before}" if move.source else "now"
    return [
        Finding(f"{section} has no {name} in stage {move.stage}, and has it {what}")
        for section, name in sorted(there - here)
    ]


def _protections(compiled: Compiled, cell: str, stage: str) -> set[tuple[str, str]]:
    settings = {
        (one.section, str(leaf.path[0]))
        for one in compiled.settings
        if (one.cell, one.stage) == (cell, stage)
        for leaf in one.leaves
        if one.field == "security" or leaf.path[0] in _LIMITS
    }
    there = (one.cells[cell] for one in compiled.stages if one.stage == stage and cell in one.cells)
    return settings | {(place, _FROM) for sections in there for place in enforced_places(sections)}


def _finding(one: Diagnostic) -> Finding:
    return Finding(one.message, str(one.span) if one.span else "", one.hint)
