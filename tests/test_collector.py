"""Python's garbage collector goes on when nobody wants it away any more, whoever ends first."""

from __future__ import annotations

import contextlib
import gc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from xds_server.changes import candidate as planning
from xds_server.cli import reading
from xds_server.collector import collector_paused
from xds_server.compile import Compiled, Options, compile_objects
from xds_server.reload import Policies


@pytest.mark.parametrize("first", [0, 1])
def test_the_collector_goes_on_after_the_last_pause(first: int) -> None:
    assert gc.isenabled()
    pauses = [contextlib.ExitStack(), contextlib.ExitStack()]
    with ThreadPoolExecutor(1) as other:
        pauses[0].enter_context(collector_paused())
        other.submit(pauses[1].enter_context, collector_paused()).result()
        pauses[first].close()
        assert not gc.isenabled()
        pauses[1 - first].close()
    assert gc.isenabled()


def test_many_threads_leave_the_collector_on() -> None:
    def pause(_: int) -> bool:
        with collector_paused():
            return gc.isenabled()

    with ThreadPoolExecutor(8) as threads:
        assert not any(threads.map(pause, range(2_000)))
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with collector_paused(), collector_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_command_and_a_plan_read_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def compiled(*words: Any) -> Compiled:
        seen.append(gc.isenabled())
        return compile_objects(*words)

    for module in (reading, planning):
        monkeypatch.setattr(module, "compile_objects", compiled)
    reading.read([tmp_path], Options())
    planning.candidate(Policies(), Options(), planning.Files("p", "", {}))
    assert seen
    assert not any(seen)
    assert gc.isenabled()
