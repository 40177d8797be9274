"""`FolderEvents`: what happens to the files of folders and of all folders below them, as the system tells it.

In: folders, and single files, which are seen through the folder that they lie in. Out: `wait` ends with each new event, and
`news` says what has come since it was taken: which files are whole, because they were renamed into place, and which
somebody may still be writing. Refused: nothing of the user's; OSError where the system gives no events, or no more of
them. Hidden folders are not watched, except those of a ConfigMap (`..data`).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sys
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from asyncinotify import Event, Inotify, Mask, Watch

from xds_server.load.find import CODE, wanted

_CONTENT = Mask.MODIFY | Mask.CLOSE_WRITE | Mask.ATTRIB
_NAMES = Mask.CREATE | Mask.DELETE | Mask.MOVED_FROM | Mask.MOVED_TO
_ASKED = _CONTENT | _NAMES | Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.ONLYDIR
_OTHER_FOLDERS = (Mask.ISDIR | Mask.Q_OVERFLOW | Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.UNMOUNT).value
_A_FOLDER, _MODIFIED, _RENAMED = Mask.ISDIR.value, Mask.MODIFY.value, Mask.MOVED_TO.value
_NEW = (Mask.CREATE | Mask.MOVED_TO).value
_NO_MORE = (errno.ENOSPC, errno.ENOMEM)
_NOWHERE: tuple[str, frozenset[str]] = ("", frozenset())
_AT_ONCE = 256
_BREATH = 0.01
"""Seconds in which nothing is read when so many events came at once: who touches files without end holds up nobody else."""


@dataclass(slots=True)
class News:
    """What has happened. `whole`: something was renamed into place. `partial`: files that were changed in another way."""

    any: bool = False
    whole: bool = False
    partial: set[str] = field(default_factory=set)


class FolderEvents:
    """The events of these folders and files. To be used by one task."""

    def __init__(self, source: Inotify, folders: tuple[str, ...], files: tuple[str, ...]) -> None:
        self._source = source
        self._folders, self._files = folders, files
        self._watches: dict[int, Watch] = {}
        self._paths: dict[int, tuple[str, frozenset[str]]] = {}
        """The folder of each watch, and the names that count there; none: all that are not hidden."""
        self._woken = asyncio.Event()
        self._stale = False
        self._writing: set[str] = set()
        self._news = News()
        self._next: asyncio.Handle | None = None

    @property
    def news(self) -> News:
        """What has happened since it was taken."""
        return self._news

    @property
    def writing(self) -> bool:
        """Whether somebody has begun to write a file and has not closed it."""
        return bool(self._writing)

    def take(self) -> News:
        """The news, which are old from now on. Who writes for so long is not waited for again."""
        taken, self._news = self._news, News()
        self._writing.clear()
        return taken

    async def wait(self, seconds: float) -> bool:
        """Wait for an event that has come since the last wait, so long at most; whether there is one."""
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return False
        self._woken.clear()
        if self._stale:
            await self.look_around()
        return True

    async def look_around(self) -> None:
        """Watch all folders that are there now, and no other. OSError: there are more than the system allows."""
        self.deaf()
        self._stale = False
        await asyncio.to_thread(self._watch_all)
        self._next = asyncio.get_running_loop().call_soon(self._listen)

    def deaf(self) -> None:
        """Hear no more."""
        asyncio.get_running_loop().remove_reader(self._source.fd)
        if self._next is not None:
            self._next.cancel()

    def _listen(self) -> None:
        """Read what has come, and then whatever comes."""
        asyncio.get_running_loop().add_reader(self._source.fd, self._read)
        self._read()

    def _watch_all(self) -> None:
        before, self._watches, self._paths = self._watches, {}, {}
        waiting, seen = list(self._folders), set[str]()
        while waiting:
            folder = waiting.pop()
            real = os.path.realpath(folder)
            if real in seen:
                continue
            seen.add(real)
            self._add(folder, frozenset())  # first, so that no folder is made between looking and watching
            waiting += _inner(folder)
        for file in self._files:
            folder, name = os.path.split(file)
            self._add(folder, frozenset((name, "..data")))
        for number in before.keys() - self._watches.keys():
            with contextlib.suppress(OSError):  # the folder is gone, and its watch with it
                self._source.rm_watch(before[number])

    def _add(self, folder: str, names: frozenset[str]) -> None:
        try:
            watch = self._source.add_watch(folder, _ASKED)
        except OSError as error:
            if error.errno in _NO_MORE:
                raise
            return  # gone meanwhile, or what the load reports
        known = self._paths.get(watch.wd)
        if known is not None:
            names = names | known[1] if names and known[1] else frozenset()
        self._watches[watch.wd] = watch
        self._paths[watch.wd] = folder, names

    def _read(self) -> None:
        for _ in range(_AT_ONCE):
            event = self._source.sync_get()
            if event is None:
                return
            self._note(event)
        self.deaf()
        self._next = asyncio.get_running_loop().call_later(_BREATH, self._listen)

    def _note(self, event: Event) -> None:
        """Take notice of one event."""
        mask, name, watch = event.mask.value, str(event.name or ""), event.watch
        folder, names = self._paths.get(watch.wd, _NOWHERE) if watch is not None else _NOWHERE
        if (names and name not in names) or _hidden(name):
            return
        if mask & _OTHER_FOLDERS:
            self._stale = True
        elif not folder:
            return
        self._news.any = True
        self._woken.set()
        if mask & _A_FOLDER or not name:
            self._news.whole |= bool(mask & _RENAMED)
            return
        path = f"{folder}/{name}"
        counts = bool(names) or wanted(name) or name.endswith(CODE)
        if not counts and mask & _NEW and _is_folder(path):
            self._stale = True  # a symlink to a folder
        self._sort(path, mask, counts=counts and "/.." not in path)

    def _sort(self, path: str, mask: int, *, counts: bool) -> None:
        """Whole, or still being written?"""
        if mask & _MODIFIED and counts:
            self._writing.add(path)
        elif not mask & Mask.ATTRIB.value:
            self._writing.discard(path)
        if mask & _RENAMED:
            self._news.whole = True
            self._news.partial.discard(path)
        elif counts:
            self._news.partial.add(path)


@asynccontextmanager
async def folder_events(folders: Iterable[str], files: Iterable[str]) -> AsyncGenerator[FolderEvents, None]:
    """The events as long as the context lasts; the watch stands when it begins."""
    if sys.platform != "linux":
        raise OSError("only Linux is asked for them")
    with Inotify(cache_size=_AT_ONCE // 8, sync_timeout=0) as source:
        events = FolderEvents(source, tuple(folders), tuple(files))
        await events.look_around()
        try:
            yield events
        finally:
            events.deaf()


def _inner(folder: str) -> list[str]:
    """The folders in a folder that count."""
    try:
        with os.scandir(folder) as entries:
            return [one.path for one in entries if not _hidden(one.name) and _is_folder(one.path)]
    except OSError:
        return []


def _is_folder(path: str) -> bool:
    try:
        return Path(path).is_dir()
    except OSError:  # a symlink to what may not be seen
        return False


def _hidden(name: str) -> bool:
    return name.startswith(".") and not name.startswith("..")
