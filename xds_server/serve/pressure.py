"""How near the process is to the end of its memory: what is left is for the streams that there are.

In: a limit as operators write it, the limits of the control groups that the process is in, the limit of its addresses. Out: a
sentence, while one of them is nearly reached. What the allocator holds and nobody uses is given back before anybody is
refused, and as soon as much has become free: streams that come and go leave holes.
"""

from __future__ import annotations

import ctypes
import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_NEAR = 0.9
_AGAIN = 0.05
"""Seconds for which what was read counts."""
_TRIM = 5.0
"""Seconds between two times that memory is given back because it is needed."""
_MIB = 1024 * 1024
REST = 5.0
"""Seconds between two times that a process tidies up."""
_MUCH = 16 * _MIB
"""So much more in memory, or so much more of it free, is worth giving back: a large heap takes a tenth of a second."""


@dataclass(frozen=True, slots=True)
class Use:
    """Bytes of something, and how many there may be."""

    what: str
    used: int
    most: int

    @property
    def near(self) -> bool:
        """Whether hardly any is left."""
        return self.used > self.most * _NEAR

    def __str__(self) -> str:
        return f"{self.what}: {self.used // _MIB} of {self.most // _MIB} MiB"


class Pressure:
    """Looks at the memory of this process, or of several. `most`: bytes that there may be; 0: what the system says."""

    def __init__(self, clock: Callable[[], float], most: int = 0) -> None:
        self._clock, self._most = clock, most
        self._groups = () if most else groups_of(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
        self._looked, self._trimmed, self._problem = -_AGAIN, -_TRIM, ""
        self._settled, self._least = 0, unused()
        self.others: tuple[int, ...] = ()
        """The ids of further processes whose memory counts together with this one's."""

    def problem(self) -> str:
        """Why there should be no more streams; empty if there may."""
        now = self._clock()
        if now - self._looked >= _AGAIN:
            self._looked, self._problem = now, self._look()
            if self._problem and now - self._trimmed >= _TRIM:
                self._trimmed = now
                self.give_back()
                self._problem = self._look()
        return self._problem

    def tidy(self) -> None:
        """Give memory back if that is worth it. Any thread may call it.

        What the process has in memory tells of what came and went since the last look; what the allocator has free, of
        what came slowly and goes now.
        """
        free = unused()
        self._least = min(self._least, free)
        if free > self._least + _MUCH or resident() > self._settled + _MUCH:
            self.give_back()

    def give_back(self) -> None:
        """Have the allocator give pages back to the system that nobody uses; not every one can. Any thread may call it."""
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
        self._settled, self._least = resident(), unused()

    def uses(self) -> Iterator[Use]:
        """What is used of each limit that there is."""
        if self._most:
            yield Use("memory", self.resident(), self._most)
        for folder in self._groups:
            use = use_of_group(folder)
            if use is not None:
                yield use
        most = resource.getrlimit(resource.RLIMIT_AS)[0]
        if most != resource.RLIM_INFINITY:
            yield Use("addresses", _sizes("self")[0], most)

    def resident(self) -> int:
        """Bytes that are in memory."""
        return sum(_sizes(one)[1] for one in ("self", *map(str, self.others)))

    def _look(self) -> str:
        return next((str(use) for use in self.uses() if use.near), "")


def resident() -> int:
    """Bytes of this process that are in memory."""
    return _sizes("self")[1]


def unused() -> int:
    """Bytes that the allocator holds and nobody uses, in memory or not. 0 where it does not tell."""
    library = ctypes.CDLL(None)
    for name, shape in (("mallinfo2", _Sizes), ("mallinfo", _Numbers)):
        ask = getattr(library, name, None)
        if ask is not None:
            ask.restype = shape
            return int(ask().fordblks)
    return 0


_FIELDS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


class _Sizes(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_size_t) for name in _FIELDS)


class _Numbers(ctypes.Structure):  # of glibc before 2.33
    _fields_ = tuple((name, ctypes.c_uint) for name in _FIELDS)


def _sizes(process: str) -> tuple[int, int]:
    """Bytes of addresses, and of memory; of a process that is gone there are none."""
    try:
        size, here = Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[:2]
    except (OSError, ValueError):
        return 0, 0
    return int(size) * resource.getpagesize(), int(here) * resource.getpagesize()


def groups_of(listed: Path, root: Path) -> tuple[Path, ...]:
    """The folders of the control groups that may limit memory, from the process's own upwards."""
    try:
        lines = [line.split(":", 2) for line in listed.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return ()
    tops = {"": root, "memory": root / "memory"}
    found = []
    for _, kinds, path in lines:
        top = next((tops[kind] for kind in kinds.split(",") if kind in tops), None)
        if top is not None and ".." not in path:
            own = top / path.strip("/")
            found += [folder for folder in (own, *own.parents) if folder.is_relative_to(top)]
    return tuple(found)


def use_of_group(folder: Path) -> Use | None:
    """What a control group uses of its memory, without files that can be read again; None if it has no limit."""
    for most, used, stat in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, current = _number(folder / most), _number(folder / used)
        if limit and current is not None and limit < 1 << 60:
            return Use("memory of the control group", current - _inactive(folder / "memory.stat", stat), limit)
    return None


def _number(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def _inactive(path: Path, name: str) -> int:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.split()[0] == name), 0)
