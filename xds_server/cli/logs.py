"""Logs of a server: to stderr, for people or for machines."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from typing import TextIO, cast

import structlog


class _Patient(io.TextIOBase):
    """A stream whose disk may be full and whose reader may be gone: that is no reason not to serve."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream

    def isatty(self) -> bool:
        return self._stream.isatty()

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


def configure_logs(form: str | None, level: str) -> None:
    """Set up structlog. `form` None: console on a terminal, else JSON lines."""
    sys.stdout, sys.stderr = cast(TextIO, _Patient(sys.stdout)), cast(TextIO, _Patient(sys.stderr))
    chosen = form or ("console" if sys.stderr.isatty() else "json")
    colors = sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if chosen == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=0)
    last = [structlog.processors.format_exc_info, renderer] if chosen == "json" else [renderer]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso" if chosen == "json" else "%H:%M:%S", utc=chosen == "json"),
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
