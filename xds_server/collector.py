"""Python's garbage collector: it comes by rarely, and not at all while much is made that stays, such as modules and documents."""

from __future__ import annotations

import gc
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


@contextmanager
def collector_paused() -> Iterator[None]:
    """Parsing makes a million objects and no cycles; looking for cycles meanwhile costs a third of the time."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()
