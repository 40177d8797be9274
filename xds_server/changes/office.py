"""The office of a running server: where changes of its files are asked about, made, and taken back.

In: requests as JSON, and a server. Out: an HTTP status and an answer as JSON. A change is one transaction: it is checked beside
what is in force, all files are replaced while nobody reads them, and if an Envoy refuses it or does not take it in time, the
files are as they were before. What is live is noted, whoever changed it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import structlog

from xds_server.changes.candidate import Candidate, Files, candidate, in_force
from xds_server.changes.comparison import compared, shadowed
from xds_server.changes.folder import (
    Contents,
    HalfReplacedError,
    NotReplacedError,
    digests_now,
    is_in_folders,
    replace_files,
)
from xds_server.changes.history import History, Pending, State, state_name
from xds_server.changes.requests import ApplyRequest, DiffRequest, RequestError, UndoRequest, files_of, read_request
from xds_server.changes.secrets import Hasher
from xds_server.compile import Options
from xds_server.load.find import find_files
from xds_server.observe.diagnostics_view import diagnostic_json
from xds_server.reload import Policies
from xds_server.saved.contents import digest_of
from xds_server.types import parse_duration

_LOG = structlog.get_logger("cellway")
_LONGEST = 300.0
Json = dict[str, Any]
Answer = tuple[int, Json]


@dataclass(frozen=True, slots=True)
class Engine:
    """The server, as far as the office needs it.

    `exchange` does some work on files while nobody reads them, and then brings them into force. `in_force` returns when all
    that is on disk is in force and acknowledged, with an empty text, or in so many seconds why it is not.
    `key` gives a fresh key for hashes of secrets, `now` the time.
    """

    folders: tuple[Path, ...]
    policies: Callable[[], Policies]
    options: Callable[[], Options]
    reload: Callable[[], Awaitable[None]]
    exchange: Callable[[Callable[[], object]], Awaitable[None]]
    in_force: Callable[[float], Awaitable[str]]
    key: Callable[[], bytes]
    now: Callable[[], str]


class BlockedError(Exception):
    """A change is not made, and why."""


@dataclass(frozen=True, slots=True)
class _Change:
    """Files to replace, with the hashes that are there now; what differs; how it is to be carried out."""

    by: str
    contents: Contents
    before: Mapping[str, str | None]
    view: Json
    wait: float | None


class Office:
    """Answers requests about changes, one change at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._history: History | None = None
        self._changing = asyncio.Lock()
        self._by = "start"
        self._newest: Mapping[str, str] = {}
        self._noting: asyncio.Task[None] | None = None

    def open(self, folder: Path) -> None:
        """Keep what is live in this folder, and take back what the last server did not end. OSError if that cannot be done."""
        self._history = History(folder)
        begun, last = self._history.left(), self._history.pending()
        if not begun and last is None:
            return
        left, undone = [], list[str]()
        for pending in (*begun, *((last,) if last is not None else ())):
            ours = {name for name in pending.after if is_in_folders(Path(name), self._engine.folders)}
            try:
                undone += self._put_back(pending.of(ours))
            except (NotReplacedError, HalfReplacedError) as error:
                raise OSError(f"a change that the last server began cannot be taken back: {error}") from None
            if others := pending.after.keys() - ours:
                left.append(pending.of(others))
        self._history.leave(left)
        if undone or (last is not None and not left):
            _LOG.warning("a change that was not confirmed when the last server ended is taken back", files=undone)
        if left:
            _LOG.error(
                "a change that was not confirmed when a server ended is in folders that this one does not have: "
                "the next start with them takes it back",
                files=sorted(name for one in left for name in one.after),
            )

    def _put_back(self, pending: Pending) -> list[str]:
        """The files of a change that are as it made them, as they were; which those are. What else is there stays."""
        there = digests_now(pending.after)
        undone = [name for name, digest in pending.after.items() if there[name] == digest != pending.before[name]]
        contents = self._contents({name: pending.before[name] for name in undone})
        replace_files(contents, there, self._engine.folders)
        return undone

    def note(self, policies: Policies) -> None:
        """This is live from now on, unless something could not be read. It is written beside everything else."""
        loaded, history = policies.loaded, self._history
        if history is None or loaded is None or policies.alarm or loaded.failed or policies.gone:
            return
        by, self._by = self._by, self._by.replace("start", "edit")
        files = {name: file.digest for name, file in loaded.files.items()}
        if files != self._newest:
            self._newest = files
            self._noting = asyncio.create_task(self._write(self._noting, files, by), name="history")

    async def _write(self, before: asyncio.Task[None] | None, files: Mapping[str, str], by: str) -> None:
        if before is not None:
            await before
        assert self._history is not None
        try:
            await asyncio.to_thread(_note, self._history, files, by, self._engine.now())
        except OSError as error:
            _LOG.error("what is live cannot be noted in the history", reason=str(error))

    async def _noted(self) -> None:
        """Return when what is live is written down."""
        if self._noting is not None:
            await self._noting

    # -- questions -------------------------------------------------------------------------------------------

    async def diff(self, body: Any) -> Answer:
        """What other files, or the shadows of those in force, would change."""
        try:
            request = read_request(body, DiffRequest)
            return 200, await asyncio.to_thread(self._diff, request)
        except RequestError as error:
            return 400, {"message": str(error)}

    def _diff(self, request: DiffRequest) -> Json:
        engine = self._engine
        live, hasher = engine.policies(), Hasher(engine.key())
        if request.shadow and request.files is None:
            return {**shadowed(in_force(live, engine.options()), hasher, xds=request.xds), "diagnostics": []}
        found = candidate(live, engine.options(), files_of(request, engine.folders))
        if request.shadow:
            errors = found.new_errors(live.diagnostics)
            view = shadowed(found.new, hasher, xds=request.xds)
            return {**view, "diagnostics": [diagnostic_json(one) for one in errors]}
        return self._viewed(found, xds=request.xds)

    def _viewed(self, found: Candidate, *, xds: bool) -> Json:
        """What differs, and the errors that are new."""
        errors = found.new_errors(self._engine.policies().diagnostics)
        view = compared(found.old, found.new, Hasher(self._engine.key()), xds=xds)
        return {**view, "diagnostics": [diagnostic_json(one) for one in errors]}

    async def history(self) -> list[Json]:
        """All states that are kept, the newest first; `number` counts the steps back to those that were not refused."""
        await self._noted()
        states = list(self._history.states) if self._history is not None else []
        number, found = 0, []
        live = next((one for one in reversed(states) if not one.refused), None)
        for one in reversed(states):
            head = {"number": None if one.refused else number, "state": one.name, "since": one.since, "by": one.by}
            found.append({**head, "files": len(one.files), "live": one is live, "refused": one.refused})
            number += not one.refused
        return found

    # -- changes ---------------------------------------------------------------------------------------------

    async def apply(self, body: Any) -> Answer:
        """Make some files those of a folder."""
        return await self._one_at_a_time(self._apply, body)

    async def undo(self, body: Any) -> Answer:
        """Bring back files that were live."""
        return await self._one_at_a_time(self._undo, body)

    async def _one_at_a_time(self, act: Callable[[Any], Awaitable[Answer]], body: Any) -> Answer:
        if self._history is None:
            return 503, {"message": "this server keeps nothing, so it could not take a change back: see --state-dir"}
        if self._changing.locked():
            return 409, {"message": "another change is under way"}
        async with self._changing:
            try:
                await self._engine.reload()
                await self._noted()
                return await act(body)
            except RequestError as error:
                return 400, {"message": str(error)}
            except (BlockedError, NotReplacedError) as error:
                return 409, {"message": str(error)}
            except OSError as error:
                return 503, {"message": f"nothing was changed: {error}"}

    async def _apply(self, body: Any) -> Answer:
        request = read_request(body, ApplyRequest)
        files = files_of(request, self._engine.folders)
        if not files.texts:
            raise RequestError(f"there is no .yaml, .yml or .json file in {request.root}")
        live = self._live()
        if request.expect is not None and not (live and live.name.startswith(request.expect)):
            raise BlockedError(f"state {live.name if live else 'none'} is live, not {request.expect}")
        return await self._begin("apply", files, request)

    async def _undo(self, body: Any) -> Answer:
        request = read_request(body, UndoRequest)
        assert self._history is not None
        good = self._history.good
        if request.state is not None:
            found = self._history.find(request.state)
            if len(found) != 1:
                what = (
                    f"more than one state is called {request.state}" if found else f"there is no state {request.state}"
                )
                raise RequestError(f"{what}; see cellway history")
            target = found[0]
        elif request.steps < len(good):
            target = good[-1 - request.steps]
        else:
            raise RequestError(f"only {max(0, len(good) - 1)} changes can be taken back; see cellway history")
        texts = await asyncio.to_thread(self._contents, target.files)
        present = {name: data for name, data in texts.items() if data is not None}
        return await self._begin("undo", Files("", "", present), request)

    async def _begin(self, by: str, files: Files, request: ApplyRequest | UndoRequest) -> Answer:
        """Check, and carry out unless it is only asked about."""
        engine, live = self._engine, self._engine.policies()
        if live.alarm or live.loaded is None:
            raise BlockedError(f"what is on disk is not in force: {live.alarm}")
        found = await asyncio.to_thread(candidate, live, engine.options(), files)
        xds = isinstance(request, ApplyRequest) and request.xds
        view = await asyncio.to_thread(self._viewed, found, xds=xds)
        before = {name: file.digest for name, file in live.loaded.files.items() if files.replaces(name)}
        contents: dict[str, bytes | None] = {
            name: data for name, data in files.placed().items() if before.get(name) != digest_of(data)
        }
        contents |= {name: None for name in before if name not in files.placed()}
        expected: dict[str, str | None] = {name: before.get(name) for name in contents}
        wait = min(parse_duration(request.timeout) or 0.0, _LONGEST) if request.wait else None
        blocked = bool(view["diagnostics"])
        answer = {"done": False, "dryRun": request.dry_run, "files": sorted(contents), **view}
        if blocked or request.dry_run:
            return (409 if blocked else 200), answer
        if not contents:
            return 200, {**answer, "done": True, "state": self._name()}
        self._nobody_else_added(before, files)
        return await self._carry_out(_Change(by, contents, expected, answer, wait))

    def _nobody_else_added(self, before: Mapping[str, str], files: Files) -> None:
        roots = [files.into] if files.into else [one.as_posix() for one in self._engine.folders]
        there = {name for found in find_files(roots).values() for name in found.names}
        if there != before.keys():
            raise NotReplacedError(
                f"files were edited meanwhile: {', '.join(sorted(there ^ before.keys())[:5])}; try again"
            )

    async def _carry_out(self, change: _Change) -> Answer:
        engine, history = self._engine, self._history
        assert history is not None
        if change.wait is not None and (reason := await engine.in_force(change.wait)):
            hint = "so nobody could say who refuses what; --no-wait changes it all the same"
            raise BlockedError(f"not all that is live is acknowledged, {hint}: {reason}")
        after = {name: None if data is None else digest_of(data) for name, data in change.contents.items()}
        pending = Pending(change.before, after)
        await asyncio.to_thread(_prepare, history, change, pending)
        try:
            await self._replace(change.by, change.contents, change.before)
        except NotReplacedError:
            history.end()
            raise
        except Exception as error:
            _LOG.exception("replacing files failed", by=change.by)
            await self._put_back_now(pending, error)
        # Also who does not wait must hear that the server did not take what it read.
        reason = engine.policies().alarm
        if not reason and change.wait is not None:
            reason = await engine.in_force(change.wait)
        if reason:
            return await self._take_back(change, after, reason)
        history.end()
        _LOG.info("files are replaced", by=change.by, files=sorted(change.contents), state=self._name())
        return 200, {**change.view, "done": True, "state": self._name()}

    async def _put_back_now(self, pending: Pending, error: Exception) -> NoReturn:
        """Undo what was done of a change that failed midway. If that fails too the note stays: the next start needs it."""
        assert self._history is not None
        try:
            await self._exchange("rollback", partial(self._put_back, pending))
        except Exception as again:
            _LOG.exception("files cannot be put back")
            raise BlockedError(
                f"{error}; files may be half changed: they cannot be put back now ({again}), the next start does it"
            ) from None
        self._history.end()
        raise BlockedError(f"nothing was changed: {error}")

    async def _replace(self, by: str, contents: Contents, expected: Mapping[str, str | None]) -> None:
        """Replace files and bring them into force."""
        await self._exchange(by, partial(replace_files, contents, expected, self._engine.folders))

    async def _exchange(self, by: str, work: Callable[[], object]) -> None:
        """Do it to the files and bring them into force. Whoever edits them afterwards is somebody else."""
        self._by = by
        try:
            await self._engine.exchange(work)
            await self._noted()
        finally:
            self._by = "edit"

    async def _take_back(self, change: _Change, after: Mapping[str, str | None], reason: str) -> Answer:
        """The files as they were."""
        history = self._history
        assert history is not None
        answer = {**change.view, "done": False, "rolledBack": True, "message": reason}
        # What the server did not take is no state: then the last one is what was live before, and stays good.
        refused = "" if self._engine.policies().alarm else self._name()
        earlier = next((one.refused for one in history.find(refused) if refused and one.refused), "")
        if earlier:
            answer["message"] += (
                f"; it was refused before ({earlier}), and is only sent again when an Envoy connects anew"
            )
        _LOG.error("a change is taken back", by=change.by, reason=reason)
        try:
            before = await asyncio.to_thread(self._contents, change.before)
            if history.good and history.good[-1].name == refused and len(history.good) > 1:
                await asyncio.to_thread(history.refuse, reason)
            await self._replace("rollback", before, after)
        except Exception as error:
            _LOG.exception("a change cannot be taken back", by=change.by)
            return 409, {**answer, "rolledBack": False, "message": f"{reason}; it cannot be taken back: {error}"}
        history.end()
        standing = (
            await self._engine.in_force(change.wait) if change.wait is not None else self._engine.policies().alarm
        )
        return 409, {**answer, "state": self._name(), "notInForce": standing}

    def _live(self) -> State | None:
        good = self._history.good if self._history is not None else ()
        return good[-1] if good else None

    def _name(self) -> str:
        loaded = self._engine.policies().loaded
        return state_name({name: file.digest for name, file in loaded.files.items()}) if loaded else ""

    def _contents(self, digests: Mapping[str, str | None] | Mapping[str, str]) -> dict[str, bytes | None]:
        assert self._history is not None
        return {name: None if one is None else self._history.content(one) for name, one in digests.items()}


def _prepare(history: History, change: _Change, pending: Pending) -> None:
    """Keep what the files become, and what they are: the way back must be there before the first step."""
    written = [data for data in change.contents.values() if data is not None]
    there = _read({name: digest for name, digest in change.before.items() if digest is not None}, history)
    if there is None:
        raise NotReplacedError("files were edited meanwhile; try again")
    history.begin(pending)
    try:
        history.keep([*written, *there.values()])
    except OSError:
        history.end()
        raise


def _note(history: History, files: Mapping[str, str], by: str, now: str) -> None:
    contents = _read(files, history)
    if contents is not None:  # else they have changed since, and there will be a newer state of things
        history.note(files, contents, by, now)


def _read(files: Mapping[str, str], history: History) -> dict[str, bytes] | None:
    """The contents that are not kept yet, by hash; None if one is not any more what was read."""
    contents: dict[str, bytes] = {}
    missing = history.missing(files.values())
    for name, digest in files.items():
        if digest in missing and digest not in contents:
            data = Path(name).read_bytes()
            if digest_of(data) != digest:
                return None
            contents[digest] = data
    return contents
