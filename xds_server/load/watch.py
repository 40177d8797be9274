"""`changes`: a stream of "scan again", from the file system's events or, where there are none, from polling.

In: the paths that are loaded. Out: one None per burst of events, never which file or what happened to it: an atomic
rename is reported as an addition, and the swap of a ConfigMap names no file at all. The reader scans and compares
content. Refused: nothing; paths that are missing are waited for, and without events (limit of inotify reached) it
says so and polls.
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

from watchfiles import awatch

from xds_server.load.find import CODE, find_files, wanted

Signature = tuple[tuple[str, tuple[int, ...]], ...]
"""Names with what `stat` says of them; equal if, as far as can be seen without reading, nothing changed."""

_RETRIES = 20


class Stop(Protocol):
    """An event that ends the stream, of asyncio, anyio or threading."""

    def is_set(self) -> bool:
        """True when the stream is to end."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Times in seconds. So long without an event ends a burst (`quiet`); so long after its start it ends anyway (`longest`).

    `grace` is how long a file that vanished or became empty may be on its way back: editors delete and write anew.
    `tick` is how often the paths themselves are looked at: no event tells that a watched folder was replaced.
    `recheck` is how often all files are looked at in case events were lost, `poll` the same where there are no events.
    """

    quiet: float = 0.03
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
    failures, lenient = 0, False
    while not force_polling and not stop.is_set():
        try:
            async with aclosing(_watched(roots, stop, rhythm, lenient)) as bursts:
                async for _ in bursts:
                    failures = 0
                    yield None
        except (OSError, RuntimeError) as error:  # RuntimeError: watchfiles' own
            failures += 1
            if isinstance(error, PermissionError) and not lenient:
                lenient = True  # watch what may be watched; the load reports the rest
                continue
            if isinstance(error, FileNotFoundError) and failures < _RETRIES:
                await asyncio.sleep(rhythm.quiet)  # a folder went while its watch was set up
                continue
            force_polling = True
            if on_fallback is not None:
                on_fallback(f"no file events ({error}); looking every {rhythm.poll:g} s instead")
    async with aclosing(_polled(roots, stop, rhythm)) as looks:
        async for _ in looks:
            yield None


async def _watched(roots: tuple[str, ...], stop: Stop, rhythm: Rhythm, lenient: bool) -> AsyncGenerator[None, None]:
    """Watch until `stop` is set or a root becomes another folder than the one that is watched."""
    watched, single = _identities(roots), _single_files(roots)
    folders = _folders(roots)
    due = _now() + rhythm.recheck
    reported: Signature | None = None
    async with aclosing(_events(folders, rhythm, lenient)) as batches:
        async for batch in batches:
            if stop.is_set() or _identities(roots) != watched:
                return
            names = [name for name in batch if _visible(name, folders)]
            report = reported is None
            if names or single != _single_files(roots):
                await _settled(_awaited(names, single), rhythm)
                single = _single_files(roots)
                report = True
            if reported is None or _now() >= due:
                due = _now() + rhythm.recheck
                files = await asyncio.to_thread(_signature, roots)
                report = report or files != reported
                reported = files
            if report:
                yield None


async def _events(folders: tuple[str, ...], rhythm: Rhythm, lenient: bool) -> AsyncGenerator[set[str], None]:
    """The names of each burst of events; an empty set once a tick without any. `lenient`: skip what may not be watched."""
    if not folders:
        while True:
            yield set()
            await asyncio.sleep(rhythm.tick)
    batches = awatch(
        *folders,
        watch_filter=None,
        debounce=_milliseconds(rhythm.longest),
        step=_milliseconds(rhythm.quiet),
        stop_event=asyncio.Event(),  # its own: a cancelled awatch sets it
        rust_timeout=_milliseconds(rhythm.tick),
        yield_on_timeout=True,
        force_polling=False,
        ignore_permission_denied=lenient,  # it would hide the limit of inotify, too
    )
    async with aclosing(batches):
        async for batch in batches:
            yield {name for _, name in batch}


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


def _awaited(names: list[str], single: Signature) -> list[str]:
    """The files that should be there: all with our suffixes, but not those of a ConfigMap's earlier versions."""
    files = [name for name in names if wanted(Path(name).name) or name.endswith(CODE)]
    plain = [name for name in files if "/.." not in name]
    return plain + [name for name, _ in single]


def _folders(roots: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(Path(root).absolute().as_posix() for root in roots if Path(root).is_dir())


def _visible(name: str, folders: tuple[str, ...]) -> bool:
    """False for what happens inside hidden files and folders, except those of a ConfigMap (`..data`)."""
    for folder in folders:
        if name.startswith(folder + "/"):
            parts = name[len(folder) + 1 :].split("/")
            return not any(part.startswith(".") and not part.startswith("..") for part in parts)
    return True


def _identities(roots: tuple[str, ...]) -> Signature:
    """Which folder each root is; one that is a file or missing has none."""
    return tuple((root, _stat(root)[:2] if Path(root).is_dir() else ()) for root in roots)


def _single_files(roots: tuple[str, ...]) -> Signature:
    """What can be seen of the roots that are files: they are looked at, since a watch on a file ends with a rename."""
    return tuple((root, _stat(root)) for root in roots if not Path(root).is_dir())


def _signature(roots: tuple[str, ...]) -> Signature:
    found = find_files(roots)
    return tuple((name, _stat(name)) for root in found.values() for name in (*root.names, *root.code))


def _stat(name: str) -> tuple[int, ...]:
    try:
        status = Path(name).stat()
    except OSError:
        return ()
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _size(name: str) -> int:
    """The size of a file; 0 if it is not there."""
    try:
        status = Path(name).stat()
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 1


def _now() -> float:
    return asyncio.get_running_loop().time()


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
