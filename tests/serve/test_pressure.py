"""The limits of memory that the system sets, as it tells them."""

from __future__ import annotations

from pathlib import Path

import pytest

from xds_server.serve.pressure import Pressure, Use, groups_of, resident, use_of_group

_MIB = 1024 * 1024
NEW = {"memory.max": 300 * _MIB, "memory.current": 290 * _MIB, "memory.stat": f"anon 5\ninactive_file {40 * _MIB}"}
OLD = {
    "memory.limit_in_bytes": 300 * _MIB,
    "memory.usage_in_bytes": 290 * _MIB,
    "memory.stat": f"cache 5\ntotal_inactive_file {40 * _MIB}",
}


def written(folder: Path, files: dict[str, object]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name).write_text(f"{value}\n", encoding="ascii")
    return folder


@pytest.mark.parametrize("files", [NEW, OLD], ids=["unified", "with controllers"])
def test_files_that_can_be_read_again_are_no_use_of_memory(tmp_path: Path, files: dict[str, object]) -> None:
    assert use_of_group(written(tmp_path, files)) == Use("memory of the control group", 250 * _MIB, 300 * _MIB)


@pytest.mark.parametrize(
    "files", [{}, {**NEW, "memory.max": "max"}, {**OLD, "memory.limit_in_bytes": 2**63 - 4096}, {"memory.max": 1}]
)
def test_a_group_without_a_limit_is_none(tmp_path: Path, files: dict[str, object]) -> None:
    assert use_of_group(written(tmp_path, files)) is None


def test_a_group_is_limited_by_those_above_it(tmp_path: Path) -> None:
    listed, root = tmp_path / "listed", tmp_path / "groups"
    listed.write_text("9:cpu,memory:/pods/one\n3:cpuset:/elsewhere\n0::/pods/one\n", encoding="ascii")
    old, new = root / "memory" / "pods" / "one", root / "pods" / "one"
    found = groups_of(listed, root)
    assert found == (old, *list(old.parents)[:2], new, *list(new.parents)[:2])
    assert groups_of(tmp_path / "missing", root) == ()


@pytest.mark.parametrize(("used", "near"), [(269, False), (271, True), (400, True)])
def test_nine_tenths_are_near_the_end(used: int, near: bool) -> None:
    use = Use("memory", used * _MIB, 300 * _MIB)
    assert use.near is near
    assert str(use) == f"memory: {used} of 300 MiB"


def filling(number: int, count: int) -> list[bytes]:
    return [bytes((one % 256, number)) * 300 for one in range(count)]


def test_memory_that_nobody_uses_is_given_back() -> None:
    pressure = Pressure(lambda: 0.0)
    pressure.give_back()
    held = filling(0, 200_000)
    filled = resident()
    del held[:-1]  # the last one keeps the allocator from shrinking by itself
    pressure.tidy()
    assert resident() < filled - 60 * _MIB


def test_what_came_slowly_is_given_back_when_it_goes() -> None:
    pressure = Pressure(lambda: 0.0)
    pressure.give_back()
    held = []
    for number in range(8):
        held += filling(number, 25_000)
        pressure.tidy()
    filled = resident()
    del held[:-1]
    pressure.tidy()
    assert resident() < filled - 60 * _MIB


def test_nothing_is_given_back_where_nothing_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    pressure = Pressure(lambda: 0.0)
    held = filling(0, 50_000)
    pressure.give_back()
    monkeypatch.setattr(Pressure, "give_back", lambda _: held.clear())
    for _ in range(3):
        pressure.tidy()
    assert held
