"""Every way in which files change under a watch, with real files and real events.

Each test makes one change and waits until a scan sees the new content: that is what the stream promises. No test
asserts how fast; the test runner's timeout catches what is never seen.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncinotify
import pytest

from tests.load.test_directory import config_map, values, write
from xds_server.load.directory import load_paths
from xds_server.load.events import FolderEvents
from xds_server.load.watch import Rhythm, changes

EVENTS = Rhythm(recheck=3600)
POLLING = Rhythm(poll=0.1)


class Watch:
    """A watch of some paths, and the content at each scan."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.scans: list[list[object]] = []
        self._woken = asyncio.Condition()

    async def run(self, stop: asyncio.Event, rhythm: Rhythm, force_polling: bool) -> None:
        async for _ in changes(self.paths, stop, rhythm=rhythm, force_polling=force_polling):
            async with self._woken:
                self.scans.append(values(load_paths(self.paths)))
                self._woken.notify_all()

    async def sees(self, *expected: object) -> list[list[object]]:
        """Wait until a scan shows these documents; gives the scans until then and forgets them."""
        async with self._woken:
            await self._woken.wait_for(lambda: list(expected) in self.scans)
            scans, self.scans = self.scans, []
            return scans


@asynccontextmanager
async def watching(*paths: Path, polling: bool = False, rhythm: Rhythm | None = None) -> AsyncIterator[Watch]:
    """A watch that has made its first scan."""
    rhythm = rhythm or (POLLING if polling else EVENTS)
    watch, stop = Watch(list(paths)), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watch.run(stop, rhythm, polling))
        async with asyncio.timeout(20):
            await watch.sees(*values(load_paths(watch.paths)))
            yield watch
        stop.set()


def overwrite(path: Path) -> Iterator[float]:
    """A save: what happens to the file, and how many seconds pass between its steps."""
    path.write_text("a: 2")
    yield 0


def atomic_rename(path: Path) -> Iterator[float]:
    new = path.with_name("new.tmp")
    new.write_text("a: 2")
    new.replace(path)
    yield 0


def same_size_and_time(path: Path) -> Iterator[float]:
    status = path.stat()
    path.write_text("a: 2")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    yield 0


def vim(path: Path) -> Iterator[float]:
    backup = path.with_name(path.name + "~")
    path.rename(backup)
    yield 0.2
    path.write_text("a: 2")
    backup.unlink()


def delete_and_create(path: Path) -> Iterator[float]:
    path.unlink()
    yield 0.2
    path.write_text("a: 2")


def half_written(path: Path) -> Iterator[float]:
    with path.open("w") as file:
        yield 0.2
        file.write("a: 2")


SAVES = [overwrite, atomic_rename, same_size_and_time, vim, delete_and_create, half_written]


