"""Ends a server that stands still: who looks after the process starts it anew, and Envoys go on meanwhile.

In: an event loop that is to come by every second. Out: nothing as long as it does; else the stacks of all threads on stderr
and exit code 1. Python's `faulthandler` does both without the interpreter's help.
"""

from __future__ import annotations

import asyncio
import faulthandler
import sys

STANDSTILL = 30.0
"""Seconds. Compiling holds up the loop for tenths of one."""
_BEAT = 1.0


async def watch_loop(standstill: float = STANDSTILL) -> None:
    """Until cancelled, end the process if this loop does nothing for so many seconds."""
    stream = sys.__stderr__
    if stream is None:
        return
    try:
        while True:
            faulthandler.dump_traceback_later(standstill, exit=True, file=stream)
            await asyncio.sleep(min(_BEAT, standstill / 4))
    finally:
        faulthandler.cancel_dump_traceback_later()
