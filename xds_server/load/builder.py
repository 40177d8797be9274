"""From the events of a YAML parser to values and their places, without recursion and within limits.

In: libyaml's events for one document. Out: a value of JSON types, a tree of places, faults. Events are taken one
by one, so that depth, size, aliases and merges are bounded while the text is read: composing 25,000 nested lists
would overflow libyaml's stack, and nine lines of aliases can mean a billion values. Refused: duplicate keys, keys
that are no text, scalars that readers of YAML disagree about, tags, cycles.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    Event,
    MappingStartEvent,
    ScalarEvent,
)

from xds_server.load.document import Fault, Limits
from xds_server.load.places import Branch, Tree, mark_of, pack
from xds_server.load.scalars import LookAlike, TooLarge, plain, plain_key

_TEXT_TAG = "tag:yaml.org,2002:str"
_STANDARD_TAG = "tag:yaml.org,2002:"
_SHOWN = 40  # characters of a user's text inside a message


class AbandonedError(Exception):
    """Reading this document makes no sense any more; the faults say why."""


class _Mark:
    """A key that stands for something else than an entry."""


_SKIP = _Mark()  # the key was wrong: drop its value
_MERGE = _Mark()  # the key is `<<`


@dataclass(slots=True)
class _Anchored:
    """A value that an alias may use. `height` counts the levels of nesting in it, 0 for a scalar."""

    value: Any
    tree: Tree
    nodes: int
    height: int
    merges: bool = False


class _Frame:
    """A mapping or list that is being read."""

    __slots__ = ("anchor", "branch", "height", "key", "key_mark", "merge", "nodes_before", "value")

    def __init__(self, value: dict[str, Any] | list[Any], branch: Branch, anchor: str | None, nodes: int) -> None:
        self.value = value
        self.branch = branch
        self.anchor = anchor
        self.nodes_before = nodes
        self.key: str | _Mark | None = None
        self.key_mark = 0
        self.merge: _Anchored | None = None
        self.height = 1


def _mark_of_event(event: Event) -> int:
    start, end = event.start_mark, event.end_mark
    assert start is not None  # libyaml marks every event
    assert end is not None
    length = end.column - start.column if end.line == start.line else 1  # 0 for a block that starts here
    return pack(start.line, start.column, length)


def shortened(text: str) -> str:
    """A user's text as it may stand in a message."""
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _quoted(text: str) -> str:
    return json.dumps(shortened(text), ensure_ascii=False)


