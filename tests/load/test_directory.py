"""Folders and files as people and Kubernetes leave them on a disk, with real files."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from xds_server.load import directory
from xds_server.load.directory import Loaded, load_paths
from xds_server.load.document import Limits
from xds_server.load.find import Stamp
from xds_server.load.keep import keep_last_good, looks_like_an_accident


def write(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Files below a folder."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def names(loaded: Loaded, root: Path) -> list[str]:
    return [name.removeprefix(f"{root}/") for name in loaded.files]


def codes(loaded: Loaded) -> list[str]:
    return [item.code for item in loaded.diagnostics]


def values(loaded: Loaded) -> list[object]:
    return [document.value for document in loaded.documents]


# -- finding ---------------------------------------------------------------------------------------------------


def test_folder_is_read_in_order_and_without_what_is_hidden(tmp_path: Path) -> None:
    files = ["b.yaml", "a.yml", "c.json", "sub/deep/d.yaml", "a/z.yaml", ".hidden.yaml", ".git/x.yaml", "README.md"]
    write(tmp_path, {name: json.dumps({"file": name}) for name in [*files, "e.yaml~", ".#b.yaml"]})
    loaded = load_paths([tmp_path])
    assert names(loaded, tmp_path) == ["a.yml", "a/z.yaml", "b.yaml", "c.json", "sub/deep/d.yaml"]
    assert loaded.diagnostics == ()
    assert loaded.roots == {str(tmp_path): 5}


def test_what_is_saved_while_it_is_read_is_read_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"m.yaml": "m: 1", "z/route.yaml": "to: old"})
    reading, asked = directory._read, []

    def save_meanwhile(name: str, most: int) -> tuple[bytes, Stamp]:
        asked.append(name)
        if len(asked) == 2:  # the folder was listed, and m.yaml read: now somebody saves in the right order
            write(tmp_path, {"a/new.yaml": "new: 1", "m.yaml": "m: 2", "z/route.yaml": "to: new"})
        return reading(name, most)

    monkeypatch.setattr(directory, "_read", save_meanwhile)
    assert values(load_paths([tmp_path])) == [{"new": 1}, {"m": 2}, {"to": "new"}]
    assert len(asked) == 2 + 3


def test_names_are_shown_as_they_were_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"p/a.yaml": "a: 1", "p/s/b.yaml": "b: 1"})
    monkeypatch.chdir(tmp_path)
    assert list(load_paths(["p"]).files) == ["p/a.yaml", "p/s/b.yaml"]
    assert list(load_paths(["p/", "p//s"]).files) == ["p/a.yaml", "p/s/b.yaml"]
    assert list(load_paths(["."]).files) == ["p/a.yaml", "p/s/b.yaml"]
    assert list(load_paths(["p/s/b.yaml", "p"]).files) == ["p/s/b.yaml", "p/a.yaml"]
    assert str(load_paths(["p/a.yaml"]).documents[0].positions.start) == "p/a.yaml:1:1"


def test_named_file_needs_no_suffix_and_may_be_hidden(tmp_path: Path) -> None:
    write(tmp_path, {".policy": "a: 1"})
    assert values(load_paths([tmp_path / ".policy"])) == [{"a": 1}]


def config_map(root: Path, version: int, files: Mapping[str, str]) -> None:
    """What the kubelet does to a mounted ConfigMap, step by step."""
    folder = write(root / f"..2024_{version}", files)
    (root / "..data_tmp").symlink_to(folder.name)
    (root / "..data_tmp").rename(root / "..data")
    for name in {Path(name).parts[0] for name in files}:
        if not (root / name).is_symlink():
            (root / name).symlink_to(f"..data/{name}")
    shutil.rmtree(root / f"..2024_{version - 1}", ignore_errors=True)


def test_config_map_is_read_once_through_its_visible_names(tmp_path: Path) -> None:
    config_map(tmp_path, 1, {"p.yaml": "v: 1", "sub/q.yaml": "w: 1"})
    loaded = load_paths([tmp_path])
    assert names(loaded, tmp_path) == ["p.yaml", "sub/q.yaml"]
    config_map(tmp_path, 2, {"p.yaml": "v: 2", "sub/q.yaml": "w: 1"})
    again = load_paths([tmp_path], memory=loaded.memory)
    assert values(again) == [{"v": 2}, {"w": 1}]
    assert again.documents[1] is loaded.documents[1]


def test_symlinks_make_no_loops_and_nothing_twice(tmp_path: Path) -> None:
    write(tmp_path, {"p/z.yaml": "a: 1", "p/d/b.yaml": "b: 1", "outside/c.yaml": "c: 1"})
    (tmp_path / "p/a.yaml").symlink_to("z.yaml")
    (tmp_path / "p/d/up").symlink_to("..")
    (tmp_path / "p/self").symlink_to("self")
    (tmp_path / "p/linked").symlink_to("../outside")
    (tmp_path / "p/again").symlink_to("../outside")
    loaded = load_paths([tmp_path / "p"])
    assert len(loaded.files) == 3
    assert sorted(map(str, values(loaded))) == ["{'a': 1}", "{'b': 1}", "{'c': 1}"]
    assert loaded.diagnostics == ()


def test_missing_and_empty_paths_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    loaded = load_paths([tmp_path / "empty", tmp_path / "none", tmp_path / "none" / "x.yaml"])
    assert codes(loaded) == ["L121", "L120", "L120"]
    assert list(loaded.roots.values()) == [0, None, None]


# -- reading ---------------------------------------------------------------------------------------------------


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "device.yaml").symlink_to("/dev/zero")
    (tmp_path / "gone.yaml").symlink_to("nowhere")
    (tmp_path / "good.yaml").write_text("a: 1")
    loaded = load_paths([tmp_path])
    assert codes(loaded) == ["L100", "L100", "L100"]
    assert sorted(Path(name).name for name in loaded.failed) == ["device.yaml", "gone.yaml", "pipe.yaml"]
    assert values(loaded) == [{"a": 1}]


def forbid(monkeypatch: pytest.MonkeyPatch, *paths: Path) -> None:
    """Make paths unreadable, for root as well."""

    def guarded(call: Callable[..., Any]) -> Callable[..., Any]:
        def inner(path: str, *arguments: object) -> Any:
            if Path(path) in paths:
                raise PermissionError(errno.EACCES, "Permission denied", path)
            return call(path, *arguments)

        return inner

    monkeypatch.setattr(os, "open", guarded(os.open))
    monkeypatch.setattr(os, "scandir", guarded(os.scandir))


def test_files_that_may_not_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"a.yaml": "a: 1", "c.yaml": "c: 1", "d/b.yaml": "b: 1"})
    forbid(monkeypatch, tmp_path / "a.yaml", tmp_path / "d")
    loaded = load_paths([tmp_path])
    assert [str(item) for item in loaded.diagnostics] == [
        f"{tmp_path}/{name}:1:1: error L100 cannot read this file: permission denied" for name in ("a.yaml", "d")
    ]
    assert values(loaded) == [{"c": 1}]


def test_names_that_cannot_be_printed_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {"a\nb.yaml": "a: 1", "good.yaml": "b: 1"})
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.yaml")).write_text("c: 1")
    loaded = load_paths([tmp_path])
    assert codes(loaded) == ["L100", "L100"]
    assert "\n" not in str(loaded.diagnostics[0])
    str(loaded.diagnostics).encode()


def test_limits_are_diagnostics(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"a.yaml": "a: 1\n" + "#" * 100, "b.yaml": "b: 1\n", "c.yaml": "c: 1\n---\nd: 1\n", "e.yaml": "e: 1\n"},
    )

    def problems(limits: Limits) -> list[str]:
        return [Path(str(item).split(":")[0]).name for item in load_paths([tmp_path], limits).diagnostics]

    assert problems(Limits()) == []
    assert problems(Limits(file_bytes=50)) == ["a.yaml"]
    assert problems(Limits(file_bytes=105, total_bytes=119)) == ["c.yaml"]
    assert problems(Limits(documents=2)) == ["c.yaml", "e.yaml"]
    assert problems(Limits(files=3)) == ["e.yaml"]


def test_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.yaml").open("wb") as file:
        file.truncate(1 << 40)
    assert codes(load_paths([tmp_path])) == ["L100"]


# -- loading again ---------------------------------------------------------------------------------------------


def test_only_changed_files_are_parsed_again(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": "a: 1", "b.yaml": "b: 1"})
    first = load_paths([tmp_path], memory=load_paths([tmp_path], clock=at(0.0)).memory, clock=at(4.0))
    status = (tmp_path / "a.yaml").stat()
    (tmp_path / "a.yaml").write_text("a: 2")
    os.utime(tmp_path / "a.yaml", ns=(status.st_atime_ns, status.st_mtime_ns))
    second = load_paths([tmp_path], memory=first.memory, clock=at(5.0))
    assert values(second) == [{"a": 2}, {"b": 1}]
    assert second.documents[1] is first.documents[1]


def at(now: float) -> Callable[[], float]:
    """A clock that stands."""
    return lambda: now


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files that were read."""
    names: list[str] = []
    read = directory._read

    def reading(name: str, most: int) -> tuple[bytes, Stamp]:
        names.append(Path(name).name)
        return read(name, most)

    monkeypatch.setattr(directory, "_read", reading)
    return names


