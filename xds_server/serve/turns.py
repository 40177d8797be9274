"""Work of many streams in small portions: what else the event loop has to do comes in between.

In: streams that want to work, in any number at the same time. Out: so many of them in each round of the loop, in the order in
which they came.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

_AT_ONCE = 64
Work = Callable[[], None]


class Turns:
    """Who may work in this round. `next_round` has something called in the next one."""

    def __init__(self, next_round: Callable[[Work], object], at_once: int = _AT_ONCE) -> None:
        self._next_round, self._at_once, self._used = next_round, at_once, 0
        self._waiting: deque[Work] = deque()

    def ask(self, go: Work) -> bool:
        """Whether it is the caller's turn now; if not, `go` says when it is."""
        if self._waiting or self._used >= self._at_once:
            self._waiting.append(go)
            return False
        if not self._used:
            self._next_round(self._begin)
        self._used += 1
        return True

    def _begin(self) -> None:
        self._used = 0
        while self._waiting and self._used < self._at_once:
            self._waiting.popleft()()
            self._used += 1
        if self._used:
            self._next_round(self._begin)


def due(count: int, passed: float, within: float) -> int:
    """How many of so many are to be done by now, if all are to be done within these seconds."""
    return min(count, math.ceil(count * passed / within)) if within else count
