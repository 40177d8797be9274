"""Would this Envoy take a bootstrap? Asked of the binary itself, which reads it and serves nothing.

In: a binary, and a bootstrap as JSON values, secrets and all. Out: why it refuses it, or an empty text. What is written for
it is readable by its user only, and gone afterwards.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

_PATIENCE = 60.0
_LINE = re.compile(r"^\[[^\]]*\]\[\d+\]\[critical\]\[[^\]]*\] (?:\[[^\]]*\] )?(.*)", re.MULTILINE | re.DOTALL)
_OPTIONS = ("--mode", "validate", "--disable-hot-restart", "--concurrency", "1", "--log-level", "critical")


def try_bootstrap(binary: Path, bootstrap: dict[str, Any]) -> str:
    """Why Envoy refuses a bootstrap; empty if it takes it. OSError if it cannot be asked."""
    with tempfile.TemporaryDirectory(prefix="cellway-") as folder:
        path = Path(folder) / "envoy.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(bootstrap), encoding="utf-8")
        try:
            done = subprocess.run(  # noqa: S603 (the binary that the user chose)
                [str(binary), *_OPTIONS, "--config-path", str(path)],
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=_PATIENCE,
                cwd=folder,
            )
        except subprocess.TimeoutExpired:
            return f"Envoy did not answer within {_PATIENCE:g} s"
        return "" if done.returncode == 0 else _reason(done.stderr, str(path)) or f"exit code {done.returncode}"


def _reason(said: str, path: str) -> str:
    """What Envoy said, in one line, without its log's head and the name of a file that is gone."""
    found = _LINE.search(said)
    text = (found.group(1) if found else said).strip()
    return " ".join(text.removeprefix(f"error initializing configuration '{path}': ").replace(path, "it").split())
