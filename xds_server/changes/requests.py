"""What is asked of a server about changes: files of a folder, and what is to be done with them.

In: JSON. Out: checked requests. Names of files that could lead out of the folder, or that no server would read, are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError

from xds_server.changes.candidate import Files
from xds_server.load.find import wanted
from xds_server.spec import Bool, Duration, Spec

S = TypeVar("S", bound=Spec)


class RequestError(ValueError):
    """The request cannot be understood, or carried out here."""


class FilesRequest(Spec):
    """Files with their texts, by their name below `root`; `into` is a folder of the server, the only one if it has one."""

    root: str = ""
    files: Annotated[dict[str, str], Field(max_length=100_000)] | None = None
    into: str | None = None


class DiffRequest(FilesRequest):
    """What would differ, with `xds` also for Envoys; `shadow`: what shadows would change."""

    xds: Bool = False
    shadow: Bool = False


class ApplyRequest(FilesRequest):
    """Make these the files of a folder. `expect`: only if this state is live; with `wait` only if all Envoys take it in time."""

    expect: str | None = None
    xds: Bool = False
    dry_run: Bool = False
    wait: Bool = True
    timeout: Duration = "30s"


class UndoRequest(Spec):
    """Bring back the files of `steps` changes ago, or of a state by the beginning of its name."""

    steps: Annotated[int, Field(strict=True, ge=1, le=1000)] = 1
    state: Annotated[str, Field(pattern=r"^[0-9a-f]{4,64}$")] | None = None
    dry_run: Bool = False
    wait: Bool = True
    timeout: Duration = "30s"


def read_request(body: Any, kind: type[S]) -> S:
    """A checked request; RequestError says what is wrong with it."""
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        raise RequestError(f"{'.'.join(map(str, first['loc'])) or 'the request'}: {first['msg']}") from None


def files_of(request: FilesRequest, folders: Sequence[Path]) -> Files:
    """The files of a request, and the folder of this server that they are for."""
    texts = {}
    for name, text in (request.files or {}).items():
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or "/".join(parts) != name or any(one.startswith(".") for one in parts):
            raise RequestError(f"'{name}' is no name of a file below a folder")
        if not wanted(parts[-1]) or not name.isprintable():
            raise RequestError(f"'{name}' is no .yaml, .yml or .json file")
        texts[name] = text.encode()
    return Files(request.root or ".", _folder(request.into, folders), texts)


def _folder(asked: str | None, folders: Sequence[Path]) -> str:
    known = [one.as_posix() for one in folders if one.is_dir()]
    if asked is not None:
        same = [one for one in known if Path(one).resolve() == Path(asked).resolve()]
        if not same:
            raise RequestError(f"'{asked}' is no folder of this server; it has {', '.join(known) or 'none'}")
        return same[0]
    if len(known) != 1:
        raise RequestError(f"say with --into which folder is meant; the server has {', '.join(known) or 'none'}")
    return known[0]
