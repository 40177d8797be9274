"""YAML (or JSON) bytes to documents with the place of every value, and diagnostics for every trap of YAML.

In: the bytes of one file. Out: `Parsed`: documents, diagnostics, and documents that are only readable in part. The
text is cut at its `---` lines and each piece is read by itself, so that one bad document loses no other, and so
that a piece known from an earlier version of the file is not read again. A user's mistake never raises. Refused:
text that is not UTF-8, control characters, and all that `builder` refuses.
"""

from __future__ import annotations

import re
import unicodedata
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise

from yaml import CSafeLoader, YAMLError
from yaml.error import MarkedYAMLError
from yaml.events import DocumentEndEvent, DocumentStartEvent

from xds_server.diagnostics import Diagnostic, diagnose
from xds_server.load.block import Scalars, read_block
from xds_server.load.builder import AbandonedError, Builder
from xds_server.load.document import DEFAULT_LIMITS, Document, Fault, Item, Limits, Piece
from xds_server.load.json import read_json
from xds_server.load.lists import expand
from xds_server.load.places import Later, Tree, mark_of, pack, span_of
from xds_server.load.stretches import CUT, Parsed, collect

_BLANK = r"[ \t]*(?:#[^\n]*)?"
_NOTHING = re.compile(rf"(?:---(?:{_BLANK}\n)*{_BLANK}|(?:\.\.\.)?(?:(?:{_BLANK}|%[^\n]*)\n)*(?:{_BLANK}|%[^\n]*))")
_BAD_CHARACTER = re.compile("[^\t\n -~\u00a0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_BREAKS = {"\u0085", "\u2028", "\u2029"}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")

_HINTS: tuple[tuple[str, str], ...] = (
    ("mapping values are not allowed", "quote text that contains ': ', and check the indentation"),
    ("found a tab character", "indent with spaces"),
    ("cannot start any token", "quote text that starts with a tab, '@', '`' or '%'"),
    ("could not find expected ':'", "a key is followed by ': '; check the indentation"),
    ("did not find expected key", "check the indentation, and quotes inside quoted text"),
    ("did not find expected '-' indicator", "check the indentation"),
    ("Unicode character escape", "write the character itself, or as one \\U escape"),
    ("unknown escape character", "use single quotes, or double the backslash"),
    ("unexpected end of stream", "a quote or a bracket is not closed"),
)


def parse_documents(
    file: str, data: bytes, limits: Limits = DEFAULT_LIMITS
) -> tuple[tuple[Document, ...], tuple[Diagnostic, ...]]:
    """The documents of a file that have no fault, and everything that is wrong with the file."""
    parsed = parse_file(file, data, limits)
    return tuple(parsed.documents), parsed.diagnostics


def parse_file(file: str, data: bytes, limits: Limits = DEFAULT_LIMITS, earlier: Parsed | None = None) -> Parsed:
    """What a file holds. A name that ends in `.json` is read as JSON, every other as YAML.

    `earlier` is what the same file held before, read with the same limits. It saves time, and a document of YAML that has not
    changed or moved is the very same object again, unless the file has it more than once.
    """
    if data.startswith(_UTF16):
        span = span_of(file, 0, pack(0, 0, 1))
        return Parsed(
            diagnostics=(diagnose("L102", span, hint="save it as UTF-8", reason="it is UTF-16"),), failed=True
        )
    data = data.removeprefix(BOM_UTF8)
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if file.endswith(".json"):
        return replace(collect(file, data, partial(_JsonReader, limits=limits), Parsed(), limits), stretches=())
    return collect(file, data, partial(_YamlReader, limits=limits), earlier or Parsed(), limits)


class _JsonReader:
    """A file of JSON is one piece."""

    def __init__(self, text: str, limits: Limits) -> None:
        self._text = text
        self._limits = limits

    def cut(self) -> Iterator[tuple[str, bool]]:
        """The pieces."""
        yield self._text, True

    def read(self, piece: str) -> Piece:
        """The meaning of a piece."""
        return _unsuitable(piece, _NOT_UTF8) or read_json(piece, self._limits)


