"""The running server: the one place where the rooms are wired, and that holds what changes.

In: settings, clocks, and whom to tell what. Out: policies read again and again, compiled and published to Envoys,
local Envoys looked after, and an admin API, until a signal ends it. What cannot be read or compiled changes nothing:
the last good state stays published, and the reason is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from xds_server import __version__
from xds_server.compile import Compiled, Options, compile_objects
from xds_server.diagnostics import Diagnostic, Severity, sort_key
from xds_server.load.directory import File, Loaded, load_paths
from xds_server.load.document import DEFAULT_LIMITS, Document
from xds_server.load.keep import keep_last_good, looks_like_an_accident
from xds_server.load.objects import Objects, key_of, parse_documents_of
from xds_server.load.watch import changes
from xds_server.observe.admin import AdminServer, admin_server, listen
from xds_server.observe.diagnostics_view import diagnostic_json, summary
from xds_server.observe.metrics import Metrics, ReloadResult, State
from xds_server.observe.proxies_view import Fleet, programming
from xds_server.observe.status_view import Live, objects_view
from xds_server.serve.grpc import XdsServer
from xds_server.snapshot.resource import Snapshot
from xds_server.supervise.binary import ENVOY_VERSION
from xds_server.supervise.bootstrap import Address, is_ip_address
from xds_server.supervise.envoys import Envoys
from xds_server.supervise.process import is_settled
from xds_server.supervise.records import StateFolder
from xds_server.types import Condition, Key

_LOG = structlog.get_logger("cellway")
_TICK = 0.01
_RESCAN = 0.2
_GRACE = 0.5
"""Seconds that a file must be gone before that counts: editors that save by renaming leave such a moment."""
_STREAMS_END = 1.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line decides. `envoy` None: no local Envoys. `state` None: nothing is kept on disk."""

    folders: tuple[Path, ...]
    admin: Address
    xds: Address
    options: Options
    state: Path | None = None
    envoy: Path | None = None
    host_name: str = "localhost"
    drain: float = 5.0


@dataclass(frozen=True, slots=True)
class Clocks:
    """Where time comes from: seconds since the epoch, and seconds that only ever grow."""

    wall: Callable[[], float]
    steady: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Told:
    """Whom to tell what: where the server listens, and every newly published state."""

    listening: Callable[[Mapping[str, str]], None] = lambda _: None
    published: Callable[[Compiled], None] = lambda _: None


class Policies:
    """What was read and compiled last, and what is wrong with what is on disk now.

    `alarm` says why what is on disk is not what is in force; `unsettled` is True while files that have just vanished
    still count as being there.
    """

    def __init__(self, folders: tuple[Path, ...], options: Options, clock: Callable[[], float]) -> None:
        self._folders, self._options, self._clock = folders, options, clock
        self._loaded: Loaded | None = None
        self._gone: dict[str, tuple[float, File]] = {}
        self._documents: tuple[Document, ...] = ()
        self._objects = Objects()
        self.compiled = Compiled()
        self.diagnostics: tuple[Diagnostic, ...] = ()
        self.alarm: str = "the policies are not loaded yet"
        self.times: dict[str, float] = {}

    @property
    def loaded(self) -> bool:
        """Whether there was a good state ever."""
        return self._loaded is not None

    @property
    def unsettled(self) -> bool:
        """Whether there is something that only time will tell."""
        return bool(self._gone)

    def reload(self, *, confirmed: bool = False) -> ReloadResult:
        """Read and compile what is on disk. Blocks; runs in a thread. `confirmed`: many files may vanish at once."""
        began = self._clock()
        before = self._loaded or Loaded()
        loaded = keep_last_good(before, load_paths(self._folders, DEFAULT_LIMITS, before.memory))
        accident = self._accident(before, loaded, confirmed=confirmed)
        if accident is not None:
            self.alarm = str(accident)
            self.diagnostics = tuple(sorted({*self.diagnostics, *loaded.other, accident}, key=sort_key))
            return "rejected"
        documents = (*loaded.documents, *self._just_gone(before, loaded))
        same = self._same(documents, loaded)
        self._loaded, self._documents, self.alarm = loaded, documents, ""
        if same:
            return "unchanged"
        objects = parse_documents_of(documents, loaded.broken, self._objects)
        read = self._clock()
        compiled = compile_objects(objects.objects, self._options)
        self.times = {"load": read - began, "compile": self._clock() - read}
        found = dict.fromkeys((*loaded.diagnostics, *objects.diagnostics, *compiled.diagnostics))
        self._objects, self.compiled = objects, compiled
        self.diagnostics = tuple(sorted(found, key=sort_key))
        return "applied"

    def _accident(self, before: Loaded, loaded: Loaded, *, confirmed: bool) -> Diagnostic | None:
        if self._loaded is None:
            return next(iter(loaded.other), None)
        accident = looks_like_an_accident(before, loaded)
        return None if accident and confirmed and accident.code == "L132" else accident

    def _same(self, documents: tuple[Document, ...], loaded: Loaded) -> bool:
        before = self._loaded
        if before is None or len(documents) != len(self._documents) or before.diagnostics != loaded.diagnostics:
            return False
        pairs = zip((*documents, *loaded.broken), (*self._documents, *before.broken), strict=False)
        return not self.alarm and len(loaded.broken) == len(before.broken) and all(one is two for one, two in pairs)

    def _just_gone(self, before: Loaded, loaded: Loaded) -> Iterator[Document]:
        """Documents of files that have only just vanished, unless they are written in another file now."""
        now = self._clock()
        for name, file in before.files.items():
            if name not in loaded.files:
                self._gone.setdefault(name, (now, file))
        self._gone = {
            name: (since, file)
            for name, (since, file) in self._gone.items()
            if name not in loaded.files and now - since < _GRACE
        }
        if self._gone:
            there = {key_of(document.value) for document in loaded.documents}
            for _, file in self._gone.values():
                yield from (document for document in file.documents if key_of(document.value) not in there)


