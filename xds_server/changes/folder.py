"""Files of a live folder, replaced all together or not at all.

In: new contents by name, None for a file that goes, hashes of what is expected to be there, and the server's folders. Out:
nothing, or a reason why nothing was changed. Everything is written beside the files first, under hidden names that no watcher
looks at; then it is only renamed. If a rename fails what was renamed before is put back; if not even that, an error says so.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Mapping
from itertools import takewhile
from pathlib import Path

from xds_server.changes.history import Digests
from xds_server.saved.contents import digest_of

Contents = Mapping[str, bytes | None]


class NotReplacedError(Exception):
    """Nothing was changed, and why."""


class HalfReplacedError(Exception):
    """Some files were changed and could not be put back, and why."""


def is_in_folders(path: Path, folders: Collection[Path]) -> bool:
    """Whether a file is in one of these folders, and that is there."""
    return any(one in folders and one.exists() for one in (path, *path.parents))


def digests_now(names: Iterable[str]) -> dict[str, str | None]:
    """Hashes of files as they are on disk. OSError for one that cannot be read."""
    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = digest_of(Path(name).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            found[name] = None
    return found


def replace_files(contents: Contents, expected: Digests, folders: Iterable[Path]) -> None:
    """Make these the contents of these files of these folders, which stay even if nothing is left in them.

    NotReplacedError if that cannot be done, or somebody else was faster. HalfReplacedError if not even the way back was free.
    """
    tops = frozenset(folders)
    made: list[Path] = []
    staged: dict[str, Path] = {}
    try:
        before = _as_expected(contents, expected, tops)
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
            if data is None and any(one in tops for one in Path(name).parent.parents):
                _remove_if_empty(Path(name).parent, tops)


def _as_expected(contents: Contents, expected: Digests, tops: Collection[Path]) -> dict[str, bytes | None]:
    """What is on disk now."""
    found: dict[str, bytes | None] = {}
    for name in contents:
        path = Path(name)
        if path.is_symlink() or any(one.is_symlink() for one in _inner_folders(path, tops)):
            raise NotReplacedError(f"{name} is reached by a symlink: somebody else looks after this folder")
        try:
            found[name] = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            found[name] = None
        data = found[name]
        if (None if data is None else digest_of(data)) != expected.get(name):
            raise NotReplacedError(f"{name} was edited meanwhile; try again")
    return found


def _inner_folders(path: Path, tops: Collection[Path]) -> list[Path]:
    """The folders between a file and the one that is the server's. NotReplacedError if it is in none of them."""
    if path in tops:
        return []
    if not any(one in tops for one in path.parents):
        raise NotReplacedError(f"{path} is in no folder of this server")
    return list(takewhile(lambda one: one not in tops, path.parents))


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
    except OSError as error:
        left = [name for name in done if not _put_back(Path(name), before[name])]
        if left:
            raise HalfReplacedError(f"{error}; and these cannot be put back: {', '.join(left)}") from None
        raise


def _put_back(path: Path, data: bytes | None) -> bool:
    """Make a file what it was before; False if that cannot be."""
    try:
        if data is None:
            path.unlink(missing_ok=True)
        else:
            _stage(path, data).replace(path)
    except OSError:
        return False
    return True


def _remove_if_empty(folder: Path, keep: Collection[Path] = ()) -> None:
    """A folder that a replacement left empty goes, but none that is the server's."""
    if folder in keep:
        return
    try:
        folder.rmdir()
    except OSError:
        return  # there is something in it, or it is gone
