"""Fetched documents on disk, so that a server that starts while the web is down knows what it knew before.

In and out: one file a URL, in a folder. What it makes is 0700 and 0600. A file that cannot be read is as good as none.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from pathlib import Path

from xds_server.files import write_file


def kept(folder: Path) -> dict[str, str]:
    """The documents by URL."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            written = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(written, dict) and isinstance(written.get("url"), str) and isinstance(written.get("text"), str):
            found[written["url"]] = written["text"]
    return found


def keep(folder: Path, url: str, text: str) -> None:
    """Write a document, whole or not at all."""
    folder.mkdir(mode=0o700, exist_ok=True)
    write_file(_path(folder, url), json.dumps({"url": url, "text": text}))


def drop(folder: Path, url: str) -> None:
    """Remove a document."""
    _path(folder, url).unlink(missing_ok=True)


def _path(folder: Path, url: str) -> Path:
    return folder / f"{blake2b(url.encode(), digest_size=16).hexdigest()}.json"
