"""The running server: the one place where the rooms are wired, and that holds what changes.

In: settings, clocks, and whom to tell what. Out: policies read again and again, compiled and published to Envoys,
local Envoys looked after, and an admin API, until a signal ends it. What cannot be read or compiled changes nothing:
the last good state stays published, and the reason is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import secrets
import signal
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from xds_server import __version__
from xds_server.automation.certificates import Certificates
from xds_server.cells.authority import Authorities
from xds_server.cells.identities import Identities
from xds_server.changes.office import Engine, Office
from xds_server.collector import collect_rarely, keep_for_good
from xds_server.compile import Options
from xds_server.fetch.loop import Fetcher, Web
from xds_server.fetch.web import fetch_description
from xds_server.graph import Process
from xds_server.listening import (
    XdsPorts,
    from_here,
    front,
    is_loopback,
    open_socket,
    open_xds,
    opened,
    reaching,
    warn_of_open_ports,
)
from xds_server.load.watch import changes
from xds_server.model.object import Object
from xds_server.observe.admin import AdminServer, admin_server
from xds_server.observe.alarms import Alarms
from xds_server.observe.cells_view import CellsShown
from xds_server.observe.diagnostics_view import diagnostic_json
from xds_server.observe.explain_view import Question, explain_view
from xds_server.observe.inspect_api import Inspection
from xds_server.observe.metrics import Metrics, State, validities
from xds_server.observe.posts import Guard, make_token
from xds_server.observe.proxies_view import Fleet, programming, progress, rejections
from xds_server.observe.published import log_not_fetched, log_not_kept, log_published
from xds_server.observe.settings_view import cell_settings
from xds_server.observe.status_view import Live, objects_view
from xds_server.observe.usage import Report, ask_envoys
from xds_server.releases.desk import Desk
from xds_server.releases.requests import Kind
from xds_server.reload import GRACE, Policies, Source, reload
from xds_server.saved.keeper import Keeper
from xds_server.serve.counters import Listeners
from xds_server.settings import Clocks, Settings, Told
from xds_server.snapshot.resource import Snapshot
from xds_server.supervise.binary import ENVOY_VERSION
from xds_server.supervise.bootstrap import Address
from xds_server.supervise.drains import with_drains
from xds_server.supervise.envoys import Envoys
from xds_server.supervise.process import is_settled
from xds_server.supervise.records import StateFolder
from xds_server.types import Condition, Key
from xds_server.watchdog import watch_loop

_LOG = structlog.get_logger("cellway")
_TICK = 0.003
_RESCAN = 0.2
_LOOK = 5.0
_TOGETHER = 0.1
_REST = 10  # times as long as a look at all Envoys takes, which others wait for


class Server:
    """A running server. `run` is its whole life."""

    def __init__(self, settings: Settings, clocks: Clocks, told: Told) -> None:
        self._settings, self._clocks, self._told = settings, clocks, told
        self._certificates, self._identities = Certificates(settings.certificates), Identities()
        self._source = Source(settings.folders, settings.options, clocks.steady, self._vouch)
        self._policies = Policies()
        self._metrics = Metrics(__version__, ENVOY_VERSION, self._state_of_things)
        hears = Listeners(self._metrics.acknowledged, _LOG.warning, self._metrics.lagged)
        self._xds = front(settings.xds, clocks.steady, hears)
        self._reloading = asyncio.Lock()
        self._begun = 0
        self._state: StateFolder | None = None
        self._envoys: Envoys | None = None
        self._fetcher: Fetcher | None = None
        self._keeper: Keeper | None = None
        self._desk = Desk(lambda: _rfc3339(clocks.wall()))
        self.changes = Office(self._engine())
        self._published: set[str] = set()
        self._valid: Mapping[str, tuple[float, float]] = {}
        self._since: dict[tuple[Key, str, str], tuple[bool, str]] = {}
        self._changed_at = clocks.wall()
        self._used = Report()
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._background: set[asyncio.Task[Any]] = set()

    # -- life ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until a signal says stop. OSError or StateInUseError if it cannot start."""
        settings = self._settings
        collect_rarely()
        with contextlib.ExitStack() as held:
            if settings.state is not None:
                self._state = StateFolder(settings.state)
                held.callback(self._state.close)
                self._desk.open(settings.state / "releases")
                self.changes.open(settings.state / "history")
                self._restore(settings.state / "in-force")
            admin = held.enter_context(open_socket(settings.admin, "the admin API"))
            envoys = settings.envoy is not None
            ports = open_xds(self._xds, settings.xds, self._state, self._clocks.wall, envoys=envoys)
            await self._xds.start()
            where = opened(settings.admin, admin)
            self._remember(where.said, ports)
            self._source = replace(self._source, options=reaching(settings.options, where, ports, settings.state))
            if settings.envoy is not None and self._state is not None:
                self._envoys = Envoys(
                    settings.envoy, self._state, from_here(ports.local), settings.host_name, ports.token
                )
            token = make_token(settings.state) if settings.state is not None else None
            server = admin_server(self, Guard(is_loopback(settings.admin.host), token))
            web = Web(fetch_description, self._clocks.steady, log_not_fetched)
            self._fetcher = Fetcher(web, settings.state / "fetched" if settings.state is not None else None)
            lasting = [
                asyncio.create_task(server.serve(sockets=[admin]), name="admin API"),
                asyncio.create_task(self._watch(), name="watcher"),
                asyncio.create_task(self._log_alarms(), name="alarms"),
                asyncio.create_task(self._fetcher.run(self.reload), name="documents of the web"),
                asyncio.create_task(self._renew(), name="certificates"),
                asyncio.create_task(self._xds.watch_revoked(), name="revoked certificates"),
                asyncio.create_task(self._xds.watch_memory(), name="memory"),
                asyncio.create_task(self._xds.watch_processes(), name="serving processes"),
                asyncio.create_task(self._keep(), name="what is in force"),
                asyncio.create_task(watch_loop(late=self._late), name="watchdog"),
            ]
            self._handle_signals()
            stopping = asyncio.create_task(self._stopping.wait(), name="stop")
            done, _ = await asyncio.wait({stopping, *lasting}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # none of them may end by itself: its error ends the process, and Envoys go on
            await self._stop(server, lasting)

    def _late(self, seconds: float) -> None:
        """How late the loop is counts where it serves Envoys."""
        if not self._xds.processes():
            self._metrics.lagged(seconds)

    def _restore(self, folder: Path) -> None:
        """Know what the last server had in force, in case that what is on disk now is worse."""
        self._keeper = Keeper(folder, self._settings.folders)
        saved = self._keeper.restore()
        if isinstance(saved, tuple):
            self._source = replace(self._source, saved=saved)
        elif saved:
            _LOG.error("what was in force when the last server ended is not known", reason=saved)

    async def _keep(self) -> None:
        if self._keeper is None:
            await self._stopping.wait()
            return
        await self._keeper.run(log_not_kept)

    def _remember(self, admin: Address, ports: XdsPorts) -> None:
        without_tls = {"xDS": ports.public} if self._settings.xds.tls is None else {}
        warn_of_open_ports({"admin API": admin} | without_tls)
        addresses = {"admin": str(admin), "xds": str(ports.public)}
        if self._state is not None:
            self._state.remember_addresses({**addresses, "xds_port": ports.local.port})
        self._told.listening(addresses)

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(self.reload(confirmed=True)))

    def stop(self) -> None:
        """Drain and end `run`; called a second time: end at once."""
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()

    async def _stop(self, admin: AdminServer, lasting: list[asyncio.Task[None]]) -> None:
        _LOG.info("stopping")
        gentle = asyncio.create_task(self._drain(self._settings.drain), name="drain")
        hurry = asyncio.create_task(self._hurry.wait(), name="second signal")
        await asyncio.wait({gentle, hurry}, return_when=asyncio.FIRST_COMPLETED)
        if not gentle.done():
            gentle.cancel()
            await asyncio.wait({gentle})
            await self._drain(0)
        admin.should_exit = True
        for task in (hurry, *lasting[1:], *self._background):
            task.cancel()
        await asyncio.wait({hurry, *lasting}, timeout=2)

    async def _drain(self, seconds: float) -> None:
        """Envoys of this machine finish their requests and stop, then streams of others end; each in so many seconds."""
        if self._envoys is not None:
            await self._envoys.close(seconds)
        await self._xds.stop(seconds)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # -- reloading -------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        await self.reload()
        async for _ in changes(self._settings.folders, self._stopping, on_fallback=_LOG.warning):
            await self.reload()
        await self._stopping.wait()

    def _vouch(self, objects: Iterable[Object]) -> Authorities:
        """The certificates that gateways of these objects need now."""
        return self._certificates.renew(self._identities.update(objects), self._clocks.wall())

    async def _renew(self) -> None:
        """Bring new certificates into force before the old ones are over."""
        while True:
            await asyncio.sleep(self._certificates.rest(self._clocks.wall()))
            if self._certificates.is_due(self._clocks.wall()):
                await self.reload()

    async def reload(self, *, confirmed: bool = False) -> None:
        """Bring what is on disk into force. Everything that is on disk at the time of the call is seen."""
        ticket = self._begun
        async with self._reloading:
            if self._stopping.is_set() or (self._begun > ticket and not confirmed):
                return  # somebody began to read after this was called
            self._begun += 1
            await self._reload(confirmed=confirmed)

    async def _reload(self, *, confirmed: bool) -> None:
        before, source = self._policies, replace(self._source, options=self._options())
        # The outermost boundary of everything that works on documents: a bug in there must not end the server.
        try:
            now, result = await asyncio.to_thread(reload, before, source, confirmed=confirmed)
        except Exception:
            _LOG.exception("reloading failed by a bug; the last good state stays in force")
            now, result = replace(before, alarm="reloading failed by a bug: see the log"), "rejected"
        if self._stopping.is_set():
            return
        self._policies = now
        self._metrics.reloaded(result, self._clocks.wall())
        if now.alarm and now.alarm != before.alarm:
            _LOG.error("what is on disk is not in force", reason=now.alarm)
        elif before.alarm and not now.alarm and before.loaded is not None:
            _LOG.info("what is on disk is in force again")
        if now.compiled is not before.compiled:
            await self._publish(before)
        if now.gone:
            self._spawn(self._reload_later())
        self.changes.note(now)

    def _engine(self) -> Engine:
        """What changes of files need of this server."""
        key, now = partial(secrets.token_bytes, 32), lambda: _rfc3339(self._clocks.wall())
        rest = self.reload, self._exchange, self.in_force, key, now
        return Engine(self._settings.folders, lambda: self._policies, self._options, *rest)

    async def _exchange(self, work: Callable[[], object]) -> None:
        """Do something to the files, and bring it into force as one change, whoever else wants to read them."""
        async with self._reloading:
            await asyncio.to_thread(work)
            self._begun += 1
            await self._reload(confirmed=True)

    def _options(self) -> Options:
        """What compiling is given: the command line's choice, documents of the web, releases and modules."""
        fetched = self._fetcher.documents if self._fetcher is not None else {}
        code = self._policies.code_files
        return replace(self._source.options, fetched=fetched, releases=self._desk.releases, code_files=code)

    async def _reload_later(self) -> None:
        await asyncio.sleep(GRACE)
        await self.reload()

    async def _publish(self, before: Policies) -> None:
        compiled = self._policies.compiled
        if self._fetcher is not None:
            self._fetcher.want(compiled.wanted)
        names = set(compiled.snapshots)
        gone = {name: Snapshot(name, {}, {}) for name in self._published - names}
        local = self._expected() if self._envoys is not None else {}
        await self._xds.publish({**with_drains(compiled.snapshots, compiled.gateways, local), **gone})
        connected = self._xds.connected()
        for name in gone.keys() - connected:
            self._xds.forget(name)
        self._published = names | (gone.keys() & connected)
        self._changed_at = self._clocks.wall()
        self._valid = validities(compiled)
        if self._envoys is not None:
            self._envoys.apply(local, self._settings.drain)
        await asyncio.to_thread(self._desk.note, compiled)  # a slow disk holds up nobody
        if self._keeper is not None and self._policies.loaded is not None:
            self._keeper.keep(self._policies.loaded, self._policies.objects)
        for stage, seconds in self._policies.seconds.items():
            self._metrics.took(stage, seconds)
        log_published(before, self._policies)
        self._told.published(compiled)
        if before.loaded is None and self._policies.authorities and self._settings.certificates.folder is None:
            _LOG.warning("the authority of cells is in memory only: a restart makes a new one; see --state-dir")
        if before.loaded is None:
            keep_for_good()

    async def _log_alarms(self) -> None:
        """Say once what an Envoy refused and which documents made it, and which Envoy does not answer."""
        alarms = Alarms()
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._xds.changed(), _LOOK)
                await asyncio.sleep(_TOGETHER)
            await self.look()
            steady, records = self._clocks.steady(), self._xds.proxies()
            for event, words in alarms.look(records, steady, self._valid, self._clocks.wall()):
                _LOG.error(event, **words)
            await asyncio.sleep(_REST * (self._clocks.steady() - steady))

    def _expected(self) -> dict[str, Process | None]:
        """The gateways that have an Envoy on this machine, and how it is run."""
        chosen = self._policies.compiled.gateways_of(self._settings.stages)
        return {gateway.name: gateway.process for gateway in chosen}

    async def move(self, kind: Kind, body: Any) -> tuple[int, dict[str, Any]]:
        """Promote cells or roll them back: an HTTP status and an answer. What is done is in force on return."""
        # Not while somebody reloads: what that began with would be noted as the newest afterwards.
        async with self._reloading:
            status, answer = await self._desk.move(kind, body, self._policies, self._options())
        if answer.get("done"):
            await self.reload()
        return status, answer

    # -- being looked at -------------------------------------------------------------------------------------

    async def look(self) -> None:
        """Know of all Envoys what there is to know now, whoever serves them."""
        await self._xds.look()

    async def objects(self, *, derived: bool) -> list[dict[str, Any]]:
        """All written objects with their status; `derived`: also those that cells mean."""
        compiled = self._policies.compiled
        fleet = self._fleet()
        live = Live(programming(fleet, compiled.gateways), rejections(fleet), self._since_when)
        controller = self._settings.options.controllers[0]
        return await asyncio.to_thread(objects_view, compiled, controller, live, derived=derived)

    def proxies(self) -> dict[str, Any]:
        """Every Envoy: what it has and what it waits for."""
        return self._fleet().view(self._policies.compiled.snapshots.get)

    def cells(self) -> CellsShown:
        """What can be seen of cells."""
        now, done = self._policies, progress(self._fleet(), self._policies.compiled.gateways)
        return CellsShown(now.compiled, now.diagnostics, done, self._desk.releases, self._desk.history)

    def inspection(self) -> Inspection:
        """What is in force now, and all Envoys."""
        return Inspection(self._policies.compiled, self._fleet())

    def diagnostics(self) -> list[dict[str, Any]]:
        """All findings."""
        return [diagnostic_json(diagnostic) for diagnostic in self._policies.diagnostics]

    async def explain(self, question: Question) -> list[dict[str, Any]]:
        """What gateways do with a request."""
        return await asyncio.to_thread(explain_view, self._policies.compiled, question)

    def effective(self, cell: str, stage: str | None) -> list[dict[str, Any]] | None:
        """The settings that count in a cell, by stage, and who set each; None if there is no such cell."""
        return cell_settings(self._policies.compiled, cell, stage)

    async def usage(self) -> Report:
        """What each cell asked of its dependencies, as the Envoys of this machine count it now and others reported."""
        return await ask_envoys(self._policies.compiled, self._fleet().local, self._xds.loads.by_gateway)

    async def metrics(self) -> bytes:
        """The text for Prometheus."""
        self._used = await self.usage()
        return self._metrics.text()

    def not_ready(self) -> str:
        """Why this server is not ready; empty if it is."""
        if self._stopping.is_set():
            return "stopping"
        if (processes := self._xds.processes()) and all(one.problem for one in processes):
            return f"no process serves: {processes[0].problem}"
        return "" if self._policies.loaded is not None else self._policies.alarm

    async def in_force(self, seconds: float) -> str:
        """Return when all that is on disk now is in force, with an empty text; or, in time, why it is not."""
        reason = "nothing was read in time"
        try:
            async with asyncio.timeout(seconds):
                await self.reload()
                while (reason := self._policies.alarm) or self._policies.gone:
                    await asyncio.sleep(_RESCAN)
                    await self.reload()
                quiet = 0
                while quiet < 2:  # a stream needs a moment to see what was published
                    await asyncio.sleep(_TICK)
                    await self.look()
                    reason = await self._not_acknowledged()
                    if reason and self._fleet().refused():
                        return reason
                    quiet = 0 if reason else quiet + 1
        except TimeoutError:
            return reason or "files that have just vanished still count"
        return ""

    async def _not_acknowledged(self) -> str:
        """Why not every Envoy is up to date; empty if all are."""
        fleet = self._fleet()
        if unsettled := fleet.unsettled():
            return "; ".join(unsettled[:10])
        settled = await asyncio.gather(*(is_settled(one.admin) for one in fleet.local))
        late = [one.gateway for one, done in zip(fleet.local, settled, strict=True) if not done]
        return f"the Envoys of these gateways do not listen yet: {', '.join(late)}" if late else ""

    def _fleet(self) -> Fleet:
        local = self._envoys.running if self._envoys is not None else ()
        expected = tuple(self._expected()) if self._envoys is not None else ()
        replacing = self._envoys.replacing() if self._envoys is not None else ()
        return Fleet(self._xds.proxies(), local, expected, self._moment, replacing, self._xds.processes())

    def _moment(self, steady: float) -> str:
        """A time of the steady clock, as people write times."""
        return _rfc3339(self._clocks.wall() - (self._clocks.steady() - steady))

    def _since_when(self, key: Key, place: str, condition: Condition) -> str:
        known = self._since.get((key, place, condition.type))
        if known is None or known[0] != condition.status:
            known = (condition.status, _rfc3339(self._changed_at))
            self._since[key, place, condition.type] = known
        return known[1]

    def _state_of_things(self) -> State:
        records, counters = self._xds.proxies(), self._xds.counters
        return State(
            compiled=self._policies.compiled,
            diagnostics=self._policies.diagnostics,
            streams=Counter(record.protocol for record in records),
            proxies=self._fleet().counts(),
            responses=counters.responses,
            acks=counters.acks,
            nacks=counters.nacks,
            refused_streams=counters.refused,
            revocations=self._xds.revocations,
            begun_streams=counters.begun,
            unknown={"type": counters.unknown_types, "nonce": counters.unknown_nonces},
            usage=self._used,
            valid=self._valid,
            resident=self._xds.pressure.resident(),
            limits={use.what: use.most for use in self._xds.pressure.uses()},
            tasks=len(asyncio.all_tasks()),
            processes=self._xds.processes(),
        )


def _rfc3339(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