class Builder:
    """Takes the events between the start and the end of one document; `value` and `tree` are then what it holds."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.faults: list[Fault] = []
        self.nodes = 0
        self.value: Any = None
        self.tree: Tree = 0
        self._aliases = 0
        self._stack: list[_Frame] = []
        self._anchors: dict[str, _Anchored | None] = {}  # None: still being read

    def take(self, event: Event) -> None:
        """Take the next event. Raises `AbandonedError` at a limit."""
        if isinstance(event, ScalarEvent):
            self._scalar(event)
        elif isinstance(event, CollectionStartEvent):
            self._start(event)
        elif isinstance(event, CollectionEndEvent):
            self._end()
        elif isinstance(event, AliasEvent):
            self._alias(event)

    # -- what is written ------------------------------------------------------------------------------

    def _scalar(self, event: ScalarEvent) -> None:
        frame = self._stack[-1] if self._stack else None
        mark = _mark_of_event(event)
        if frame is not None and frame.key is None and isinstance(frame.value, dict):
            self._key(frame, event, mark)
            return
        self._count(1, mark)
        value = self._value_of(event, mark)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(value, mark, 1, 0)
        self._attach(value, mark, 0)

    def _value_of(self, event: ScalarEvent, mark: int) -> Any:
        text: str = event.value
        if event.tag is not None:
            self._check_tag(event.tag, mark)
            return text
        if not event.implicit[0]:
            return text
        value = plain(text)
        if isinstance(value, LookAlike):
            write = f"write {value.instead}, or quote it" if value.instead else "quote it"
            words = {"text": shortened(text), "meaning": value.meaning}
            self._fault("L105", mark, words, f"{write}: {_quoted(text)}")
            return text
        if isinstance(value, TooLarge):
            words = {"text": shortened(text), "reason": value.reason}
            self._fault("L107", mark, words, "quote it if it is text")
            return text
        return value

    def _key(self, frame: _Frame, event: ScalarEvent, mark: int) -> None:
        key: str = event.value
        frame.key_mark = mark
        frame.key = key
        unquoted = event.tag is None and event.implicit[0]
        if event.tag is not None:
            self._check_tag(event.tag, mark)
        elif unquoted and key == "<<":
            frame.key = _MERGE
            if frame.merge is not None:
                self._fault("L110", mark, {"reason": "a mapping can have one"})
                frame.key = _SKIP
        elif unquoted and (what := plain_key(key)) is not None:
            self._fault("L106", mark, {"what": what}, f"quote it: {_quoted(key)}")
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(key, mark, 1, 0)
        if frame.key is key and key in frame.value:
            self._fault("L104", mark, {"key": shortened(key)}, "remove one of the two", frame.branch.keys.get(key))
            frame.key = _SKIP

    def _start(self, event: CollectionStartEvent) -> None:
        mapping = type(event) is MappingStartEvent
        mark = _mark_of_event(event)
        self._count(1, mark)
        if event.tag is not None:
            self._check_tag(event.tag, mark, "map" if mapping else "seq")
        if len(self._stack) >= self.limits.depth:
            self._abandon(mark, f"more than {self.limits.depth} levels of nesting")
        if self._stack and (parent := self._stack[-1]).key is None and isinstance(parent.value, dict):
            self._fault("L106", mark, {"what": "a mapping" if mapping else "a list"})
            self._skip_next(parent)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        branch = Branch(mark, {}, {}) if mapping else Branch(mark, [], {})
        self._stack.append(_Frame({} if mapping else [], branch, event.anchor, self.nodes))

    def _skip_next(self, frame: _Frame) -> None:
        """The coming collection is a key: read it under a frame of its own and drop it together with its value."""
        holder = _Frame([], Branch(0, [], {}), None, self.nodes)
        frame.key = _SKIP
        holder.key = _SKIP
        self._stack.append(holder)

    def _end(self) -> None:
        frame = self._stack.pop()
        if frame.merge is not None:
            self._merge(frame, frame.merge)
        if frame.anchor is not None:
            nodes = self.nodes - frame.nodes_before + 1
            merges = frame.merge is not None
            self._anchors[frame.anchor] = _Anchored(frame.value, frame.branch, nodes, frame.height, merges)
        if self._stack and self._stack[-1].key is _SKIP and isinstance(self._stack[-1].value, list):
            self._stack.pop()  # that was a key; `_SKIP` of the mapping waits for its value
            return
        self._attach(frame.value, frame.branch, frame.height)

    def _alias(self, event: AliasEvent) -> None:
        mark = _mark_of_event(event)
        self._aliases += 1
        if self._aliases > self.limits.aliases:
            self._abandon(mark, f"more than {self.limits.aliases} aliases in a document")
        name = event.anchor or ""
        found = self._anchors.get(name)
        frame = self._stack[-1] if self._stack else None
        if frame is not None and frame.key is None and isinstance(frame.value, dict):
            self._fault("L106", mark, {"what": "an alias"}, "write the key itself")
            frame.key = _SKIP
            return
        if found is None:
            reason = "it contains itself" if name in self._anchors else "there is no such anchor above"
            self._fault("L109", mark, {"reason": f"*{shortened(name)}: {reason}"})
            self._attach(None, mark, 0)
            return
        self._count(found.nodes, mark)
        merging = frame is not None and frame.key is _MERGE  # then its first level is a level that is there already
        if len(self._stack) + found.height - merging > self.limits.depth:
            self._abandon(mark, f"more than {self.limits.depth} levels of nesting")
        if frame is not None and merging:
            self._take_merge(frame, found, mark)
            return
        tree = found.tree
        self._attach(
            found.value, Branch(mark, tree.children, tree.keys) if isinstance(tree, Branch) else mark, found.height
        )

    # -- what it means --------------------------------------------------------------------------------

    def _attach(self, value: Any, tree: Tree, height: int) -> None:
        """Put a finished value where it belongs."""
        if not self._stack:
            self.value, self.tree = value, tree
            return
        frame = self._stack[-1]
        if height >= frame.height:
            frame.height = height + 1
        children: Any = frame.branch.children
        if isinstance(frame.value, list):
            frame.value.append(value)
            children.append(tree)
            return
        key, frame.key = frame.key, None
        if isinstance(key, str):
            frame.value[key] = value
            children[key] = tree
            frame.branch.keys[key] = frame.key_mark
        elif key is _MERGE:
            reason = "its value is not an alias of a mapping"
            self._fault("L110", mark_of(tree), {"reason": reason}, "write it as: <<: *name")

    def _take_merge(self, frame: _Frame, found: _Anchored, mark: int) -> None:
        frame.key = None
        if not isinstance(found.value, dict):
            self._fault("L110", mark, {"reason": "the alias is not of a mapping"})
        elif found.merges:
            self._fault("L110", mark, {"reason": "that mapping has a merge key itself; one level is read"})
        else:
            frame.merge = found
            frame.height = max(frame.height, found.height)

    @staticmethod
    def _merge(frame: _Frame, found: _Anchored) -> None:
        """Add the entries that the mapping does not write itself; they keep the places where they are written."""
        assert isinstance(found.tree, Branch)
        children: Any = frame.branch.children
        source: Any = found.tree.children
        for key, value in found.value.items():
            if key not in frame.value:
                frame.value[key] = value
                children[key] = source[key]
                frame.branch.keys[key] = found.tree.keys[key]

    # -- what is wrong --------------------------------------------------------------------------------

    def _check_tag(self, tag: str, mark: int, allowed: str = "str") -> None:
        if tag == _STANDARD_TAG + allowed:
            return
        shown = "!!" + tag.removeprefix(_STANDARD_TAG) if tag.startswith(_STANDARD_TAG) else tag
        self._fault("L108", mark, {"tag": shortened(shown)}, "remove it; text that looks like something else is quoted")

    def _count(self, nodes: int, mark: int) -> None:
        self.nodes += nodes
        if self.nodes > self.limits.nodes:
            self._abandon(mark, f"more than {self.limits.nodes:,} values, those behind aliases counted each time")

    def _fault(self, code: str, mark: int, words: dict[str, str], hint: str = "", first: int | None = None) -> None:
        self.faults.append(Fault(code, mark, words, hint, first))
        if len(self.faults) >= self.limits.faults:
            self._abandon(mark, f"more than {self.limits.faults} mistakes in a document")

    def _abandon(self, mark: int, reason: str) -> None:
        self.faults.append(Fault("L111", mark, {"reason": reason}))
        raise AbandonedError
