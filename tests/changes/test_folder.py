"""Files of a live folder are replaced all together, or not at all; what was live is kept, and the way back."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from xds_server.changes import history as bounds
from xds_server.changes.folder import HalfReplacedError, NotReplacedError, digests_now, replace_files
from xds_server.changes.history import History, Pending
from xds_server.saved.contents import digest_of


@pytest.fixture
def live(tmp_path: Path) -> Path:
    folder = tmp_path / "live"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.yaml", "b.yaml", "sub/c.yaml"):
        (folder / name).write_text(f"old {name}", encoding="utf-8")
    return folder


def held(folder: Path) -> dict[str, str]:
    """Everything in a folder, hidden or not."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in files}


def wanted(folder: Path, **texts: str | None) -> dict[str, bytes | None]:
    named = {name.replace("_", "/"): text for name, text in texts.items()}
    return {f"{folder}/{name}.yaml": None if text is None else text.encode() for name, text in named.items()}


def test_files_come_change_and_go_together(live: Path) -> None:
    (live / "a.yaml").chmod(0o640)
    contents = wanted(live, a="new a", b=None, sub_c=None, more_d="new d")
    replace_files(contents, digests_now(contents), [live])
    assert held(live) == {"a.yaml": "new a", "more/d.yaml": "new d"}
    assert (live / "a.yaml").stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in live.iterdir()) == ["a.yaml", "more"]


def test_an_edit_meanwhile_wins(live: Path) -> None:
    contents = wanted(live, a="new a", b="new b")
    expected = digests_now(contents)
    (live / "b.yaml").write_text("by hand", encoding="utf-8")
    before = held(live)
    with pytest.raises(NotReplacedError, match=r"b\.yaml was edited meanwhile"):
        replace_files(contents, expected, [live])
    assert held(live) == before


@pytest.mark.parametrize("call", ["fsync", "fchmod"])
def test_a_full_disk_changes_nothing(live: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """The second of two files cannot be written."""
    calls = []

    def full(_descriptor: int, *_: int) -> None:
        calls.append(1)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device", f"{live}/b.yaml")

    before, contents = held(live), wanted(live, a="new a", b="new b", more_d="new d")
    monkeypatch.setattr(os, call, full)
    with pytest.raises(NotReplacedError, match="No space left"):
        replace_files(contents, digests_now(contents), [live])
    assert (held(live), (live / "more").exists()) == (before, False)


def test_what_was_renamed_before_a_failure_is_put_back(live: Path) -> None:
    contents = wanted(live, a="new a", b="new b")
    contents[f"{live}/sub/c.yaml"] = None
    before, expected = held(live), digests_now(contents)
    (live / "sub").chmod(0o500)
    if os.access(live / "sub", os.W_OK):  # root may all the same: then a folder stands where a file shall go
        (live / "sub").chmod(0o700)
        (live / "sub" / "c.yaml").unlink()
        (live / "sub" / "c.yaml").mkdir()
        before.pop("sub/c.yaml")
    try:
        with pytest.raises(NotReplacedError):
            replace_files(contents, expected, [live])
    finally:
        (live / "sub").chmod(0o700)
    assert held(live) == before


def test_folders_of_the_server_stay_and_may_be_named_in_any_way(live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is relative, one absolute; nothing is left in either."""
    monkeypatch.chdir(live.parent)
    other = live.parent / "other" / "only.yaml"
    other.parent.mkdir()
    other.write_text("old", encoding="utf-8")
    folders = [Path("live"), other.parent]
    contents: dict[str, bytes | None] = {f"live/{name}.yaml": None for name in ("a", "b", "sub/c")}
    replace_files(contents | {str(other): None}, digests_now([*contents, str(other)]), folders)
    assert (list(live.iterdir()), list(other.parent.iterdir())) == ([], [])
    with pytest.raises(NotReplacedError, match="in no folder"):
        replace_files({"elsewhere/a.yaml": b"new"}, {"elsewhere/a.yaml": None}, folders)
    assert not Path("elsewhere").exists()


def test_what_cannot_be_put_back_is_not_told_as_unchanged(live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents, real = wanted(live, a="new a", b="new b"), Path.replace
    monkeypatch.setattr(
        Path, "replace", lambda path, to: real(path, to) if (live / "a.yaml").read_bytes() == b"old a.yaml" else full()
    )

    def full() -> Path:
        raise OSError(errno.EROFS, "Read-only file system")

    with pytest.raises(HalfReplacedError, match=r"cannot be put back: .*a\.yaml$"):
        replace_files(contents, digests_now(contents), [live])


def test_a_folder_that_somebody_else_looks_after_is_left_alone(live: Path, tmp_path: Path) -> None:
    (live / "a.yaml").rename(tmp_path / "real.yaml")
    (live / "a.yaml").symlink_to(tmp_path / "real.yaml")
    contents = wanted(live, a="new a", b="new b")
    with pytest.raises(NotReplacedError, match="symlink"):
        replace_files(contents, digests_now(contents), [live])
    assert (tmp_path / "real.yaml").read_text(encoding="utf-8") == "old a.yaml"


def note(history: History, text: str, by: str = "edit") -> None:
    data = text.encode()
    history.note({"p/a.yaml": digest_of(data)}, {digest_of(data): data}, by, "2026-01-01T00:00:00Z")


def test_history_is_found_again_and_says_who(tmp_path: Path) -> None:
    history = History(tmp_path)
    for text, by in (("one", "start"), ("one", "edit"), ("two", "apply"), ("one", "undo")):
        note(history, text, by)
    again = History(tmp_path)
    assert [one.by for one in again.states] == ["start", "apply", "undo"]
    assert again.states[0].name == again.states[2].name != again.states[1].name
    assert again.content(again.states[1].files["p/a.yaml"]) == b"two"
    assert [one.name for one in again.find(again.states[1].name[:6])] == [again.states[1].name]
    assert {path.stat().st_mode & 0o077 for path in tmp_path.rglob("*") if path.is_file()} == {0}


def test_what_was_refused_is_no_place_to_go_back_to(tmp_path: Path) -> None:
    history = History(tmp_path)
    for text in ("one", "two"):
        note(history, text)
    history.refuse("an Envoy said no")
    note(history, "one")
    assert [one.refused for one in history.states] == ["", "an Envoy said no"]
    assert len(history.good) == 1


def test_history_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_STATES", 5)
    history = History(tmp_path)
    for number in range(9):
        note(history, f"state {number}")
    assert len(history.states) == len(list((tmp_path / "contents").iterdir())) == 5
    monkeypatch.setattr(bounds, "MOST_BYTES", 10)
    note(history, "x" * 100)
    assert len(history.states) == 2, "there is always a way back"


def test_what_a_replacement_needs_outlives_the_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_STATES", 1)
    history = History(tmp_path)
    history.begin(Pending({"p/a.yaml": digest_of(b"before")}, {"p/a.yaml": digest_of(b"after")}))
    history.keep([b"before", b"after"])
    for number in range(4):
        note(history, f"state {number}")
    pending = History(tmp_path).pending()
    assert pending is not None
    assert pending.before["p/a.yaml"] is not None
    assert history.content(pending.before["p/a.yaml"]) == b"before"


def test_a_content_that_was_changed_is_none(tmp_path: Path) -> None:
    history = History(tmp_path)
    note(history, "one")
    (path,) = (tmp_path / "contents").iterdir()
    path.write_text("other", encoding="utf-8")
    with pytest.raises(OSError, match="not what was written"):
        history.content(path.name)