def test_a_file_of_which_nothing_new_is_said_is_read_again_until_no_change_can_hide(
    tmp_path: Path, opened: list[str]
) -> None:
    write(tmp_path, {"a.yaml": "a: 1", "b.yaml": "b: 1"})
    loaded = load_paths([tmp_path], clock=at(0.0))
    for now, read in ((2.9, ["a.yaml", "b.yaml"]), (3.1, ["a.yaml", "b.yaml"]), (3.2, []), (9.0, [])):
        opened.clear()
        loaded = load_paths([tmp_path], memory=loaded.memory, clock=at(now))
        assert opened == read, now
        assert values(loaded) == [{"a": 1}, {"b": 1}]
    write(tmp_path, {"b.yaml": "b: 2"})
    for now in (9.1, 12.0, 12.2):
        opened.clear()
        loaded = load_paths([tmp_path], memory=loaded.memory, clock=at(now))
        assert opened == ["b.yaml"], now
    assert values(loaded) == [{"a": 1}, {"b": 2}]
    opened.clear()
    load_paths([tmp_path], memory=loaded.memory, clock=at(20.0), anew=True)
    assert opened == ["a.yaml", "b.yaml"]


def test_what_was_read_through_a_link_is_believed_of_what_it_led_to_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"old/a.yaml": "a: 1", "new/a.yaml": "a: 2"})
    folder, link = tmp_path / "policies", tmp_path / "policies" / "now"
    folder.mkdir()
    read = directory._read

    def lead(to: str) -> None:
        (folder / ".next").symlink_to(f"../{to}")
        (folder / ".next").replace(link)

    def switched(name: str, most: int) -> tuple[bytes, Stamp]:
        lead("new")
        found = read(name, most)
        lead("old")
        return found

    lead("old")
    loaded = load_paths([folder], clock=at(0.0))
    monkeypatch.setattr(directory, "_read", switched)
    loaded = load_paths([folder], memory=loaded.memory, clock=at(4.0))
    monkeypatch.setattr(directory, "_read", read)
    for now in (5.0, 9.0):
        loaded = load_paths([folder], memory=loaded.memory, clock=at(now))
        assert values(loaded) == [{"a": 1}]


