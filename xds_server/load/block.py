"""The plain part of YAML, read line by line: what nearly every document consists of, in a fraction of the time.

In: one piece of text without control characters. Out: its value and how many values that is, the very same that the
whole reader gives, or None for anything beyond: flow collections over several lines, block scalars, anchors, tags,
escapes, comments after values, text over several lines, and every kind of mistake. Those are the whole reader's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from xds_server.load.document import Limits
from xds_server.load.places import pack
from xds_server.load.scalars import LookAlike, TooLarge, plain, plain_key

_LINE = re.compile(
    r"(?P<dash>- ++)?(?:(?P<key>[A-Za-z][A-Za-z0-9_./-]*+):(?= |$))?(?P<space> *+)"
    r"(?:(?P<plain>[A-Za-z0-9_/.$^(+=~<][^\n]*)|\"(?P<double>[^\"\\\n]*)\"|'(?P<single>[^'\n]*)'"
    r"|(?P<flow>[{\[][^\n]*[}\]]))?"
    r"|#[^\n]*",
)
"""A line without the spaces around it. No two parts of it can share letters, so that no line takes longer than its length."""
_FLOW = re.compile(
    r" *(?:(?P<mark>[{}\[\],])|(?P<key>[A-Za-z][A-Za-z0-9_./-]*): +|\"(?P<double>[^\"\\]*)\"|'(?P<single>[^']*)'"
    r"|(?P<plain>[A-Za-z0-9_/.$^(+=~<][^,:#\[\]{}\"']*)) *"
)
_INSIDE = re.compile(r": |:$| #")
_DEEPEST = 32
_Line = tuple[int, int, str | None, Any, bool]
"""A line: the column of its first letter, how wide a dash with its spaces is (0: none), a key, a value, and whether there is
a value. What has neither, such as a comment, is at column -1."""
_LONGEST_KEY = 1024
"""Characters. What is longer is no key for YAML unless `?` says so."""


@dataclass(frozen=True, slots=True)
class Block:
    """A document: its value, how many values are in it, and where it begins (packed, from the start of the piece)."""

    value: dict[str, Any]
    nodes: int
    mark: int


class _BeyondError(Exception):
    """This is more than is read here."""


@dataclass(frozen=True, slots=True)
class _FlowText:
    """A flow collection that is to be read."""

    text: str


@dataclass(slots=True)
class Scalars:
    """What plain scalars, keys and whole lines mean, each asked once: documents of one file are much alike."""

    values: dict[str, Any] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    lines: dict[str, _Line] = field(default_factory=dict)

    def value(self, text: str) -> Any:
        """The value of a plain scalar."""
        if text in self.values:
            return self.values[text]
        value = plain(text)
        if isinstance(value, LookAlike | TooLarge) or _INSIDE.search(text):
            raise _BeyondError
        self.values[text] = value
        return value

    def check(self, key: str) -> None:
        """Refuse a key that is no text, or too long for a key."""
        if key not in self.keys:
            if len(key) > _LONGEST_KEY or plain_key(key) is not None:
                raise _BeyondError
            self.keys.add(key)


@dataclass(slots=True)
class _Flow:
    """Flow collections while they are read. `ready`: a value or a key may come."""

    opened: list[Any]
    key: str | None
    ready: bool

    def go_on(self) -> None:
        """A comma."""
        if self.ready or not self.opened:
            raise _BeyondError
        self.ready = True

    def name(self, key: str) -> None:
        """The key of an entry."""
        inside = self.opened[-1] if self.opened else None
        if not self.ready or self.key is not None or not isinstance(inside, dict) or key in inside:
            raise _BeyondError
        self.key = key

    def add(self, value: Any) -> int:
        """A value; how many values of a collection that is."""
        inside = self.opened[-1] if self.opened else None
        if not self.ready or (isinstance(inside, dict) and self.key is None):
            raise _BeyondError
        if isinstance(inside, dict):
            inside[self.key] = value
        elif inside is not None:
            inside.append(value)
        self.key, self.ready = None, False
        if isinstance(value, dict | list):
            self.opened.append(value)
        return 0 if inside is None else 1

    def close(self, kind: type) -> Any:
        """The end of a collection."""
        done = self.opened.pop() if self.opened else None
        if not isinstance(done, kind) or self.key is not None or (self.ready and done):
            raise _BeyondError
        self.ready = False
        return done


def read_block(text: str, limits: Limits, scalars: Scalars) -> Block | None:
    """The document of a piece, if it is that plain."""
    body, line = text, 0
    if text.startswith("---"):
        first, _, body = text.partition("\n")
        line = 1
        if first.rstrip(" ") != "---":
            return None
    if "\t" in body:
        return None
    try:
        return _Reader(scalars, limits).read(body, line)
    except _BeyondError:
        return None


def _line(line: str, scalars: Scalars) -> _Line:
    """What a line says, whatever stands around it."""
    inner = line.strip(" ")
    match = _LINE.fullmatch(inner)
    if match is None:
        raise _BeyondError
    dash, key, space, bare, double, single, flow = match.groups()
    text = double if double is not None else single
    given = bare is not None or text is not None or flow is not None
    if dash is None and key is None:
        if given:
            raise _BeyondError
        return -1, 0, None, None, False
    if (key is not None and not space and given) or (dash and not key and space):
        raise _BeyondError
    if key is not None:
        scalars.check(key)
    value = text if bare is None else scalars.value(bare)
    return len(line) - len(line.lstrip(" ")), len(dash or ""), key, value if flow is None else _FlowText(flow), given


class _Reader:
    """One document while it is read. `_levels` are the collections that are open, each with its column."""

    def __init__(self, scalars: Scalars, limits: Limits) -> None:
        self._scalars = scalars
        self._limits = limits
        # A flow collection is read before the list and the mapping that its line begins.
        self._deepest = min(_DEEPEST, limits.depth - 2)
        self._levels: list[tuple[int, Any]] = []
        self._waiting: tuple[dict[str, Any], str] | None = None
        self._nodes = 0

    def read(self, body: str, line: int) -> Block:
        """The document of a text whose first line is this one of the piece."""
        levels, known, mark, nodes = self._levels, self._scalars.lines, -1, 0
        for text in body.split("\n"):
            entry = known.get(text)
            if entry is None:
                entry = known[text] = _line(text, self._scalars)
            column, dash, key, value, given = entry
            if column < 0:
                line += 1
                continue
            if mark < 0:
                mark = pack(line, column, 1)
            if type(value) is _FlowText:
                value = self._flow(value.text)
            if dash:
                mapping = self._list_item(column, dash, key, value, given)
                if mapping is None:
                    continue
            elif levels and levels[-1][0] == column and type(levels[-1][1]) is dict:
                mapping = levels[-1][1]
            else:
                mapping = self._mapping_at(column)
            assert key is not None
            if key in mapping:
                raise _BeyondError
            mapping[key] = value
            nodes += 1
            self._waiting = None if given else (mapping, key)
        self._nodes += nodes
        if not levels or self._nodes > self._limits.nodes:
            raise _BeyondError
        root = levels[0][1]
        if not isinstance(root, dict) or root.get("kind") == "List":
            raise _BeyondError
        return Block(root, self._nodes, mark)

    def _flow(self, text: str) -> Any:
        """A flow collection. The values in it are counted, itself is not."""
        flow = _Flow([], None, ready=True)
        at = 0
        while (match := _FLOW.match(text, at)) is not None:
            at = match.end()
            mark, name, double, single, bare = match.groups()
            if mark == ",":
                flow.go_on()
            elif mark in ("}", "]"):
                done = flow.close(list if mark == "]" else dict)
                if not flow.opened:
                    if at < len(text):
                        break
                    return done
            elif name is not None:
                self._scalars.check(name)
                flow.name(name)
            elif mark is not None:
                if len(flow.opened) + len(self._levels) >= self._deepest:
                    break
                self._nodes += flow.add({} if mark == "{" else [])
                flow.ready = True
            else:
                value = self._scalars.value(bare.rstrip(" ")) if bare is not None else double
                self._nodes += flow.add(single if single is not None else value)
        raise _BeyondError

    def _mapping_at(self, column: int) -> dict[str, Any]:
        levels = self._levels
        if not levels:
            opened: dict[str, Any] = self._open(column, {})
            return opened
        if column > levels[-1][0] and self._waiting is not None:
            below: dict[str, Any] = self._open_waiting(column, {})
            return below
        while levels and (levels[-1][0] > column or (levels[-1][0] == column and isinstance(levels[-1][1], list))):
            levels.pop()
        if not levels or levels[-1][0] != column:
            raise _BeyondError
        found: dict[str, Any] = levels[-1][1]
        return found

    def _list_item(self, column: int, dash: int, key: str | None, value: Any, given: bool) -> dict[str, Any] | None:
        """Add an item; its mapping, if it is one."""
        levels = self._levels
        if not levels:
            raise _BeyondError
        last = levels[-1]
        if self._waiting is not None and (column > last[0] or (column == last[0] and isinstance(last[1], dict))):
            items: Any = self._open_waiting(column, [])
        else:
            while levels and levels[-1][0] > column:
                levels.pop()
            if not levels or levels[-1][0] != column or not isinstance(levels[-1][1], list):
                raise _BeyondError
            items = levels[-1][1]
        self._waiting = None
        if key is not None:
            mapping: dict[str, Any] = {}
            items.append(mapping)
            self._open(column + dash, mapping)
            return mapping
        if not given:
            raise _BeyondError
        items.append(value)
        self._nodes += 1
        return None

    def _open_waiting(self, column: int, found: Any) -> Any:
        """The collection that is the value of the key before. It was counted as that key's value."""
        assert self._waiting is not None
        mapping, key = self._waiting
        mapping[key] = found
        self._waiting = None
        self._nodes -= 1
        return self._open(column, found)

    def _open(self, column: int, found: Any) -> Any:
        if len(self._levels) >= self._deepest:
            raise _BeyondError
        self._nodes += 1
        self._levels.append((column, found))
        return found
