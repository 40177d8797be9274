"""A folder of contents, each in a file that is named by its hash: the same content is there once, whoever needs it.

In: contents. Out: the same, or an error where a file is not what was written. Written is 0600.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from pathlib import Path

from xds_server.files import write_file


def digest_of(data: bytes) -> str:
    """The hash that names a content."""
    return hashlib.sha256(data).hexdigest()


class Contents:
    """The contents in a folder. `others`: names of files in it that are none."""

    def __init__(self, folder: Path, others: Collection[str] = ()) -> None:
        self._folder, self._others = folder, others

    def missing(self, digests: Iterable[str]) -> set[str]:
        """Those that are not kept."""
        return {one for one in digests if not self._path(one).is_file()}

    def keep(self, contents: Iterable[bytes]) -> None:
        """Keep contents. OSError if one cannot be written."""
        for data in contents:
            path = self._path(digest_of(data))
            if not path.is_file():
                write_file(path, data)

    def read(self, digest: str) -> bytes:
        """A content. OSError, with a sentence, if it cannot be read, or is not what was written."""
        path = self._path(digest)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise OSError(f"{path} cannot be read: {error.strerror}") from None
        if digest_of(data) != digest:
            raise OSError(f"{path} is not what was written")
        return data

    def size(self, digest: str) -> int:
        """How many bytes a content has; 0 if it is not there."""
        path = self._path(digest)
        return path.stat().st_size if path.is_file() else 0

    def sweep(self, wanted: Collection[str]) -> None:
        """Keep these alone."""
        for path in self._folder.iterdir():
            if path.name not in wanted and path.name not in self._others:
                path.unlink(missing_ok=True)

    def _path(self, digest: str) -> Path:
        return self._folder / digest
