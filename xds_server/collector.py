"""Python's garbage collector: it comes by rarely, and not at all while much is made that stays, such as modules and documents."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_RARELY = (50_000, 20, 10)
"""After so many new objects that are still there the youngest are looked through, and after so many times the older ones."""


def collect_rarely() -> None:
    """A response to a thousand streams makes some ten thousand objects that are gone soon by themselves."""
    gc.set_threshold(*_RARELY)


def keep_for_good() -> None:
    """Nearly all there is now stays. To look through it for garbage, even once, would hold up the loop."""
    gc.freeze()


class _Pause:
    """Threads that want the collector away at the same time: the first one stops it, the last one lets it go on."""

    def __init__(self) -> None:
        self._lock, self._wanting, self._was_on = threading.Lock(), 0, False

    def begin(self) -> None:
        """One more wants it away."""
        with self._lock:
            if not self._wanting:
                self._was_on = gc.isenabled()
                gc.disable()
            self._wanting += 1

    def end(self) -> None:
        """One less does."""
        with self._lock:
            self._wanting -= 1
            if not self._wanting and self._was_on:
                gc.enable()


_PAUSE = _Pause()


@contextmanager
def collector_paused() -> Iterator[None]:
    """Parsing makes a million objects and no cycles; looking for cycles meanwhile costs a third of the time."""
    _PAUSE.begin()
    try:
        yield
    finally:
        _PAUSE.end()
