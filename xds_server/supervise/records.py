"""The state folder: what a server must find again after it was killed.

In and out: one folder for each gateway with its bootstrap, its log and `envoy.json`, the record of the running
process; `addresses.json` with where the server listens; `xds-key`; a lock, so that two servers never share a folder. What it
makes is 0700 and 0600. Which process a record means is checked by more than its id.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import quote

from xds_server.files import write_file

RECORD = "envoy.json"
FORMER = "former-{}.json"
ADDRESSES = "addresses.json"
_KEY = "xds-key"
_KEY_BYTES = 32
_LONGEST_FOLDER = 200
"""Names of gateways may be longer than file systems let a folder's be (255 bytes)."""


class StateInUseError(Exception):
    """Another server runs with this state folder."""


@dataclass(frozen=True, slots=True)
class Record:
    """One Envoy process. `start_time` tells it from a later process with the same id; `digest` is of all it was told.

    `run`, `family` and `epoch` are its seat; `version` says which Envoys can take over from it.
    """

    gateway: str
    node_id: str
    pid: int
    start_time: int
    digest: str
    run: str = ""
    family: int = -1
    epoch: int = 0
    version: str = ""


def default_state_folder(folders: tuple[Path, ...], environment: Mapping[str, str], home: Path) -> Path:
    """Where the state of a server on these policy folders belongs: $XDG_STATE_HOME/cellway/NAME-HASH."""
    base = Path(environment["XDG_STATE_HOME"]) if environment.get("XDG_STATE_HOME") else home / ".local" / "state"
    names = sorted(str(folder.absolute()) for folder in folders)
    return base / "cellway" / f"{Path(names[0]).name}-{blake2b(chr(0).join(names).encode(), digest_size=4).hexdigest()}"


class StateFolder:
    """A state folder that this process holds until it ends."""

    def __init__(self, path: Path) -> None:
        """Make and lock the folder; StateInUseError if another process holds it, OSError if it cannot be made."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        for folder in (path, path / "gateways"):
            folder.mkdir(mode=0o700, exist_ok=True)
        self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise StateInUseError(f"another cellway runs with the state folder {path}") from None

    def close(self) -> None:
        """Let another server have the folder."""
        os.close(self._lock)

    def xds_key(self) -> bytes:
        """What the tokens of Envoys are made with: the same as long as there is this folder, since Envoys outlive servers."""
        known = read_xds_key(self.path)
        if known is None:
            known = secrets.token_bytes(_KEY_BYTES)
            write_file(self.path / _KEY, known.hex() + "\n")
        return known

    def gateway(self, name: str) -> Path:
        """The folder of one gateway, made if it is missing."""
        whole = quote(name, safe="")
        short = whole if len(whole) <= _LONGEST_FOLDER else f"{whole[:_LONGEST_FOLDER]}-{digest_of(name)}"
        folder = self.path / "gateways" / short
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def record(self, record: Record) -> None:
        """Remember a process."""
        write_file(self.gateway(record.gateway) / RECORD, json.dumps(asdict(record)), lasting=False)

    def forget(self, name: str) -> None:
        """Forget the process of a gateway."""
        (self.gateway(name) / RECORD).unlink(missing_ok=True)

    def remember_former(self, record: Record) -> None:
        """Remember a process that has been, or is being, replaced and still runs."""
        write_file(self.gateway(record.gateway) / FORMER.format(record.pid), json.dumps(asdict(record)), lasting=False)

    def forget_former(self, record: Record) -> None:
        """Forget a replaced process."""
        (self.gateway(record.gateway) / FORMER.format(record.pid)).unlink(missing_ok=True)

    def records(self) -> dict[str, Record]:
        """The processes that still run, by gateway. A record that cannot be read is none."""
        return {record.gateway: record for record in self._running(RECORD)}

    def formers(self) -> tuple[Record, ...]:
        """The replaced processes that still run; others are forgotten."""
        return tuple(self._running(FORMER.format("*"), forget=True))

    def _running(self, pattern: str, *, forget: bool = False) -> Iterator[Record]:
        for path in sorted((self.path / "gateways").glob(f"*/{pattern}")):
            record = _read_record(path)
            if record is not None and is_running(record, path.parent):
                yield record
            elif forget:
                path.unlink(missing_ok=True)

    def addresses(self) -> dict[str, Any]:
        """What `remember_addresses` wrote last, by this server or one before it; empty if nothing."""
        try:
            known = json.loads((self.path / ADDRESSES).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def remember_addresses(self, addresses: Mapping[str, Any]) -> None:
        """Write where the server listens."""
        write_file(self.path / ADDRESSES, json.dumps(addresses, indent=2) + "\n")


def read_xds_key(folder: Path) -> bytes | None:
    """The key in a state folder; None if there is none that can be used. OSError if it may not be read."""
    try:
        found = bytes.fromhex((folder / _KEY).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return found if len(found) == _KEY_BYTES else None


def is_running(record: Record, folder: Path) -> bool:
    """Whether the process of a record lives and is the Envoy that was started from `folder`."""
    if start_time(record.pid) != record.start_time:
        return False
    try:
        words = Path(f"/proc/{record.pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return str(folder / record.run / "bootstrap.yaml").encode() in words


def start_time(pid: int) -> int | None:
    """When a process started, in the kernel's ticks since boot; None if it does not run (or is only not yet reaped)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the command's name, in parentheses, may hold anything
    return int(fields[19]) if fields[0] not in ("Z", "X") else None


def digest_of(*texts: str) -> str:
    """A short hash of texts."""
    return blake2b("\0".join(texts).encode(), digest_size=8).hexdigest()


def _read_record(path: Path) -> Record | None:
    try:
        return Record(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
