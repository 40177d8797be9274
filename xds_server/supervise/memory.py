"""How much memory a local Envoy may take before it sheds load.

In: what the kernel says of this process's limits, below `root`. Out: bytes. An Envoy that counts on more than there is would be
killed before it sheds anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

MOST = 2 * 1024**3
"""What an Envoy counts on where there is enough."""
_LEAST = 64 * 1024**2
_SHARE = 0.8


def heap_size(root: Path = Path("/")) -> int:
    """At most 80 % of what this process and its children may take together, and at most 2 GiB."""
    share = [int(limit * _SHARE) for limit in _limits(root)]
    return max(_LEAST, min(MOST, *share)) if share else MOST


def _limits(root: Path) -> Iterator[int]:
    """Of the machine, and of each control group that this process is in; texts such as `max` are no limit."""
    for line in _text(root / "proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if name == "MemTotal" and words and words[0].isdecimal():
            yield int(words[0]) * 1024
    files = [root / "sys/fs/cgroup/memory/memory.limit_in_bytes"]
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers and ".." not in path:
            own = PurePosixPath("/") / path
            files += [root / "sys/fs/cgroup" / str(one).lstrip("/") / "memory.max" for one in (own, *own.parents)]
    for file in files:
        text = _text(file).strip()
        if text.isdecimal() and int(text) > 0:
            yield int(text)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
