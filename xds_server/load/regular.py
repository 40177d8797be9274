"""The bytes of a regular file: what both documents and modules are read with.

In: an open descriptor, and how much is wanted. Out: bytes. A pipe or a device is refused without waiting.
"""

from __future__ import annotations

import os
import stat


def read_regular(descriptor: int, most: int) -> bytes:
    """All of a file, at most one byte more than `most`. Takes the descriptor, which must be non-blocking, and closes it."""
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "it is not a regular file")
        if status.st_size > most:
            return bytes(most + 1)
        parts, size = [], status.st_size + 1
        while most >= 0 and (part := os.read(descriptor, min(most + 1, size))):
            parts.append(part)
            most -= len(part)
            size = 1 << 20
        return b"".join(parts)
    finally:
        os.close(descriptor)
