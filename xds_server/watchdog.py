"""Keeps a server from standing still, and ends one that does: who looks after it starts it anew, and Envoys go on.

In: an event loop that is to come by ten times a second. Out: how late it is each time; if it does not come any more, the
stacks of all threads on stderr and exit code 1. Python's `faulthandler` does both without the interpreter's help.
"""

from __future__ import annotations

import asyncio
import faulthandler
import sys
from collections.abc import Callable

STANDSTILL = 30.0
"""Seconds. Compiling holds up the loop for tenths of one."""
_BEAT = 0.1


def _nobody(_seconds: float) -> None:
    """Who is told how late the loop is."""


async def watch_loop(standstill: float = STANDSTILL, late: Callable[[float], None] = _nobody) -> None:
    """Until cancelled, end the process if this loop does nothing for so many seconds.

    `late` is told again and again by how many seconds the loop does things later than it should.
    """
    stream, loop = sys.__stderr__, asyncio.get_running_loop()
    beat = min(_BEAT, standstill / 4)
    if stream is None:
        return
    try:
        while True:
            faulthandler.dump_traceback_later(standstill, exit=True, file=stream)
            due = loop.time() + beat
            await asyncio.sleep(beat)
            late(max(0.0, loop.time() - due))
    finally:
        faulthandler.cancel_dump_traceback_later()
