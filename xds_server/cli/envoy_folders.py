"""Folders on Envoys' machines: of access logs, `--log-folder /var/log/envoy`, of native modules, `--module-folder`, and of Unix
sockets of services, `--socket-folder`.

In: words of the command line. Out: absolute paths without a slash at their end. Whether they are there is seen on the
Envoys' machines only.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

_NO_FILES = ("", "dev", "proc", "sys")


def parse_log_folders(words: Sequence[str] | None) -> tuple[str, ...]:
    """Folders of logs in the order given, each once. ValueError says which word is wrong."""
    return _folders("--log-folder", words, "/var/log/envoy")


def parse_module_folders(words: Sequence[str] | None) -> tuple[str, ...]:
    """Folders of native modules in the order given, each once. ValueError says which word is wrong."""
    return _folders("--module-folder", words, "/usr/lib/envoy")


def parse_socket_folders(words: Sequence[str] | None) -> tuple[str, ...]:
    """Folders of Unix sockets in the order given, each once. ValueError says which word is wrong."""
    return _folders("--socket-folder", words, "/run/services")


def _folders(option: str, words: Sequence[str] | None, example: str) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for word in words or ():
        path = word.rstrip("/")
        if posixpath.normpath(path) != path or not path.startswith("/") or path.split("/")[1] in _NO_FILES:
            raise ValueError(f"{option} {word}: write the absolute path of a folder, such as {example}")
        found[path] = None
    return tuple(found)
