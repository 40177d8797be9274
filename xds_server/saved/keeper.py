"""Writes what is in force, after it came into force and beside everything else: a slow or full disk holds nobody up.

In: what reloads brought into force, as often as they like. Out: the newest of it, stored; a word when that fails and when it
works again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

from xds_server.collector import collector_paused
from xds_server.load.directory import Loaded
from xds_server.load.objects import Objects
from xds_server.saved.state import index_of, of_roots, restored
from xds_server.saved.store import Index, Store

_AGAIN = 5.0
"""Seconds after which what could not be written is tried again."""
Before = tuple[Loaded, Objects]


class Keeper:
    """The one who writes. `problem` says why what is in force is not stored; empty if it is, or nothing is yet."""

    def __init__(self, folder: Path, roots: Iterable[Path]) -> None:
        self._store = Store(folder)
        self._roots = frozenset(str(root) for root in roots)
        self._index = Index()
        self._contents: dict[str, bytes] = {}
        self._news = asyncio.Event()
        self.problem = ""

    def restore(self) -> Before | str:
        """What the last server had in force; or why that is not known, empty if there was none."""
        with collector_paused():
            found = self._store.read()
            if isinstance(found, str):
                return found
            self._index, self._contents = of_roots(found[0], self._roots), found[1]
            return restored(self._index, self._contents) if self._index.files else ""

    def keep(self, loaded: Loaded, objects: Objects) -> None:
        """This is in force from now on. It is known here whether or not there is time to write it."""
        index = index_of(loaded, objects, self._index)
        read = {file.digest: file.content for file in loaded.files.values() if not file.failed}
        self._contents = {digest: read.get(digest) or self._contents.get(digest, b"") for digest in index.digests()}
        self._index = index
        self._news.set()

    async def run(self, told: Callable[[str], None]) -> None:
        """Write the newest, until cancelled. `told` hears why it cannot be written, and an empty text when it can again."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), _AGAIN if self.problem else None)
            self._news.clear()
            await self.write(told)

    async def write(self, told: Callable[[str], None]) -> None:
        """Write what is in force now, if it is not written."""
        try:
            await asyncio.to_thread(self._store.write, self._index, self._contents)
            problem = ""
        except OSError as error:
            problem = str(error)
        if problem != self.problem:
            self.problem = problem
            told(problem)