def test_files_that_nobody_may_write_are_read_each_time(
    tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another file system with the same times may take the place of theirs."""
    write(tmp_path, {"a.yaml": "a: 1"})
    status = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "fstatvfs", lambda _: os.statvfs_result((*status[:8], os.ST_RDONLY, status[9])))
    loaded = load_paths([tmp_path], clock=at(0.0))
    for now in (4.0, 8.0):
        loaded = load_paths([tmp_path], memory=loaded.memory, clock=at(now))
    assert opened == ["a.yaml"] * 3


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_to_files_is_seen_as_by_one_who_knows_nothing(tmp_path: Path, seed: int) -> None:
    dice, now, loaded = random.Random(seed), 0.0, Loaded()
    said: list[object] = []
    names = [tmp_path / f"{letter}.yaml" for letter in "abcd"]
    for step in range(30):
        time.sleep(0.011)  # the system's times have steps of 10 ms at most: `_DOUBT` is not slept
        path, text = dice.choice(names), f"v: {dice.randrange(1000):04}"
        before = path.stat() if path.exists() else None
        match dice.choice(("written", "moved", "linked", "gone", "nothing")):
            case "written":
                path.write_text(text)  # where a symlink leads, too
            case "moved":
                (tmp_path / ".new").write_text(text)
                (tmp_path / ".new").replace(path)
            case "linked":
                (tmp_path / f".target-{step}").write_text(text)
                path.unlink(missing_ok=True)
                path.symlink_to(f".target-{step}")
            case "gone":
                path.unlink(missing_ok=True)
        if before is not None and path.exists() and dice.random() < 0.8:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        now += dice.choice((0.01, 1.0, 4.0))
        loaded = load_paths([tmp_path], memory=loaded.memory, clock=at(now))
        fresh = load_paths([tmp_path])
        for one in (loaded, fresh):
            found = [(name, file.content, file.failed) for name, file in one.files.items()]
            said.append((found, values(one), one.diagnostics))
        assert said[-1] == said[-2], step


def test_memory_with_other_limits_is_not_used(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": "a: [1, 2, 3]"})
    first = load_paths([tmp_path])
    assert codes(load_paths([tmp_path], Limits(nodes=3), first.memory)) == ["L111"]


def test_failed_file_keeps_its_last_good_documents(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": "a: 1\n---\nb: 1\n", "c.yaml": "c: 1\n"})
    good = load_paths([tmp_path])
    write(tmp_path, {"a.yaml": "a: 2\n---\nb: [\n", "c.yaml": "c: 2\n"})
    bad = keep_last_good(good, load_paths([tmp_path], memory=good.memory))
    assert values(bad) == [{"a": 1}, {"b": 1}, {"c": 2}]
    assert codes(bad) == ["L101"]
    assert [Path(name).name for name in bad.failed] == ["a.yaml"]
    write(tmp_path, {"a.yaml": "a: 3\n---\nb: no\n"})
    worse = keep_last_good(bad, load_paths([tmp_path], memory=bad.memory))
    assert values(worse) == [{"a": 1}, {"b": 1}, {"c": 2}]
    assert codes(worse) == ["L105"]
    write(tmp_path, {"a.yaml": "a: 4\n"})
    healed = keep_last_good(worse, load_paths([tmp_path], memory=worse.memory))
    assert (values(healed), codes(healed), healed.failed) == ([{"a": 4}, {"c": 2}], [], ())


def test_file_that_was_never_good_gives_what_it_has(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": "a: 1\n---\nb: no\n"})
    first = load_paths([tmp_path])
    assert [document.value for document in first.broken] == [{"b": "no"}]
    write(tmp_path, {"a.yaml": "a: 2\n---\nb: no\n"})
    second = keep_last_good(first, load_paths([tmp_path]))
    assert values(second) == [{"a": 2}]
    assert len(second.broken) == 1


def test_deleted_file_is_not_kept(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": "a: 1", "b.yaml": "b: 1", "c.yaml": "c: 1"})
    good = load_paths([tmp_path])
    (tmp_path / "a.yaml").unlink()
    after = keep_last_good(good, load_paths([tmp_path]))
    assert values(after) == [{"b": 1}, {"c": 1}]
    assert looks_like_an_accident(good, after) is None


@pytest.mark.parametrize("folder", ["d", "."])
def test_what_can_no_longer_be_read_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    write(tmp_path, {"a.yaml": "a: 1", "d/b.yaml": "b: 1"})
    good = load_paths([tmp_path])
    with monkeypatch.context() as patch:
        forbid(patch, tmp_path / "a.yaml", tmp_path / folder)
        bad = keep_last_good(good, load_paths([tmp_path], memory=good.memory))
    assert values(bad) == [{"a": 1}, {"b": 1}]
    assert looks_like_an_accident(good, bad) is None
    healed = keep_last_good(bad, load_paths([tmp_path], memory=bad.memory))
    assert (values(healed), healed.diagnostics, healed.failed) == ([{"a": 1}, {"b": 1}], (), ())


# -- accidents -------------------------------------------------------------------------------------------------


def accident(root: Path, before: Loaded) -> str | None:
    found = looks_like_an_accident(before, keep_last_good(before, load_paths([root])))
    return found.code if found else None


def test_gone_or_emptied_folder_is_an_accident(tmp_path: Path) -> None:
    root = write(tmp_path / "p", {"a.yaml": "a: 1"})
    before = load_paths([root])
    (root / "a.yaml").unlink()
    assert accident(root, before) == "L131"
    root.rmdir()
    assert accident(root, before) == "L130"
    assert accident(tmp_path / "never", load_paths([tmp_path / "never"])) is None


@pytest.mark.parametrize(("removed", "code"), [(1, None), (9, None), (10, "L132"), (25, "L132")])
def test_much_at_once_is_an_accident(tmp_path: Path, removed: int, code: str | None) -> None:
    root = write(tmp_path, {f"{i:02}.yaml": f"a: {i}" for i in range(30)})
    before = load_paths([root])
    for i in range(removed):
        (root / f"{i:02}.yaml").unlink()
    assert accident(root, before) == code


def test_emptied_file_is_an_accident_if_it_held_much(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": "---\n".join(f"a: {i}\n" for i in range(30)), "b.yaml": "b: 1"})
    before = load_paths([tmp_path])
    (tmp_path / "a.yaml").write_text("")
    assert accident(tmp_path, before) == "L132"


def test_renamed_folder_is_no_accident(tmp_path: Path) -> None:
    write(tmp_path, {f"d/{i}.yaml": f"a: {i}" for i in range(30)})
    before = load_paths([tmp_path])
    (tmp_path / "d").rename(tmp_path / "e")
    assert accident(tmp_path, before) is None
