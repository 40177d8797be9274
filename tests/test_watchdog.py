"""The event loop is watched: who holds it is seen."""

from __future__ import annotations

import asyncio
import threading

from xds_server.watchdog import watch_loop


async def test_a_loop_that_is_held_is_late() -> None:
    told: list[float] = []
    beaten = asyncio.Event()

    def late(seconds: float) -> None:
        told.append(seconds)
        beaten.set()

    watching = asyncio.create_task(watch_loop(late=late))
    async with asyncio.timeout(30):
        await beaten.wait()
        calm = len(told)
        held = threading.Event()
        held.wait(1.5)  # this thread is the loop's: nothing else happens on it meanwhile
        while len(told) == calm:
            beaten.clear()
            await beaten.wait()
    watching.cancel()
    assert min(told) >= 0
    assert told[calm] > 1
