"""Work of many streams in small portions: what else the event loop has to do comes in between.

In: streams that want to work, in any number at the same time. Out: so many of them in each round of the loop, in the order in
which they came.
"""

from __future__ import annotations

import asyncio
from collections import deque

_AT_ONCE = 16


class Turns:
    """Who may work in this round of the event loop."""

    def __init__(self, at_once: int = _AT_ONCE) -> None:
        self._at_once, self._used = at_once, 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def mine(self) -> None:
        """Return when it is the caller's turn: at once, unless many came before it."""
        loop = asyncio.get_running_loop()
        if not self._used:
            loop.call_soon(self._next)
        elif self._waiting or self._used >= self._at_once:
            turn = loop.create_future()
            self._waiting.append(turn)
            await turn
            return
        self._used += 1

    def _next(self) -> None:
        """Another round."""
        self._used = 0
        while self._waiting and self._used < self._at_once:
            turn = self._waiting.popleft()
            if not turn.done():  # else its stream has ended
                turn.set_result(None)
                self._used += 1
        if self._used:
            asyncio.get_running_loop().call_soon(self._next)
