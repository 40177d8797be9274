"""Modules that lie beside policies, on a real disk: what is read, and that nothing outside of the folder is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xds_server.load.code import MOST_BYTES, MOST_FILES, load_code
from xds_server.load.directory import load_paths
from xds_server.types import CodeFile


def read(*paths: Path, known: dict[str, CodeFile] | None = None) -> dict[str, CodeFile]:
    """What is found, by the name of the file."""
    return load_code(load_paths(paths).code, known)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "policies"
    (made / "code").mkdir(parents=True)
    (made / "a.yaml").write_text("a: 1")
    return made


def test_modules_are_read_below_a_folder_and_right_beside_a_file(folder: Path) -> None:
    for name in ("m.wasm", "code/n.wasm", ".hidden.wasm", "code/n.txt"):
        (folder / name).write_bytes(name.encode())
    found = read(folder)
    assert {name: one.content for name, one in found.items()} == {
        f"{folder}/m.wasm": b"m.wasm",
        f"{folder}/code/n.wasm": b"code/n.wasm",
    }
    assert list(read(folder / "a.yaml")) == [f"{folder}/m.wasm"]
    assert load_paths([folder]).documents[0].value == {"a": 1}


def test_what_did_not_change_is_the_same_value_again(folder: Path) -> None:
    for name in ("m.wasm", "n.wasm"):
        (folder / name).write_bytes(b"1")
    first = read(folder)
    (folder / "n.wasm").write_bytes(b"2")
    second = read(folder, known=first)
    assert second[f"{folder}/m.wasm"] is first[f"{folder}/m.wasm"]
    assert second[f"{folder}/n.wasm"].sha256 != first[f"{folder}/n.wasm"].sha256


def test_a_symlink_leads_inside_its_folder_and_nowhere_else(folder: Path) -> None:
    outside = folder.parent / "secret"
    outside.write_bytes(b"secret")
    (folder / "..data").mkdir()
    (folder / "..data" / "m.wasm").write_bytes(b"mounted")
    (folder / "m.wasm").symlink_to("..data/m.wasm")
    (folder / "out.wasm").symlink_to(outside)
    (folder / "gone.wasm").symlink_to("nowhere")
    found = {Path(name).name: one for name, one in read(folder).items()}
    assert found.pop("m.wasm").content == b"mounted"
    assert found.pop("out.wasm").problem == "a symlink leads out of its folder"
    assert [one.content for one in found.values()] == [b""] * len(found)


def test_pipes_and_large_files_are_refused_without_waiting(folder: Path) -> None:
    os.mkfifo(folder / "pipe.wasm")
    with (folder / "large.wasm").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    (folder / "full.wasm").write_bytes(b"x")
    found = {Path(name).name: one.problem for name, one in read(folder).items()}
    assert found == {
        "pipe.wasm": "it is not a regular file",
        "large.wasm": "it is larger than 4 MiB",
        "full.wasm": "",
    }


def test_there_are_bounds_for_all_together(folder: Path) -> None:
    for number in range(9):
        with (folder / f"{number}.wasm").open("wb") as file:
            file.truncate(MOST_BYTES)
    assert [one.problem for one in read(folder).values()] == [""] * 8 + ["all modules together are larger than 32 MiB"]
    for number in range(MOST_FILES):
        (folder / "code" / f"{number:03}.wasm").write_bytes(b"")
    assert [one.problem for one in read(folder).values()].count(f"there are more than {MOST_FILES} modules") == 9
