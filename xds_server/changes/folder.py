"""Files of a live folder, replaced all together or not at all.

In: new contents by name, None for a file that goes, and hashes of what is expected to be there. Out: nothing, or a reason why
nothing was changed. Everything is written beside the files first, under hidden names that no watcher looks at; then it is only
renamed. If a rename fails what was renamed before is put back.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from xds_server.changes.history import Digests, digest_of

Contents = Mapping[str, bytes | None]


class NotReplacedError(Exception):
    """Nothing was changed, and why."""


def digests_now(names: Iterable[str]) -> dict[str, str | None]:
    """Hashes of files as they are on disk. OSError for one that cannot be read."""
    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = digest_of(Path(name).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            found[name] = None
    return found


def replace_files(contents: Contents, expected: Digests) -> None:
    """Make these the contents of these files. NotReplacedError if that cannot be done, or somebody else was faster."""
    made: list[Path] = []
    staged: dict[str, Path] = {}
    try:
        before = _as_expected(contents, expected)
        for name, data in contents.items():
            if data is not None and data != before[name]:
                made += _folders_for(Path(name))
                staged[name] = _stage(Path(name), data)
        if digests_now(contents) != {name: None if data is None else digest_of(data) for name, data in before.items()}:
            raise NotReplacedError("files were edited meanwhile; try again")
        _rename(contents, staged, before)
    except OSError as error:
        raise NotReplacedError(f"{error.filename or 'a file'}: {error.strerror or error}") from None
    finally:
        for path in staged.values():
            path.unlink(missing_ok=True)
        for path in reversed(made):
            _remove_if_empty(path)
        for name, data in contents.items():
            if data is None:
                _remove_if_empty(Path(name).parent, keep=contents)


def _as_expected(contents: Contents, expected: Digests) -> dict[str, bytes | None]:
    """What is on disk now."""
    found: dict[str, bytes | None] = {}
    for name in contents:
        path = Path(name)
        if path.is_symlink() or any(one.is_symlink() for one in _inner_folders(path, contents)):
            raise NotReplacedError(f"{name} is reached by a symlink: somebody else looks after this folder")
        try:
            found[name] = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            found[name] = None
        data = found[name]
        if (None if data is None else digest_of(data)) != expected.get(name):
            raise NotReplacedError(f"{name} was edited meanwhile; try again")
    return found


def _inner_folders(path: Path, contents: Contents) -> list[Path]:
    """The folders between a file and the one that all files are in."""
    top = Path(os.path.commonpath([Path(name).parent for name in contents]))
    return [one for one in path.parents if one != top and one.is_relative_to(top)]


def _folders_for(path: Path) -> list[Path]:
    """Make the folders that a file needs; those that were made, the outermost first."""
    missing = [one for one in path.parents if not one.exists()]
    for one in reversed(missing):
        one.mkdir()
    return missing[::-1]


def _stage(path: Path, data: bytes) -> Path:
    """Write a new content beside the file, with its rights, or those of the folder without the right to run it."""
    fresh = path.with_name(f".{path.name}.cellway")
    fresh.unlink(missing_ok=True)
    mode = path.stat().st_mode if path.exists() else path.parent.stat().st_mode & 0o666
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), stat.S_IMODE(mode))
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
    return fresh


def _rename(contents: Contents, staged: Mapping[str, Path], before: Contents) -> None:
    done: list[str] = []
    try:
        for name, fresh in staged.items():
            fresh.replace(name)
            done.append(name)
        for name, data in contents.items():
            if data is None and before[name] is not None:
                Path(name).unlink()
                done.append(name)
    except OSError:
        for name in done:
            data = before[name]
            if data is None:
                Path(name).unlink(missing_ok=True)
            else:
                _stage(Path(name), data).replace(name)
        raise


def _remove_if_empty(folder: Path, keep: Contents | None = None) -> None:
    """A folder that a replacement left empty goes, but not the one that all files are in."""
    if keep is not None and folder == Path(os.path.commonpath([Path(name).parent for name in keep])):
        return
    try:
        folder.rmdir()
    except OSError:
        return  # there is something in it, or it is gone
