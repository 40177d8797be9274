"""When documents of the web are asked for: at once when they are wanted, hourly after that, and sooner after a failure.

In: which URLs are wanted, how to fetch, a clock that only ever grows, and a folder. Out: the documents as they are known
now, and a word whenever they have changed. A document that was fetched once stays when its server fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from xds_server.fetch.keep import drop, keep, kept
from xds_server.fetch.web import FetchError
from xds_server.types import Fetched

_FRESH = 3600.0
_SOONEST, _LATEST = 1.0, 300.0
_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Web:
    """How documents are fetched, and whom to tell of a failure that is new."""

    fetch: Callable[[str], str]
    clock: Callable[[], float]
    failed: Callable[[str, str], None]


class Fetcher:
    """The documents that are known. `run` keeps them fresh."""

    def __init__(self, web: Web, folder: Path | None) -> None:
        self._web, self._folder = web, folder
        self._known = {url: Fetched(text) for url, text in (kept(folder) if folder is not None else {}).items()}
        self._due: dict[str, float] = {}
        self._waits: dict[str, float] = {}
        self._woken = asyncio.Event()

    @property
    def documents(self) -> Mapping[str, Fetched]:
        """What is known of every wanted URL that was asked."""
        return dict(self._known)

    def want(self, urls: Collection[str]) -> None:
        """Know these from now on, and no others."""
        for url in (self._known.keys() | self._due.keys()) - set(urls):
            self._known.pop(url, None)
            self._due.pop(url, None)
            self._waits.pop(url, None)
            if self._folder is not None:
                try:
                    drop(self._folder, url)
                except OSError as error:
                    self._web.failed(url, f"it cannot be removed from disk: {error}")
        for url in urls:
            self._due.setdefault(url, self._web.clock())
        self._woken.set()

    async def run(self, changed: Callable[[], Awaitable[None]]) -> None:
        """Fetch what is due, until cancelled. `changed` is called after each round that has brought something new."""
        while True:
            self._woken.clear()
            now = self._web.clock()
            due = [url for url, moment in self._due.items() if moment <= now]
            if due:
                before = self.documents
                limit = asyncio.Semaphore(_AT_ONCE)
                await asyncio.gather(*(self._ask(url, limit) for url in due))
                if self.documents != before:
                    await changed()
                continue
            wait = min(self._due.values(), default=now + _FRESH) - now
            try:
                await asyncio.wait_for(self._woken.wait(), wait)
            except TimeoutError:
                continue

    async def _ask(self, url: str, limit: asyncio.Semaphore) -> None:
        async with limit:
            try:
                text, problem = await asyncio.to_thread(self._web.fetch, url), ""
            except FetchError as error:
                text, problem = "", str(error)
        if url not in self._due:  # nobody wants it any more
            return
        known = self._known.get(url)
        if not problem:
            if self._folder is not None and (known is None or known.text != text):
                try:
                    await asyncio.to_thread(keep, self._folder, url, text)
                except OSError as error:
                    self._web.failed(url, f"it cannot be kept on disk: {error}")
            self._known[url] = Fetched(text)
            self._waits.pop(url, None)
            self._due[url] = self._web.clock() + _FRESH
            return
        if url not in self._waits:
            self._web.failed(url, problem)
        if known is None or not known.text:
            self._known[url] = Fetched(problem=problem)
        self._waits[url] = min(_LATEST, 2 * self._waits.get(url, _SOONEST / 2))
        self._due[url] = self._web.clock() + self._waits[url]
