"""Commands of `cellway`, in this process: a new one would spend a second on imports, each time.

What only a process of its own can show (`run`, `serve`, signals, what an installed wheel does) is tested with one.
"""

from __future__ import annotations

from collections.abc import Mapping
from subprocess import CompletedProcess

import structlog
from typer.testing import CliRunner

from xds_server.cli.main import application


def cellway(*words: str, given: str = "", env: Mapping[str, str] | None = None) -> CompletedProcess[str]:
    """What a command prints and its exit code; a bug in it is raised."""
    done = CliRunner().invoke(application, words, input=given or None, env={"COLUMNS": "200", **(env or {})})
    structlog.reset_defaults()  # a server that could not start has set up logs to a stream that is closed now
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return CompletedProcess(words, done.exit_code, done.stdout, done.stderr)