class Server:
    """A running server. `run` is its whole life."""

    def __init__(self, settings: Settings, clocks: Clocks, told: Told) -> None:
        self._settings, self._clocks, self._told = settings, clocks, told
        self._policies = Policies(settings.folders, settings.options, clocks.steady)
        self._metrics = Metrics(__version__, ENVOY_VERSION, self._state_of_things)
        self._xds = XdsServer(clocks.steady, on_ack=self._metrics.acknowledged)
        self._reloading = asyncio.Lock()
        self._begun = 0
        self._state: StateFolder | None = None
        self._envoys: Envoys | None = None
        self._published: set[str] = set()
        self._since: dict[tuple[Key, str, str], tuple[bool, str]] = {}
        self._changed_at = clocks.wall()
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._background: set[asyncio.Task[Any]] = set()

    # -- life ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until a signal says stop. OSError or StateInUseError if it cannot start."""
        settings = self._settings
        with contextlib.ExitStack() as held:
            if settings.state is not None:
                self._state = StateFolder(settings.state)
                held.callback(self._state.close)
            admin = held.enter_context(_listen(settings.admin))
            xds = await self._start_xds()
            admin_address = Address(settings.admin.host, admin.getsockname()[1])
            self._remember(admin_address, xds)
            if settings.envoy is not None and self._state is not None:
                self._envoys = Envoys(settings.envoy, self._state, _near(xds), settings.host_name)
            loopback = _is_loopback(settings.admin.host)
            server = admin_server(self, loopback=loopback)
            serving = asyncio.create_task(server.serve(sockets=[admin]), name="admin API")
            watching = asyncio.create_task(self._watch(), name="watcher")
            self._handle_signals()
            await self._stopping.wait()
            watching.cancel()
            await self._stop(server, serving)

    async def _start_xds(self) -> Address:
        """Listen for Envoys: with port 0 where an earlier server listened, since its Envoys still look there."""
        wanted = self._settings.xds
        if wanted.port == 0 and self._state is not None:
            last = self._state.addresses().get("xds_port")
            if isinstance(last, int):
                with contextlib.suppress(OSError):
                    return Address(wanted.host, await self._xds.start(str(Address(wanted.host, last))))
        return Address(wanted.host, await self._xds.start(str(wanted)))

    def _remember(self, admin: Address, xds: Address) -> None:
        addresses = {"admin": str(admin), "xds": str(xds)}
        if self._state is not None:
            self._state.remember_addresses({**addresses, "xds_port": xds.port})
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

    async def _stop(self, admin: AdminServer, serving: asyncio.Task[None]) -> None:
        _LOG.info("stopping")
        gentle = asyncio.create_task(self._drain(), name="drain")
        hurry = asyncio.create_task(self._hurry.wait(), name="second signal")
        await asyncio.wait({gentle, hurry}, return_when=asyncio.FIRST_COMPLETED)
        if not gentle.done():
            gentle.cancel()
            await asyncio.wait({gentle})
            await self._xds.stop(0)
            if self._envoys is not None:
                await self._envoys.close(0)
        hurry.cancel()
        admin.should_exit = True
        await asyncio.wait({serving}, timeout=2)
        for task in self._background:
            task.cancel()

    async def _drain(self) -> None:
        """Envoys finish their requests and stop, then streams end."""
        if self._envoys is not None:
            await self._envoys.close(self._settings.drain)
        await self._xds.stop(_STREAMS_END)

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # -- reloading -------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        await self.reload()
        async for _ in changes(self._settings.folders, self._stopping, on_fallback=_LOG.warning):
            await self.reload()

    async def reload(self, *, confirmed: bool = False) -> None:
        """Bring what is on disk into force. Everything that is on disk at the time of the call is seen."""
        ticket = self._begun
        async with self._reloading:
            if self._begun > ticket and not confirmed:
                return  # somebody began to read after this was called
            self._begun += 1
            await self._reload(confirmed=confirmed)

    async def _reload(self, *, confirmed: bool) -> None:
        policies, alarm = self._policies, self._policies.alarm
        # The outermost boundary of everything that works on documents: a bug in there must not end the server.
        try:
            result = await asyncio.to_thread(policies.reload, confirmed=confirmed)
        except Exception:
            _LOG.exception("reloading failed by a bug; the last good state stays in force")
            policies.alarm, result = "reloading failed by a bug: see the log", "rejected"
        self._metrics.reloaded(result, self._clocks.wall())
        if result == "applied":
            await self._publish()
        elif result == "rejected" and policies.alarm != alarm:
            _LOG.error("what is on disk is not in force", reason=policies.alarm)
        if policies.unsettled:
            self._spawn(self._reload_later())

    async def _reload_later(self) -> None:
        await asyncio.sleep(_GRACE)
        await self.reload()

    async def _publish(self) -> None:
        policies = self._policies
        compiled = policies.compiled
        for stage, seconds in policies.times.items():
            self._metrics.took(stage, seconds)
        names = set(compiled.snapshots)
        gone = {name: Snapshot(name, {}, {}) for name in self._published - names}
        await self._xds.publish({**compiled.snapshots, **gone})
        connected = {record.gateway for record in self._xds.proxies()}
        for name in gone.keys() - connected:
            self._xds.forget(name)
        self._published = names | (gone.keys() & connected)
        self._changed_at = self._clocks.wall()
        if self._envoys is not None:
            self._envoys.apply(self._expected(), self._settings.drain)
        self._log_published()
        self._told.published(compiled)

    def _log_published(self) -> None:
        policies = self._policies
        counts = Counter(item.key.kind for item in policies.compiled.objects)
        _LOG.info(
            "published",
            objects=sum(counts.values()),
            gateways=len(policies.compiled.gateways),
            found=summary(policies.diagnostics),
            seconds=round(sum(policies.times.values()), 3),
        )
        for diagnostic in policies.diagnostics:
            if diagnostic.severity != Severity.INFO:
                _LOG.warning(str(diagnostic))

    def _expected(self) -> tuple[str, ...]:
        """The gateways that have an Envoy on this machine."""
        return tuple(gateway.name for gateway in self._policies.compiled.gateways)

    # -- being looked at -------------------------------------------------------------------------------------

    def objects(self, *, derived: bool) -> list[dict[str, Any]]:
        """All written objects with their status; `derived`: also those that cells mean."""
        compiled = self._policies.compiled
        live = Live(programming(self._fleet(), compiled.gateways), self._since_when)
        return objects_view(compiled, self._settings.options.controllers[0], live, derived=derived)

    def proxies(self) -> dict[str, Any]:
        """Every Envoy: what it has and what it waits for."""
        return self._fleet().view(self._policies.compiled.snapshots.get)

    def diagnostics(self) -> list[dict[str, Any]]:
        """All findings."""
        return [diagnostic_json(diagnostic) for diagnostic in self._policies.diagnostics]

    def metrics(self) -> bytes:
        """The text for Prometheus."""
        return self._metrics.text()

    def not_ready(self) -> str:
        """Why this server is not ready; empty if it is."""
        if self._stopping.is_set():
            return "stopping"
        return "" if self._policies.loaded else self._policies.alarm

    async def in_force(self, seconds: float) -> str:
        """Return when all that is on disk now is in force, with an empty text; or, in time, why it is not."""
        reason = "nothing was read in time"
        try:
            async with asyncio.timeout(seconds):
                await self.reload()
                while (reason := self._policies.alarm) or self._policies.unsettled:
                    await asyncio.sleep(_RESCAN)
                    await self.reload()
                await asyncio.sleep(0)  # streams see what was published
                while reason := await self._not_acknowledged():
                    if self._fleet().refused():
                        return reason
                    await asyncio.sleep(_TICK)
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
        expected = self._expected() if self._envoys is not None else ()
        return Fleet(self._xds.proxies(), local, expected, self._moment)

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
        )


def _listen(address: Address) -> socket.socket:
    try:
        return listen(address.host, address.port)
    except OSError as error:
        raise OSError(f"cannot listen on {address} for the admin API: {error.strerror or error}") from None


def _near(address: Address) -> Address:
    """Where an Envoy of this machine finds a server that listens on all addresses."""
    return Address({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host), address.port)  # noqa: S104


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (is_ip_address(host) and ipaddress.ip_address(host).is_loopback)


def _rfc3339(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
