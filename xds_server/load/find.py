"""Which files a path means: a file means itself, a folder all its `.yaml`, `.yml` and `.json` files, and modules beside them.

In: paths as the user gives them. Out: their files in a stable order, under the names that the user would write.
Hidden files and folders are skipped, so a Kubernetes ConfigMap (`p.yaml -> ..data/p.yaml`, `..data -> ..2024_1`) is
read once, through its visible names. No file is found twice and no loop of symlinks is followed. What cannot be
looked at is named, never dropped silently.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath

SUFFIXES = (".yaml", ".yml", ".json")
CODE = ".wasm"
Stamp = tuple[int, ...]
"""What the system says of a file that is different when it is another one, or was written."""


@dataclass(frozen=True, slots=True)
class Found:
    """The files of one path that the user gave. `names` are sorted; `problems` are names and the reason.

    `code` are the modules of WebAssembly below `top`: the folder that was given, or the one of the file.
    """

    names: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    top: str = ""
    missing: bool = False
    problems: tuple[tuple[str, str], ...] = ()


def find_files(paths: Iterable[str | os.PathLike[str]], most: int = 100_000) -> dict[str, Found]:
    """The files of every path, by the path as it is shown. A file that two paths reach belongs to the first.

    `most` limits the files of all paths together.
    """
    seen: set[str] = set()
    found: dict[str, Found] = {}
    for path in paths:
        shown = PurePath(path).as_posix()
        if shown not in found:
            search = _Search(seen, most - sum(len(one.names) for one in found.values()))
            found[shown] = search.root(shown)
    return found


def wanted(name: str) -> bool:
    """True for the name of a file that belongs to a folder of policies."""
    return name.endswith(SUFFIXES) and not name.startswith(".")


class _Search:
    """One walk. `seen` holds the real paths of all files and folders that were met."""

    def __init__(self, seen: set[str], most: int) -> None:
        self._seen = seen
        self._most = most
        self._names: list[str] = []
        self._code: list[str] = []
        self._problems: list[tuple[str, str]] = []

    def root(self, shown: str) -> Found:
        """The files of a path that the user gave; hidden or not, it is read."""
        try:
            mode = Path(shown).stat().st_mode
            real = os.path.realpath(shown, strict=True)
        except (FileNotFoundError, NotADirectoryError):
            return Found(missing=True)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            return Found(problems=((shown, reason_of(error)),))
        if stat.S_ISDIR(mode):
            self._folder("" if shown == "." else shown.rstrip("/") + "/", real)
        elif real not in self._seen:
            self._seen.add(real)
            self._names.append(shown)
        if stat.S_ISDIR(mode):
            code, top = sorted(self._code), shown
        else:
            top = PurePath(shown).parent.as_posix()
            code = _code_in(top)
        return Found(tuple(sorted(self._names)), tuple(code), top, problems=tuple(sorted(self._problems)))

    def _folder(self, prefix: str, real: str) -> None:
        """All files below a folder, without recursion."""
        waiting = [(prefix, real)]
        while waiting:
            prefix, real = waiting.pop()
            if real in self._seen:
                continue
            self._seen.add(real)
            try:
                with os.scandir(real) as entries:
                    ordered = sorted(entries, key=_plain_first)
            except FileNotFoundError:
                continue  # it went while we looked
            except OSError as error:
                self._problems.append((prefix.rstrip("/") or ".", reason_of(error)))
                continue
            waiting += [inner for entry in ordered if (inner := self._entry(entry, prefix)) is not None]

    def _entry(self, entry: os.DirEntry[str], prefix: str) -> tuple[str, str] | None:
        """Take a file; give back a folder to walk."""
        if entry.name.startswith("."):
            return None
        shown = prefix + entry.name
        if not entry.name.isprintable():  # it could not be printed, or would forge lines of a log
            self._problems.append((prefix + ascii(entry.name)[1:-1], "its name has characters that cannot be printed"))
            return None
        real = entry.path
        try:
            if entry.is_symlink():
                real = os.path.realpath(real, strict=True)
            if entry.is_dir():
                return shown + "/", real
        except OSError as error:
            if entry.name.endswith(SUFFIXES):  # a symlink to nowhere or into a loop
                self._problems.append((shown, reason_of(error)))
            return None
        if entry.name.endswith(CODE):
            self._code.append(shown)
        if not entry.name.endswith(SUFFIXES) or real in self._seen:
            return None
        if len(self._names) >= self._most:
            if not any(reason == _TOO_MANY for _, reason in self._problems):
                self._problems.append((shown, _TOO_MANY))
            return None
        self._seen.add(real)
        self._names.append(shown)
        return None


_TOO_MANY = "there are too many files; this and further ones are not read"


def _code_in(folder: str) -> list[str]:
    """The modules right in a folder."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(one.name for one in entries if one.name.endswith(CODE) and not one.name.startswith("."))
    except OSError:
        return []
    return [one if folder == "." else f"{folder.rstrip('/')}/{one}" for one in names if one.isprintable()]


def _plain_first(entry: os.DirEntry[str]) -> tuple[bool, str]:
    """Files before symlinks, so that a file keeps its own name when a symlink leads to it as well."""
    return entry.is_symlink(), entry.name


def stamp(file: str | int) -> Stamp:
    """What the system says of a file, by its name or its descriptor. Empty if it is not there."""
    try:
        status = os.stat(file)  # noqa: PTH116 - of every file, twice for each edit: a Path costs more than the call
    except OSError:
        return ()
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def reason_of(error: OSError | ValueError) -> str:
    """What the system says, in its words and without the path."""
    text = error.strerror if isinstance(error, OSError) else None
    return (text or str(error)).lower()
