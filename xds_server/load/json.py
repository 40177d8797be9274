"""JSON text to values and their places: exactly JSON, where YAML would read something else.

In: text of one or more JSON values after each other. Out: a `Piece`. JSON is read by itself and not as YAML,
because libyaml refuses escapes of two surrogates, DEL and long keys, and folds U+2028 inside strings. Refused
beyond what JSON refuses: duplicate keys, numbers beyond 64 bits, half a surrogate pair, NaN.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from typing import Any, NoReturn

from xds_server.load.builder import shortened
from xds_server.load.document import Fault, Item, Limits, Piece
from xds_server.load.lists import expand
from xds_server.load.places import Branch, Tree, mark_of, pack
from xds_server.load.scalars import TooLarge, fraction, integer

_SPACE = re.compile(r"[ \t\n]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)((?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)")
_WORD = re.compile(r"[^\s,\[\]{}:\"]+")
_WORDS = {"true": True, "false": False, "null": None}
_HALF_PAIR = re.compile("[\ud800-\udfff]")


class _StopError(Exception):
    """The text cannot be read any further; the faults say why."""


def read_json(text: str, limits: Limits) -> Piece:
    """The documents of a text of JSON. Text after a mistake is not read."""
    reader = _Reader(text, limits)
    items: list[Item] = []
    faults: list[Fault] = []
    try:
        while not reader.at_end():
            reader.faults = []
            value, tree = reader.value(0)
            found, wrong = _finish(value, tree, reader.faults)
            items += found
            faults += wrong
    except _StopError:
        faults += reader.faults
    return Piece(tuple(items), tuple(faults), reader.nodes)


def _finish(value: Any, tree: Tree, faults: list[Fault]) -> tuple[tuple[Item, ...], list[Fault]]:
    if isinstance(value, dict):
        items, more = expand(Item(value, tree, broken=bool(faults)), faults)
        return items, [*faults, *more]
    what = "a list" if isinstance(value, list) else "a single value"
    return (), [*faults, Fault("L112", mark_of(tree), {"what": what})]


class _Reader:
    """Reads from left to right. It recurses once a level of nesting, and the levels are limited."""

    def __init__(self, text: str, limits: Limits) -> None:
        self.text = text
        self.limits = limits
        self.faults: list[Fault] = []
        self.nodes = 0
        self._at = 0
        self._decoder = json.JSONDecoder()
        self._lines = [0, *(match.end() for match in re.finditer("\n", text))]

    def at_end(self) -> bool:
        """True if only space is left."""
        return self._next() == ""

    def value(self, depth: int) -> tuple[Any, Tree]:
        """The value at this place, and its places."""
        character = self._next()
        start = self._at
        self.nodes += 1
        if self.nodes > self.limits.nodes:
            self._stop("L111", start, f"more than {self.limits.nodes:,} values")
        if character in ("{", "["):
            if depth >= self.limits.depth:
                self._stop("L111", start, f"more than {self.limits.depth} levels of nesting")
            return self._mapping(depth + 1) if character == "{" else self._list(depth + 1)
        value = self._string() if character == '"' else self._scalar()
        return value, self._mark(start, self._at)

    # -- parts ----------------------------------------------------------------------------------------

    def _mapping(self, depth: int) -> tuple[dict[str, Any], Branch]:
        value: dict[str, Any] = {}
        children: dict[str, Tree] = {}
        branch = Branch(self._mark(self._at, self._at + 1), children, {})
        self._at += 1
        if self._next() == "}":
            self._at += 1
            return value, branch
        while True:
            if self._next() != '"':
                self._stop("L114", self._at, "expected a key in double quotes")
            start = self._at
            key = self._string()
            mark = self._mark(start, self._at)
            if self._next() != ":":
                self._stop("L114", self._at, "expected ':' after a key")
            self._at += 1
            child, tree = self.value(depth)
            if key in value:
                words = {"key": shortened(key)}
                self.faults.append(Fault("L104", mark, words, "remove one of the two", branch.keys[key]))
            else:
                value[key], children[key], branch.keys[key] = child, tree, mark
            if self._ends("}"):
                return value, branch

    def _list(self, depth: int) -> tuple[list[Any], Branch]:
        value: list[Any] = []
        children: list[Tree] = []
        branch = Branch(self._mark(self._at, self._at + 1), children, {})
        self._at += 1
        if self._next() == "]":
            self._at += 1
            return value, branch
        while True:
            child, tree = self.value(depth)
            value.append(child)
            children.append(tree)
            if self._ends("]"):
                return value, branch

    def _ends(self, closing: str) -> bool:
        """After an entry: True at the closing bracket, False at a comma; both are passed over."""
        character = self._next()
        if character not in (closing, ",") or not character:
            self._stop("L114", self._at, f"expected ',' or '{closing}', found {self._found()}")
        self._at += 1
        return character == closing

    def _string(self) -> str:
        start = self._at
        try:
            value, self._at = self._decoder.raw_decode(self.text, start)
        except json.JSONDecodeError as error:
            self._stop("L114", error.pos, error.msg.lower().removesuffix(" at"))
        if _HALF_PAIR.search(value):
            self.faults.append(Fault("L114", self._mark(start, self._at), {"reason": "half of a surrogate pair"}))
            return ""
        return str(value)

    def _scalar(self) -> Any:
        start = self._at
        found = self._found()
        if found in _WORDS:
            self._at += len(found)
            return _WORDS[found]
        number = _NUMBER.fullmatch(found)
        if number is None:
            self._stop("L114", start, f"expected a value, found {shortened(found)}")
        self._at += len(found)
        value = fraction(found) if number[1] else integer(found)
        if isinstance(value, TooLarge):
            words = {"text": shortened(found), "reason": value.reason}
            self.faults.append(Fault("L107", self._mark(start, self._at), words, "quote it if it is text"))
            return found
        return value

    # -- places ---------------------------------------------------------------------------------------

    def _next(self) -> str:
        """The next character that is no space; empty at the end."""
        space = _SPACE.match(self.text, self._at)
        assert space is not None  # it matches nothing as well
        self._at = space.end()
        return self.text[self._at : self._at + 1]

    def _found(self) -> str:
        word = _WORD.match(self.text, self._at)
        return word[0] if word else self.text[self._at : self._at + 1] or "the end of the file"

    def _mark(self, start: int, end: int) -> int:
        line = bisect_right(self._lines, start) - 1
        return pack(line, start - self._lines[line], end - start)

    def _stop(self, code: str, at: int, reason: str) -> NoReturn:
        self.faults.append(Fault(code, self._mark(at, at + 1), {"reason": reason}))
        raise _StopError
