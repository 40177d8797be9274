"""Documents over time: servers that are down at first, that fail later, and what is on disk."""

from __future__ import annotations

import asyncio
import stat
import time
from collections.abc import Callable
from pathlib import Path

from tests.translate.live import Server
from xds_server.fetch.loop import Fetcher, Web
from xds_server.fetch.web import fetch
from xds_server.types import Fetched


class Watch:
    """A fetcher at work: what it told, and a clock that runs ahead as the test wants."""

    def __init__(self, folder: Path | None) -> None:
        self.ahead = 0.0
        self.failures: list[str] = []
        self.fetcher = Fetcher(Web(fetch, lambda: time.monotonic() + self.ahead, self._failed), folder)

    def _failed(self, url: str, problem: str) -> None:
        del problem
        self.failures.append(url)

    async def until(self, reached: Callable[[], bool]) -> None:
        """Let it run until this is true."""

        async def changed() -> None:
            await asyncio.sleep(0)

        running = asyncio.create_task(self.fetcher.run(changed))
        deadline = time.monotonic() + 60
        try:
            while not reached():
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
        finally:
            running.cancel()


def test_a_document_outlives_its_server_and_this_one(tmp_path: Path) -> None:
    folder, server = tmp_path / "fetched", Server("web")
    where = f"http://127.0.0.1:{server.address[1]}/a"
    server.body = "first"

    async def first() -> None:
        watch = Watch(folder)
        watch.fetcher.want([where])
        await watch.until(lambda: watch.fetcher.documents == {where: Fetched("first")})
        server.broken.add("/a")
        watch.ahead = 4000
        watch.fetcher.want([where])
        await watch.until(lambda: watch.failures == [where])
        assert watch.fetcher.documents == {where: Fetched("first")}
        watch.ahead = 4100
        server.broken.clear()
        server.body = "second"
        watch.fetcher.want([where])
        await watch.until(lambda: watch.fetcher.documents == {where: Fetched("second")})

    asyncio.run(first())
    server.close()
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())]
    assert modes == [0o700, 0o600]

    async def second() -> None:
        watch = Watch(folder)
        assert watch.fetcher.documents == {where: Fetched("second")}
        watch.fetcher.want([where])
        await watch.until(lambda: watch.failures == [where])
        assert watch.fetcher.documents == {where: Fetched("second")}
        watch.fetcher.want([])
        assert not watch.fetcher.documents

    asyncio.run(second())
    assert not list(folder.iterdir())


def test_a_server_that_is_down_says_so_once_and_is_asked_again() -> None:
    server = Server("web")
    where = f"http://127.0.0.1:{server.address[1]}/a"
    server.body = "here"
    server.broken.add("/a")

    async def run() -> None:
        watch = Watch(None)
        watch.fetcher.want([where])
        await watch.until(lambda: server.seen.count("/a") > 1)
        assert watch.fetcher.documents == {where: Fetched(problem="it answers 500")}
        server.broken.clear()
        await watch.until(lambda: watch.fetcher.documents == {where: Fetched("here")})
        assert watch.failures == [where]

    asyncio.run(run())
    server.close()


def test_what_is_on_disk_and_cannot_be_read_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.json").write_text('{"url": 1, "text": "x"}')
    assert not Fetcher(Web(fetch, time.monotonic, lambda *_: None), tmp_path).documents
