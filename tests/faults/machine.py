"""The command `cellway` on a machine whose clock is wrong and whose disk stands still.

In: the variable MACHINE, a folder. `clock` in it: so many seconds are added to the time of day. While there is `slow` in it,
nothing that is written gets to the disk. Out: the command.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

_FOLDER = Path(os.environ["MACHINE"])
_time, _fsync = time.time, os.fsync


def _wrong() -> float:
    try:
        return _time() + float((_FOLDER / "clock").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return _time()


def _slow(fd: Any) -> None:
    while (_FOLDER / "slow").exists():
        time.sleep(0.02)
    _fsync(fd)


time.time, os.fsync = _wrong, _slow

if __name__ == "__main__":
    from xds_server.cli.main import main

    main()
