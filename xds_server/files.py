"""Files that a crash, a full disk or a curious neighbour must not spoil."""

from __future__ import annotations

import os
from pathlib import Path


def write_file(path: Path, content: str | bytes, *, lasting: bool = True) -> None:
    """Write a file that only its owner may read, whole or not at all. OSError leaves what was there.

    Not `lasting`: it says nothing once the machine is started anew, and nobody waits for the disk.
    """
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    data = content.encode() if isinstance(content, str) else content
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            if lasting:
                os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