@pytest.mark.parametrize("single", [False, True], ids=["folder", "file"])
@pytest.mark.parametrize("polling", [False, True], ids=["events", "polling"])
@pytest.mark.parametrize("save", SAVES)
async def test_every_save_is_seen_and_none_is_a_deletion(
    tmp_path: Path, save: Callable[[Path], Iterator[float]], polling: bool, single: bool
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: 1")
    async with watching(path if single else tmp_path, polling=polling) as watch:
        for pause in save(path):
            await asyncio.sleep(pause)
        assert [] not in await watch.sees({"a": 2})


@pytest.mark.parametrize("polling", [False, True], ids=["events", "polling"])
async def test_files_come_and_go(tmp_path: Path, polling: bool) -> None:
    async with watching(tmp_path, polling=polling) as watch:
        write(tmp_path, {"a.yaml": "a: 1"})
        await watch.sees({"a": 1})
        write(tmp_path, {"new/folder/b.yaml": "b: 1"})
        await watch.sees({"a": 1}, {"b": 1})
        write(tmp_path, {"new/folder/b.yaml": "b: 2"})
        await watch.sees({"a": 1}, {"b": 2})
        (tmp_path / "a.yaml").unlink()
        await watch.sees({"b": 2})
        shutil.rmtree(tmp_path / "new")
        await watch.sees()


@pytest.mark.parametrize("polling", [False, True], ids=["events", "polling"])
async def test_config_map_swaps(tmp_path: Path, polling: bool) -> None:
    config_map(tmp_path, 1, {"p.yaml": "v: 1", "q.yaml": "w: 1"})
    async with watching(tmp_path, polling=polling) as watch:
        for version in range(2, 6):
            config_map(tmp_path, version, {"p.yaml": f"v: {version}", "q.yaml": f"w: {version}"})
            scans = await watch.sees({"v": version}, {"w": version})
            assert [] not in scans


async def test_config_map_swap_is_seen_by_a_watch_on_one_file(tmp_path: Path) -> None:
    config_map(tmp_path, 1, {"p.yaml": "v: 1"})
    async with watching(tmp_path / "p.yaml") as watch:
        config_map(tmp_path, 2, {"p.yaml": "v: 2"})
        await watch.sees({"v": 2})


@pytest.mark.parametrize("polling", [False, True], ids=["events", "polling"])
async def test_missing_root_is_waited_for_and_a_new_one_is_followed(tmp_path: Path, polling: bool) -> None:
    root = tmp_path / "later" / "policies"
    async with watching(root, polling=polling) as watch:
        write(root, {"a.yaml": "a: 1"})
        await watch.sees({"a": 1})
        root.rename(tmp_path / "old")
        write(root, {"a.yaml": "a: 2"})
        await watch.sees({"a": 2})
        write(root, {"a.yaml": "a: 3"})
        await watch.sees({"a": 3})
        shutil.rmtree(root)
        await watch.sees()
        write(root, {"a.yaml": "a: 4"})
        await watch.sees({"a": 4})


async def test_swapped_symlink_root_is_followed(tmp_path: Path) -> None:
    write(tmp_path, {"v1/a.yaml": "a: 1", "v2/a.yaml": "a: 2"})
    (tmp_path / "current").symlink_to("v1")
    async with watching(tmp_path / "current") as watch:
        (tmp_path / "next").symlink_to("v2")
        (tmp_path / "next").replace(tmp_path / "current")
        await watch.sees({"a": 2})
        write(tmp_path, {"v2/a.yaml": "a: 3"})
        await watch.sees({"a": 3})


async def test_linked_folder_is_watched(tmp_path: Path) -> None:
    write(tmp_path, {"outside/a.yaml": "a: 1", "p/b.yaml": "b: 1"})
    (tmp_path / "p/link").symlink_to("../outside")
    async with watching(tmp_path / "p") as watch:
        write(tmp_path, {"outside/a.yaml": "a: 2"})
        await watch.sees({"b": 1}, {"a": 2})


async def test_many_files_are_few_scans(tmp_path: Path) -> None:
    async with watching(tmp_path) as watch:
        write(tmp_path, {f"{i:03}.yaml": f"a: {i}" for i in range(300)})
        assert len(await watch.sees(*({"a": i} for i in range(300)))) < 20


async def test_what_is_renamed_into_place_needs_no_quiet(tmp_path: Path) -> None:
    never = Rhythm(quiet=3600, longest=3600, rest=0, recheck=3600)
    write(tmp_path, {"p/a.yaml": "a: 1", "new/a.yaml": "a: 2", "new/b.yaml": "b: 1"})
    config_map(tmp_path / "p/map", 1, {"m.yaml": "m: 1"})
    async with watching(tmp_path / "p", rhythm=never) as watch:
        (tmp_path / "new/a.yaml").replace(tmp_path / "p/a.yaml")
        await watch.sees({"a": 2}, {"m": 1})
        config_map(tmp_path / "p/map", 2, {"m.yaml": "m: 2"})
        await watch.sees({"a": 2}, {"m": 2})
        (tmp_path / "new").rename(tmp_path / "p/new")
        await watch.sees({"a": 2}, {"m": 2}, {"b": 1})


async def test_renames_in_a_row_are_gathered(tmp_path: Path) -> None:
    files = {f"{number}.yaml": f"a: {number}" for number in range(9)}
    write(tmp_path, {f"new/{name}": text for name, text in files.items()})
    (tmp_path / "p").mkdir()
    async with watching(tmp_path / "p", rhythm=Rhythm(rest=3600, quiet=0.1, recheck=3600)) as watch:
        for name in files:
            (tmp_path / "new" / name).replace(tmp_path / "p" / name)
        assert len(await watch.sees(*({"a": number} for number in range(9)))) == 1


async def test_a_file_that_is_still_open_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: 1")
    async with watching(tmp_path, rhythm=Rhythm(longest=3600, recheck=3600)) as watch:
        with path.open("w") as file:
            for line in ("a: 2\n", "b: 2\n", "c: 2\n"):
                file.write(line)
                file.flush()
                await asyncio.sleep(0.1)
        assert await watch.sees({"a": 2, "b": 2, "c": 2}) == [[{"a": 2, "b": 2, "c": 2}]]


async def test_a_file_that_is_none_of_ours_is_not_waited_for(tmp_path: Path) -> None:
    write(tmp_path, {"p/a.yaml": "a: 1", "new/a.yaml": "a: 2"})
    with (tmp_path / "p/app.log").open("w") as log:
        async with watching(tmp_path / "p", rhythm=Rhythm(longest=3600, recheck=3600)) as watch:
            log.write("one line\n")
            log.flush()
            (tmp_path / "new/a.yaml").replace(tmp_path / "p/a.yaml")
            await watch.sees({"a": 2})


async def test_links_that_lead_nowhere_hide_no_other_folder(tmp_path: Path) -> None:
    write(tmp_path, {"sub/a.yaml": "a: 1"})
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("not-there")
    async with watching(tmp_path) as watch:
        write(tmp_path, {"sub/a.yaml": "a: 2"})
        await watch.sees({"a": 2})


async def test_events_without_end_hold_up_nothing_else(tmp_path: Path) -> None:
    touching = "import os, sys\nwhile True:\n for name in sys.argv[1:]: os.utime(name)"
    write(tmp_path, {"a.txt": "", "b.txt": "", "p.yaml": "a: 1"})
    async with watching(tmp_path) as watch:
        files = (str(tmp_path / name) for name in ("a.txt", "b.txt"))
        toucher = await asyncio.create_subprocess_exec(sys.executable, "-c", touching, *files)
        try:
            await watch.sees({"a": 1})
            for _ in range(100):
                await asyncio.sleep(0.001)
            write(tmp_path, {"p.yaml": "a: 2"})
            await watch.sees({"a": 2})
        finally:
            toucher.kill()
            await toucher.wait()


async def test_hidden_folders_are_no_news(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": "a: 1", ".git/x": "1"})
    async with watching(tmp_path) as watch:
        write(tmp_path, {".git/x": "2", ".git/y.yaml": "a: 3"})
        await asyncio.sleep(0.5)
        assert watch.scans == []


async def test_lost_events_are_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FolderEvents, "_note", lambda events, event: None)
    stop = asyncio.Event()
    stream = changes([tmp_path], stop, rhythm=Rhythm(recheck=0.2))
    await anext(stream)
    write(tmp_path, {"a.yaml": "a: 1"})
    await anext(stream)
    stop.set()
    assert [item async for item in stream] == []


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EMFILE, "Too many")])
async def test_without_events_it_polls_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    def no_events(*words: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(asyncinotify.Inotify, "add_watch" if error.errno == errno.ENOSPC else "__init__", no_events)
    told: list[str] = []
    stream = changes([tmp_path], asyncio.Event(), rhythm=POLLING, on_fallback=told.append)
    await anext(stream)
    write(tmp_path, {"a.yaml": "a: 1"})
    await anext(stream)
    await stream.aclose()
    assert told == [f"no file events ({error}); looking every 0.1 s instead"]


async def test_it_ends_when_cancelled(tmp_path: Path) -> None:
    seen = asyncio.Event()

    async def run() -> None:
        async for _ in changes([tmp_path], asyncio.Event()):
            seen.set()

    task = asyncio.create_task(run())
    await seen.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
