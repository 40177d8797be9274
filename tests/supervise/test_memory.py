"""The heap of a local Envoy: what there is, as the kernel says it in files."""

from __future__ import annotations

from pathlib import Path

import pytest

from xds_server.supervise.memory import MOST, heap_size

GIB = 1024**3


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, MOST),
        ({"proc/meminfo": "MemTotal:       24000000 kB\nMemFree: 1 kB\n"}, MOST),
        ({"proc/meminfo": "MemTotal: 1048576 kB\n"}, int(0.8 * GIB)),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n"}, MOST),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": f"{GIB}\n"}, int(0.8 * GIB)),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": f"{GIB}\n"}, int(0.8 * GIB)),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": f"{GIB}\n"}, int(0.8 * GIB)),
        ({"sys/fs/cgroup/memory/memory.limit_in_bytes": "536870912\n"}, int(0.4 * GIB)),
        ({"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, MOST),
        ({"proc/meminfo": "MemTotal: 1 kB\n"}, 64 * 1024**2),
    ],
)
def test_a_heap_fits_into_what_there_is(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert heap_size(tmp_path) == expected
