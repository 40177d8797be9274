"""The modules of WebAssembly that lie beside policies: `load_code`.

In: what `load_paths` found, and what this returned the last time. Out: every `.wasm` file of these folders, and those beside
single files, by the name as it is shown; with its bytes, or why it cannot be used. A symlink may lead anywhere inside its folder,
as in a mounted ConfigMap, and nowhere else. Policies name these files only: what is not found here, no policy can make the
server read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

from xds_server.load.find import reason_of
from xds_server.load.regular import read_regular
from xds_server.types import CodeFile

MOST_FILES, MOST_BYTES, MOST_TOGETHER = 256, 4 << 20, 32 << 20
Place = tuple[str, str]
"""The name of a file, and the folder that it must lie in."""


def load_code(places: Iterable[Place], known: Mapping[str, CodeFile] | None = None) -> dict[str, CodeFile]:
    """All modules by name. One whose bytes are as they were is the same value again. Blocks while it reads."""
    known, left, found = known or {}, MOST_TOGETHER, dict[str, CodeFile]()
    for name, top in dict(places).items():
        if len(found) >= MOST_FILES:
            found[name] = CodeFile(problem=f"there are more than {MOST_FILES} modules")
            continue
        try:
            data = _read(top, name, min(MOST_BYTES, left))
        except OSError as error:
            one = CodeFile(problem=reason_of(error))
        else:
            earlier = known.get(name)
            one = earlier if earlier is not None and earlier.content == data != b"" else _taken(data, left)
            left -= len(one.content)
        found[name] = one
    return found


def _taken(data: bytes, left: int) -> CodeFile:
    if len(data) > MOST_BYTES:
        return CodeFile(problem=f"it is larger than {MOST_BYTES >> 20} MiB")
    if len(data) > left:
        return CodeFile(problem=f"all modules together are larger than {MOST_TOGETHER >> 20} MiB")
    return CodeFile(data, sha256(data).hexdigest())


def _read(top: str, name: str, most: int) -> bytes:
    """The bytes of a file, at most one more than `most`. It is reached from `top` step by step, past no symlink."""
    root, real = Path(os.path.realpath(top)), Path(os.path.realpath(name))
    if not real.is_relative_to(root):
        raise OSError(0, "a symlink leads out of its folder")
    *folders, last = real.relative_to(root).parts
    step = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for folder in folders:
            inner = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=step)
            os.close(step)
            step = inner
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        return read_regular(os.open(last, flags, dir_fd=step), most)
    finally:
        os.close(step)
