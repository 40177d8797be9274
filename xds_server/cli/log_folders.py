"""The folders in which access logs may be written: `--log-folder /var/log/envoy`.

In: words of the command line. Out: absolute paths without a slash at their end. Whether they are there is seen on the
Envoys' machines only.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

_NO_FILES = ("", "dev", "proc", "sys")


def parse_log_folders(words: Sequence[str] | None) -> tuple[str, ...]:
    """Folders in the order given, each once. ValueError says which word is wrong."""
    found: dict[str, None] = {}
    for word in words or ():
        path = word.rstrip("/")
        if posixpath.normpath(path) != path or not path.startswith("/") or path.split("/")[1] in _NO_FILES:
            raise ValueError(f"--log-folder {word}: write the absolute path of a folder, such as /var/log/envoy")
        found[path] = None
    return tuple(found)
