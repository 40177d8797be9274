"""What the process that compiles and those that serve tell each other, as bytes on a socket between them.

In: frames. Out: bytes; and frames again. A frame is plain data of a closed list of classes, so reading one can run nothing;
bytes that are none are a FrameError. Keys and certificates go this way, down: a frame is never logged, and lies on no disk. What
a process that serves says goes up in a form that can say nothing else: it may have been taken over.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from xds_server.diagnostics import Span
from xds_server.serve.counters import Counters
from xds_server.serve.identity import Identities
from xds_server.serve.limits import Limits
from xds_server.serve.loads import Load
from xds_server.serve.records import ProxyRecord
from xds_server.serve.revocation import Lists
from xds_server.serve.verdicts import Verdict, Verdicts
from xds_server.snapshot.hosts import Hosts
from xds_server.snapshot.resource import Resource, Snapshot
from xds_server.types import Key, Origin
from xds_server.workers.changes import Change
from xds_server.workers.reports import read_report, write_report

HEAD = 8
"""Bytes before each frame, which say how long it is."""
MOST_DOWN, MOST_UP = 4 * 2**30, 128 * 2**20
"""Bytes of the longest frame to and from a process that serves."""
Named: TypeAlias = tuple[str, str, str] | Resource
"""A resource that is wanted, by type URL, name and version; any other as it is, but for the documents that made it."""


class FrameError(ValueError):
    """These bytes are no frame."""


@dataclass(frozen=True, slots=True)
class Begin:
    """The first thing that a process hears. `files` are those of TLS; `ports` are addresses, and whether TLS is spoken there.

    `lists` are the revocation lists that count.
    """

    number: int
    limits: Limits
    identities: Identities
    files: tuple[str, ...]
    key: bytes | None = field(repr=False)
    ports: tuple[tuple[str, bool], ...]
    lists: Lists | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Known:
    """What is wanted and what was said of it; None: nothing is published yet. Who hears this listens."""

    verdicts: Mapping[str, Verdicts] | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Published:
    """Something else is wanted."""

    changes: tuple[Change, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A gateway is gone."""

    gateway: str


@dataclass(frozen=True, slots=True)
class Took:
    """Up: an Envoy took these. Down: that counts."""

    gateway: str
    node: str
    resources: tuple[Named, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Refused:
    """Up: an Envoy refused these. Down: that counts. `response` is the version of what it refused, `time` when."""

    gateway: str
    node: str
    resources: tuple[Named, ...] = field(repr=False)
    response: str
    message: str
    time: float


@dataclass(frozen=True, slots=True)
class Look:
    """Down: say what is new. `pids` are the processes whose memory counts together."""

    number: int
    pids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    """Down: end all streams within so many seconds, and then yourself."""

    grace: float


@dataclass(frozen=True, slots=True)
class Listening:
    """Up: it serves; or why it cannot."""

    problem: str = ""


@dataclass(frozen=True, slots=True)
class Changed:
    """Up: there is something new since the last look."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Up: so many seconds lay between a push and its ACK, of one type."""

    type_url: str
    seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Said:
    """Up: a sentence for the log."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Seen:
    """Up: what is new since the last look, and which look this answers. `lags`: by how many seconds the loop was late."""

    number: int
    records: Mapping[int, ProxyRecord]
    gone: tuple[int, ...]
    counters: Counters
    loads: Mapping[str, Mapping[str, Load]]
    lags: tuple[float, ...]


Down: TypeAlias = Begin | Known | Published | Forgotten | Took | Refused | Look | Stop
Up: TypeAlias = Listening | Changed | Acknowledged | Said | Seen | Took | Refused
_DOWN = (Begin, Known, Published, Forgotten, Took, Refused, Look, Stop)
_UP = (Listening, Changed, Acknowledged, Said, Seen, Took, Refused)
_PARTS = (Change, Hosts, Identities, Key, Limits, Lists, Origin, Resource, Snapshot, Span, Verdict, Verdicts)
_CLASSES: Mapping[tuple[str, str], Any] = {(one.__module__, one.__qualname__): one for one in (*_DOWN, *_PARTS)}
_REPORTS: Mapping[str, type] = {one.__name__: one for one in _UP}


class _Writer(pickle.Pickler):
    """Leaves out which documents made a resource: who serves it has no use for that, and there may be thousands."""

    def reducer_override(self, given: Any) -> Any:
        if type(given) is not Resource:
            return NotImplemented
        one: Resource = given
        parts = one.type_url, one.name, one.body, one.version, (), one.needs, one.ttl, one.on_demand, one.aliases
        return Resource, (*parts, one.withheld)


class _Reader(pickle.Unpickler):
    """Makes objects of the list alone: any other name is refused, and so nothing else is ever called."""

    def find_class(self, module: str, name: str) -> Any:
        found = _CLASSES.get((module, name))
        if found is None:
            raise FrameError(f"{module}.{name} belongs to no frame")
        return found


def encode_up(frame: Up) -> bytes:
    """A frame of a process that serves, with its head."""
    body = write_report(type(frame).__name__, frame)
    return len(body).to_bytes(HEAD, "big") + body


def encode(frame: Down) -> bytes:
    """A frame for a process that serves, with its head."""
    written = io.BytesIO()
    written.write(bytes(HEAD))
    _Writer(written, 5).dump(frame)
    data = written.getbuffer()
    data[:HEAD] = (len(data) - HEAD).to_bytes(HEAD, "big")
    return bytes(data)


def length_of(head: bytes, most: int) -> int:
    """How many bytes come after this head. FrameError if that is more than there may be."""
    length = int.from_bytes(head, "big")
    if not 0 < length <= most:
        raise FrameError(f"a frame of {length} bytes")
    return length


def decode_down(body: bytes) -> Down:
    """What a process that serves hears."""
    frame = _decode(body)
    if not isinstance(frame, Down):
        raise FrameError(f"a {type(frame).__name__} is not for a process that serves")
    return frame


def decode_up(body: bytes) -> Up:
    """What a process that serves says."""
    try:
        frame = read_report(body, _REPORTS)
    # Broken bytes raise nearly anything; whatever it is, they are no frame.
    except Exception as error:
        raise FrameError(f"no frame from a process that serves: {type(error).__name__}") from None
    assert isinstance(frame, Up)
    return frame


def _decode(body: bytes) -> object:
    try:
        return _Reader(io.BytesIO(body)).load()
    except FrameError:
        raise
    # Broken bytes raise nearly anything; whatever it is, they are no frame.
    except Exception as error:
        raise FrameError(f"no frame: {type(error).__name__}") from None
