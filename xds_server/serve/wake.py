"""What a stream's task waits for.

In: calls, from whoever has something for the stream. Out: the task goes on, when it is its turn.
"""

from __future__ import annotations

import asyncio

from xds_server.serve.turns import Turns


class Wake:
    """What one task waits for: somebody calls, and then it is its turn. Less work than an event for many."""

    __slots__ = ("_called", "_loop", "_turns", "_waits", "leaves", "over", "ready")

    def __init__(self, turns: Turns) -> None:
        self._turns, self._loop = turns, asyncio.get_running_loop()
        self._called = self.ready = self.leaves = self.over = False
        self._waits: asyncio.Future[None] | None = None

    def call(self) -> None:
        """Let the task go on when it is its turn."""
        if not self._called:
            self._called = True
            if self._turns.ask(self._go):
                self._go()

    def leave(self) -> None:
        """Let the task end its stream, now."""
        self.leaves = True
        self._go()

    def end(self) -> None:
        """Let the task return when it has written what it is about."""
        self.over = True
        self._go()

    def clear(self) -> None:
        """The task looks now: what is called for from here on it has not seen."""
        self._called = self.ready = False

    def _go(self) -> None:
        self.ready = True
        if self._waits is not None and not self._waits.done():
            self._waits.set_result(None)

    def turn(self) -> asyncio.Future[None]:
        """What is done when it is this task's turn. To be asked for where it is not (`ready`)."""
        self._waits = self._loop.create_future()
        return self._waits
