"""Which Envoy binary to run.

In: what the command line and the environment say. Out: a path, or a sentence that names every place looked at.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

ENVOY_VERSION = "1.40.0"
"""The Envoy that this release is made for and tested with; `envoy.lock` pins the same."""
VARIABLE = "CELLWAY_ENVOY"
LOCAL = Path(".envoy/bin/envoy")


class NoEnvoyError(Exception):
    """There is no Envoy to run; the text says where it was looked for."""


def find_envoy(option: Path | None, environment: Mapping[str, str], folder: Path) -> Path:
    """The Envoy of `--envoy`, of CELLWAY_ENVOY, of `.envoy/bin/envoy` below `folder`, or of PATH, in this order.

    Raises NoEnvoyError if what is asked for cannot be run, or if nothing is asked for and none is found.
    """
    asked = option or (Path(environment[VARIABLE]) if environment.get(VARIABLE) else None)
    if asked is not None:
        if not _runs(asked):
            source = "--envoy" if option else VARIABLE
            raise NoEnvoyError(f"{source} says {asked}, but that is not an executable file")
        return asked.resolve()
    if _runs(folder / LOCAL):
        return (folder / LOCAL).resolve()
    if (found := shutil.which("envoy", path=environment.get("PATH"))) is not None:
        return Path(found).resolve()
    raise NoEnvoyError(
        f"no Envoy found: not given by --envoy or {VARIABLE}, not at {LOCAL}, not on PATH (--no-envoy runs without)"
    )


def _runs(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
