"""What a file means, in stretches of pieces: those before the first and after the last difference are not looked into again.

In: the bytes of a file, how pieces of text are read, and what the file meant before. Out: `Parsed`, the same whatever is known.
What is kept costs a comparison of its bytes. A piece between the differences that was there before is not read again
either, wherever it stands now.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import Protocol, TypeVar

from xds_server.diagnostics import Diagnostic, diagnose
from xds_server.load.document import Document, Limits, Piece
from xds_server.load.places import pack, span_of
from xds_server.parts import Parts

T = TypeVar("T")
_CUT = r"^(?:---|\.\.\.)(?=[ \t\n]|\Z)"
CUT = re.compile(_CUT, re.MULTILINE)
"""Where a piece ends and another one begins."""
_CUT_OF_BYTES = re.compile(_CUT.encode(), re.MULTILINE)
_NOTHING = Piece()
_ENCODING = ("utf-8", "surrogateescape")
"""Bytes that belong to no character stay what they are."""
PIECES = 128
"""So many are in a stretch at most. What follows from a stretch is looked at anew if one of its pieces is another."""


class Reader(Protocol):
    """How a text is read."""

    def cut(self) -> Iterator[tuple[str, bool]]:
        """Its pieces, which together are the text, and whether there is more than comments in each."""

    def read(self, piece: str) -> Piece:
        """The meaning of a piece, wherever it stands."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A piece at its place: it begins on line `base` (from 0), below so many documents (`index`)."""

    text: str
    piece: Piece
    base: int
    index: int
    whole: tuple[Document, ...]
    broken: tuple[Document, ...]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Pieces that follow each other, their bytes, and what there is in all of them."""

    pieces: tuple[Placed, ...]
    data: bytes
    lines: int
    items: int
    nodes: int
    whole: tuple[Document, ...]
    broken: tuple[Document, ...]
    diagnostics: tuple[Diagnostic, ...]


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a file holds. `broken` are documents with faults, as far as they could be read; they are not to be used
    as if they were whole. `failed` says that something of the file is not in `documents`."""

    documents: Parts[Document] = field(default_factory=Parts)
    """Those of each stretch are a part."""
    broken: tuple[Document, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    failed: bool = False
    stretches: tuple[Stretch, ...] = field(default=(), repr=False)
    """All that was read of it, for the next time."""


def collect(
    file: str,
    data: bytes,
    reader: Callable[[str], Reader],
    earlier: Parsed,
    limits: Limits,
    *,
    in_order: bool = False,
) -> Parsed:
    """What a file means, of which lines end with line feeds alone.

    `earlier` is what it meant before; nothing, where pieces end elsewhere than at a `CUT`. `in_order`: nothing is kept of the
    end, so that what is too much is told of the first piece that is.
    """
    before = earlier.stretches
    head, start = _at_the_start(before, data)
    tail, end = (0, len(data)) if in_order else _at_the_end(before[head:], data, start)
    first, changed, last = before[:head], before[head : len(before) - tail], before[len(before) - tail :]
    known = {one.text: one.piece for stretch in changed for one in stretch.pieces}
    there = {(one.text, one.base, one.index): one for stretch in changed for one in stretch.pieces}
    base, index = sum(one.lines for one in first), sum(one.items for one in first)
    nodes = sum(one.nodes for one in (*first, *last))
    most = limits.documents - sum(one.items for one in last)
    read = reader(data[start:end].decode(*_ENCODING))
    found: list[Placed] = []
    told: tuple[Diagnostic, ...] = ()
    for piece, says in read.cut():
        meaning = (known.get(piece) or read.read(piece)) if says else _NOTHING
        known[piece] = meaning
        nodes += meaning.nodes
        if nodes > limits.nodes or index + len(meaning.items) > most:
            if last:
                return collect(file, data, reader, earlier, limits, in_order=True)
            reason = f"more than {limits.nodes:,} values or {limits.documents:,} documents in a file"
            told = (diagnose("L111", span_of(file, base, pack(0, 0, 1)), reason=reason),)
            break
        found.append(there.get((piece, base, index)) or _place(file, base, index, piece, meaning))
        base, index = base + piece.count("\n"), index + len(meaning.items)
    stretches = _joined(file, first, found, tuple(_moved(file, last, base, index)))
    diagnostics = (*_all(one.diagnostics for one in stretches), *told)
    documents = Parts(one.whole for one in stretches if one.whole)
    return Parsed(documents, _all(one.broken for one in stretches), diagnostics, bool(diagnostics), stretches)


def _joined(
    file: str, first: tuple[Stretch, ...], found: list[Placed], last: tuple[Stretch, ...]
) -> tuple[Stretch, ...]:
    """All of a file. Small stretches beside what was found become one with it."""
    if first and len(first[-1].pieces) + len(found) <= PIECES:
        found, first = [*first[-1].pieces, *found], first[:-1]
    if last and len(found) + len(last[0].pieces) <= PIECES:
        found, last = [*found, *last[0].pieces], last[1:]
    return (*first, *_stretches(file, found), *last)


def _all(parts: Iterable[Iterable[T]]) -> tuple[T, ...]:
    return tuple(chain.from_iterable(parts))


def _at_the_start(stretches: Sequence[Stretch], data: bytes) -> tuple[int, int]:
    """How many stretches a file begins with, and where they end in it."""
    at = 0
    for number, one in enumerate(stretches):
        end = at + len(one.data)
        if not data.startswith(one.data, at) or not (end == len(data) or _CUT_OF_BYTES.match(data, end)):
            return number, at
        at = end
    return len(stretches), at


def _at_the_end(stretches: Sequence[Stretch], data: bytes, start: int) -> tuple[int, int]:
    """How many stretches a file ends with, after `start`, and where they begin in it."""
    at = len(data)
    for number, one in enumerate(reversed(stretches)):
        begins = at - len(one.data)
        if begins < start or not _CUT_OF_BYTES.match(data, begins) or not data.startswith(one.data, begins):
            return number, at
        at = begins
    return len(stretches), at


def _stretches(file: str, pieces: list[Placed]) -> Iterator[Stretch]:
    """All pieces, in stretches of nearly the same number."""
    count = -(-len(pieces) // PIECES)
    ends = [len(pieces) * number // count for number in range(count + 1)] if count else []
    return (_stretch(file, tuple(pieces[start:end])) for start, end in pairwise(ends))


def _stretch(file: str, pieces: tuple[Placed, ...]) -> Stretch:
    data = "".join(one.text for one in pieces).encode(*_ENCODING)
    return Stretch(
        pieces,
        data,
        data.count(b"\n"),
        sum(len(one.piece.items) for one in pieces),
        sum(one.piece.nodes for one in pieces),
        _all(one.whole for one in pieces),
        _all(one.broken for one in pieces),
        tuple(fault.placed(file, one.base) for one in pieces for fault in one.piece.faults),
    )


def _moved(file: str, stretches: Sequence[Stretch], base: int, index: int) -> Iterator[Stretch]:
    """The same, from this line and below so many documents on."""
    for one in stretches:
        lines, more = base - one.pieces[0].base, index - one.pieces[0].index
        base, index = base + one.lines, index + one.items
        if not (lines or more):
            yield one
            continue
        places = ((piece.base + lines, piece.index + more, piece.text, piece.piece) for piece in one.pieces)
        yield _stretch(file, tuple(_place(file, *place) for place in places))


def _place(file: str, base: int, index: int, text: str, piece: Piece) -> Placed:
    whole: list[Document] = []
    broken: list[Document] = []
    for number, item in enumerate(piece.items, index):
        (broken if item.broken else whole).append(item.placed(file, base, number))
    return Placed(text, piece, base, index, tuple(whole), tuple(broken))