class _YamlReader:
    """A file of YAML is cut at its `---` and `...` lines: at the start of a line they end a document, whatever it is."""

    def __init__(self, text: str, limits: Limits) -> None:
        self._text = text
        self._limits = limits
        self._clean = _BAD_CHARACTER.search(text) is None
        self._scalars = Scalars()

    def cut(self) -> Iterator[tuple[str, bool]]:
        """The pieces, those that are only comments and follow each other as one: there may be millions of them."""
        cuts = [0, *(match.start() for match in CUT.finditer(self._text)), len(self._text)]
        done = 0
        for start, end in pairwise(cuts):
            if _NOTHING.fullmatch(self._text, start, end) is None:
                if done < start:
                    yield self._text[done:start], False
                yield self._text[start:end], True
                done = end
        if done < len(self._text):
            yield self._text[done:], False

    def read(self, piece: str) -> Piece:
        """The meaning of a piece."""
        if self._clean and (block := read_block(piece, self._limits, self._scalars)) is not None:
            places = Later(block.mark, partial(_places, piece, self._limits))
            return Piece((Item(block.value, places),), (), block.nodes)
        return (None if self._clean else _unsuitable(piece, _BAD_CHARACTER)) or _read_yaml(piece, self._limits)


_NOT_UTF8 = re.compile("[\ud800-\udfff]")


def _unsuitable(piece: str, pattern: re.Pattern[str]) -> Piece | None:
    """A piece with a character that must not be there."""
    found = pattern.search(piece)
    if found is None:
        return None
    at, character = found.start(), found[0]
    line_start = piece.rfind("\n", 0, at) + 1
    mark = pack(piece.count("\n", 0, at), at - line_start, 1)
    if "\udc80" <= character <= "\udcff":
        reason = f"the byte 0x{ord(character) - 0xDC00:02X} belongs to no character"
        return Piece(faults=(Fault("L102", mark, {"reason": reason}, "save the file as UTF-8"),))
    name = f"U+{ord(character):04X} {unicodedata.name(character, 'CONTROL')}"
    hint = f'write it as "\\u{ord(character):04x}" in double quotes' if character in _BREAKS else "remove it"
    return Piece(faults=(Fault("L103", mark, {"character": name}, hint),))


def _read_yaml(text: str, limits: Limits) -> Piece:
    """The meaning of a piece of YAML; with libyaml's own words where it is none."""
    items: list[Item] = []
    faults: list[Fault] = []
    nodes = 0
    parser = CSafeLoader(text)
    builder = Builder(limits)
    try:
        while (event := parser.get_event()) is not None:
            kind = type(event)
            if kind is DocumentStartEvent:
                builder = Builder(limits)
            elif kind is DocumentEndEvent:
                found, wrong = _finish(builder)
                items += found
                faults += wrong
                nodes += builder.nodes
            else:
                builder.take(event)
    except AbandonedError:
        faults += builder.faults
    except YAMLError as error:
        faults += [*builder.faults, _syntax_fault(error)]
    finally:
        parser.dispose()
    return Piece(tuple(items), tuple(faults), nodes)


def _places(text: str, limits: Limits) -> Tree:
    """The places of the one document of a piece that has no fault."""
    tree = _read_yaml(text, limits).items[0].tree
    return tree.tree if isinstance(tree, Later) else tree


def _finish(builder: Builder) -> tuple[tuple[Item, ...], list[Fault]]:
    """The documents of a finished one: none if it is empty, several if it is a List."""
    value, faults = builder.value, builder.faults
    if isinstance(value, dict):
        items, more = expand(Item(value, builder.tree, broken=bool(faults)), faults)
        return items, [*faults, *more]
    if value is not None:
        what = "a list" if isinstance(value, list) else "a single value"
        faults = [*faults, Fault("L112", mark_of(builder.tree), {"what": what})]
    return (), faults


def _syntax_fault(error: YAMLError) -> Fault:
    reason, mark = "it cannot be read", None
    if isinstance(error, MarkedYAMLError):
        reason = ", ".join(part for part in (error.problem, error.context) if part)
        unclosed = "unexpected end of stream" in reason  # worth knowing is where it was opened
        mark = (error.context_mark if unclosed else None) or error.problem_mark or error.context_mark
    hint = next((hint for words, hint in _HINTS if words in reason), "")
    return Fault("L101", pack(mark.line, mark.column, 1) if mark else pack(0, 0, 1), {"reason": reason}, hint)
