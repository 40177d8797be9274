"""Python's garbage collector, paused where much is made that stays: modules, documents, what is compiled from them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


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
