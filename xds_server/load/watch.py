"""`changes`: a stream of "scan again", from the file system's events or, where there are none, from polling.

In: the paths that are loaded. Out: one None per burst of events, never which file or what happened to it: an atomic
rename is reported as an addition, and the swap of a ConfigMap names no file at all. The reader finds out what it was. Refused:
nothing; paths that are missing are waited for, and without events (limit of inotify reached) it says so and polls.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from xds_server.load.events import FolderEvents, folder_events
from xds_server.load.find import Stamp, find_files, stamp

Signature = tuple[tuple[str, Stamp], ...]
"""Names with what `stat` says of them; equal if, as far as can be seen without reading, nothing changed."""


class Stop(Protocol):
    """An event that ends the stream, of asyncio, anyio or threading."""

    def is_set(self) -> bool:
        """True when the stream is to end."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Times in seconds. So long without an event ends a burst (`quiet`); so long after its start it ends anyway (`longest`).

    `instant` takes the place of `quiet` for a file that is renamed into place when nothing has happened for a `rest`: it is
    whole, and only such that are renamed together with it are waited for.
    `grace` is how long a file that vanished or became empty may be on its way back: editors delete and write anew.
    `tick` is how often the paths themselves are looked at: no event tells that a watched folder was replaced.
    `recheck` is how often all files are looked at in case events were lost, `poll` the same where there are no events.
    """

    quiet: float = 0.03
    instant: float = 0.002
    rest: float = 0.03
    longest: float = 0.5
    grace: float = 0.5
    tick: float = 0.1
    recheck: float = 5.0
    poll: float = 2.0


RHYTHM = Rhythm()


async def changes(
    paths: Iterable[str | os.PathLike[str]],
    stop: Stop,
    *,
    rhythm: Rhythm = RHYTHM,
    force_polling: bool = False,
    on_fallback: Callable[[str], None] | None = None,
) -> AsyncGenerator[None, None]:
    """Yield each time that the files of `paths` may have changed, until `stop` is set.

    The first comes as soon as the watch stands, so that nothing is lost between a load and the watch. `on_fallback` is
    called with the reason when the system gives no events; polling takes their place, for good.
    """
    roots = tuple(os.fspath(path) for path in paths)
    while not force_polling and not stop.is_set():
        try:
            async with aclosing(_watched(roots, stop, rhythm)) as bursts:
                async for _ in bursts:
                    yield None
        except OSError as error:
            force_polling = True
            if on_fallback is not None:
                on_fallback(f"no file events ({error}); looking every {rhythm.poll:g} s instead")
    async with aclosing(_polled(roots, stop, rhythm)) as looks:
        async for _ in looks:
            yield None


async def _watched(roots: tuple[str, ...], stop: Stop, rhythm: Rhythm) -> AsyncGenerator[None, None]:
    """Watch until `stop` is set or a root becomes another folder than the one that is watched."""
    watched, single = _identities(roots), _single_files(roots)
    due = _now() + rhythm.recheck
    reported: Signature | None = None
    async with folder_events(_folders(roots), _files(roots)) as events:
        last = _now()
        while True:
            if reported is not None:
                await events.wait(rhythm.tick)
            if stop.is_set() or _identities(roots) != watched:
                return
            report = reported is None
            told = events.news.any or single != _single_files(roots)
            if told:
                await _gathered(events, rhythm, rested=_now() - last >= rhythm.rest)
                await _settled([*events.take().partial, *(name for name, _ in single)], rhythm)
                single = _single_files(roots)
                report = True
            if reported is None or (not told and _now() >= due):
                due = _now() + rhythm.recheck
                files = await asyncio.to_thread(_signature, roots)
                report = report or files != reported
                reported = files
            if report:
                yield None
                last = _now() if told else last


async def _gathered(events: FolderEvents, rhythm: Rhythm, *, rested: bool) -> None:
    """Wait until what has begun to happen is over. `rested`: nothing had happened for a while."""
    end = _now() + rhythm.longest
    while (now := _now()) < end:
        news = events.news
        quiet = rhythm.instant if rested and news.whole and not news.partial else rhythm.quiet
        came = await events.wait(min(quiet, end - now))
        if not came and not events.writing:
            return


async def _polled(roots: tuple[str, ...], stop: Stop, rhythm: Rhythm) -> AsyncGenerator[None, None]:
    """Look at every file, again and again. A change is reported when the files have been quiet."""
    reported: Signature | None = None
    while not stop.is_set():
        seen = await asyncio.to_thread(_signature, roots)
        if seen != reported:
            deadline = _now() + rhythm.longest
            while reported is not None and _now() < deadline:
                await asyncio.sleep(rhythm.quiet)
                before, seen = seen, await asyncio.to_thread(_signature, roots)
                if seen == before:
                    break
            await _settled([name for name, _ in reported or ()], rhythm)
            reported = seen
            yield None
        await _sleep(rhythm.poll, stop, rhythm)


async def _sleep(seconds: float, stop: Stop, rhythm: Rhythm) -> None:
    for _ in range(max(1, round(seconds / rhythm.tick))):
        if stop.is_set():
            return
        await asyncio.sleep(rhythm.tick)


async def _settled(files: list[str], rhythm: Rhythm) -> None:
    """Wait until no file is missing or empty, at most the grace: such a file is probably being written."""
    for _ in range(round(rhythm.grace / rhythm.quiet)):
        if all(_size(name) for name in files):
            return
        await asyncio.sleep(rhythm.quiet)


def _folders(roots: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(Path(root).absolute().as_posix() for root in roots if Path(root).is_dir())


def _files(roots: tuple[str, ...]) -> tuple[str, ...]:
    """The roots that are no folders, or not yet."""
    return tuple(Path(root).absolute().as_posix() for root in roots if not Path(root).is_dir())


def _identities(roots: tuple[str, ...]) -> Signature:
    """Which folder each root is; one that is a file or missing has none."""
    return tuple((root, stamp(root)[:2] if Path(root).is_dir() else ()) for root in roots)


def _single_files(roots: tuple[str, ...]) -> Signature:
    """What can be seen of the roots that are files: they are looked at, since a watch on a file ends with a rename."""
    return tuple((root, stamp(root)) for root in roots if not Path(root).is_dir())


def _signature(roots: tuple[str, ...]) -> Signature:
    found = find_files(roots)
    return tuple((name, stamp(name)) for root in found.values() for name in (*root.names, *root.code))


def _size(name: str) -> int:
    """The size of a file; 0 if it is not there."""
    try:
        status = Path(name).stat()
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 1


def _now() -> float:
    return asyncio.get_running_loop().time()
