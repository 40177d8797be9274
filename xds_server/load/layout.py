"""YAML text -> the same YAML in the one layout: indentation, order of an object's own fields, empty lines, ends of lines.

In: the text of a file. Out: the text in the layout that Kubernetes' own tools write, with every comment. No value is written
anew: lines are moved and indented, never changed behind their first letter, so quotes, flow collections and block texts stay as
they are. A document that is built in an unusual way (tags, anchors of whole blocks, `?` keys) keeps its lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import yaml

_FIRST = ("apiVersion", "kind", "metadata")
_LAST = ("status",)
_METADATA = ("name", "namespace", "labels", "annotations")
_STEP = 2
_BLANK = " \t"


class UnusualError(Exception):
    """A document is built in a way that this does not lay out."""


def laid_out(text: str) -> str:
    """The text in the one layout. yaml.YAMLError if it is no YAML."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    done: list[str] = []
    at, end = 0, None
    for root in yaml.compose_all(text, Loader=yaml.SafeLoader):
        if root.start_mark.index == root.end_mark.index:
            continue  # nothing is written
        begin, end = max(at, root.start_mark.line), _last_leaf(root)
        done += _between(lines[at:begin])
        at = max(at, _last_line(root, lines) + 1)
        try:
            done += _document(root, begin, lines)
        except UnusualError:
            done += lines[begin:at]
    done += _between(lines[at:])
    while done and not done[0]:
        done.pop(0)
    if end is not None and _is_text(end) and (end.end_mark.index == len(text)):
        return "\n".join(done)  # the end of the file is the end of a value
    while done and not done[-1]:
        done.pop()
    return "\n".join(done) + "\n" if done else ""


def _document(root: yaml.Node, begin: int, lines: list[str]) -> list[str]:
    if not isinstance(root, yaml.MappingNode) or not _is_block(root) or root.value[0][0].start_mark.line != begin:
        raise UnusualError
    return _Layout(lines).mapping(root, begin, 0, _FIRST, _LAST)


def comments_of(text: str) -> list[str]:
    """Every comment that stands on a line of its own, for a check that none is lost; `#` lines of block texts count, too."""
    return sorted(line.strip(_BLANK) for line in text.split("\n") if line.lstrip(_BLANK).startswith("#"))


def _between(lines: Sequence[str]) -> list[str]:
    """Lines between documents, without spaces at their ends and with at most one empty line in a row."""
    found: list[str] = []
    for line in lines:
        bare = line.rstrip(_BLANK)
        if bare or (found and found[-1]) or not found:
            found.append(bare)
    return found


@dataclass(frozen=True, slots=True)
class _Layout:
    """Lays out the block collections of one text."""

    lines: list[str]

    def mapping(
        self, node: yaml.MappingNode, begin: int, column: int, first: Sequence[str] = (), last: Sequence[str] = ()
    ) -> list[str]:
        """The lines of a block mapping whose lead starts at line `begin`, with its keys at `column`."""
        if not node.value or node.start_mark.line != node.value[0][0].start_mark.line:
            raise UnusualError
        blocks: list[tuple[str, list[str]]] = []
        old = node.value[0][0].start_mark.column
        tail, above = begin, node.value[0][1]
        for key, value in node.value:
            line = key.start_mark.line
            usual = isinstance(key, yaml.ScalarNode) and key.end_mark.line == line and key.start_mark.column == old
            if not usual or self.lines[line][:old].strip(" -"):
                raise UnusualError
            if blocks:
                blocks[-1][1].extend(self._belongs_above(tail, line, old, self._shift(above, old, column)))
            lead = self._lead(tail, line, old, column)
            blocks.append((key.value, [*lead, *self._entry(key, value, column)]))
            tail, above = _last_line(value, self.lines) + 1, value
        return [line for _, block in _ordered(blocks, first, last) for line in block]

    def _entry(self, key: yaml.ScalarNode, value: yaml.Node, column: int) -> list[str]:
        """One key with its value."""
        line, old = key.start_mark.line, key.start_mark.column
        head = " " * column + self._first(key, value)
        if not _is_block(value):
            return [head, *self._shifted(value, line + 1, column - old)]
        if _content_line(value) == line:
            raise UnusualError
        inner: list[str]
        if isinstance(value, yaml.MappingNode):
            order = _METADATA if key.value == "metadata" and column == 0 else ()
            inner = self.mapping(value, line + 1, column + _STEP, order)
        else:
            assert isinstance(value, yaml.SequenceNode)
            inner = self.sequence(value, line + 1, column)
        return [head, *inner]

    def sequence(self, node: yaml.SequenceNode, begin: int, column: int) -> list[str]:
        """The lines of a block sequence whose lead starts at line `begin`, with its dashes at `column`."""
        found: list[str] = []
        old, tail, above = self._dash(node.value[0]), begin, node.value[0]
        if node.start_mark.column != old:
            raise UnusualError
        for item in node.value:
            line = item.start_mark.line
            if self._dash(item) != old:
                raise UnusualError
            if found:
                found += self._belongs_above(tail, line, old, self._shift(above, old, column, _STEP))
            found += self._lead(tail, line, old, column)
            own = self._item(item, column + _STEP)
            found += [f"{' ' * column}- {own[0].lstrip(' ')}".rstrip(_BLANK), *own[1:]]
            tail, above = _last_line(item, self.lines) + 1, item
        return found

    def _item(self, item: yaml.Node, column: int) -> list[str]:
        """What stands behind a dash, its first line with any indentation."""
        line = item.start_mark.line
        if not _is_block(item):
            start = item.start_mark.column
            return [self._first(item, item), *self._shifted(item, line + 1, column - start)]
        if isinstance(item, yaml.MappingNode):
            return self.mapping(item, line, column)
        assert isinstance(item, yaml.SequenceNode)
        return self.sequence(item, line, column)

    def _first(self, begin: yaml.Node, value: yaml.Node) -> str:
        """The line on which a key or an item begins. Spaces at its end may belong to a text that goes on below."""
        text = self.lines[begin.start_mark.line][begin.start_mark.column :]
        goes_on = not _is_block(value) and not _is_text(value) and value.end_mark.line > value.start_mark.line
        return text if goes_on else text.rstrip(_BLANK)

    def _dash(self, item: yaml.Node) -> int:
        """The column of the dash before an item, on its own line."""
        mark = item.start_mark
        before = self.lines[mark.line][: mark.column].rstrip(_BLANK)
        if not before.endswith("-"):
            raise UnusualError
        return len(before) - 1

    def _shifted(self, value: yaml.Node, begin: int, by: int) -> Iterator[str]:
        """The further lines of a scalar or a flow collection, all moved by so many columns."""
        last = _last_line(value, self.lines)
        for number in range(begin, last + 1):
            line = self.lines[number]
            moved = " " * by + line if by > 0 else line[min(-by, len(line) - len(line.lstrip(" "))) :]
            whole = number < last or _is_text(value)  # spaces at the end of a line may belong to the text
            yield (moved if line else "") if whole else moved.rstrip(_BLANK)

    def _lead(self, begin: int, end: int, old: int, column: int) -> list[str]:
        """Comments and empty lines before an entry, as far as they are not indented more than it: then they are its own."""
        lines = self.lines[self._border(begin, end, old) : end]
        return _between_entries([" " * column + line.strip(_BLANK) if line.strip(_BLANK) else "" for line in lines])

    def _shift(self, above: yaml.Node, old: int, column: int, deeper: int = 0) -> int:
        """By how many columns what stands below `above` moves, an entry that moves from `old` to `column`."""
        if isinstance(above, yaml.SequenceNode) and _is_block(above):
            return column + deeper - self._dash(above.value[0])
        if isinstance(above, yaml.MappingNode) and _is_block(above):
            return column + _STEP - int(above.value[0][0].start_mark.column)
        return column - old

    def _belongs_above(self, begin: int, end: int, old: int, by: int) -> list[str]:
        """Comments after an entry that are indented more than the next one: they are about what stands above."""
        lines = self.lines[begin : self._border(begin, end, old)]
        moved = [
            " " * by + line if by > 0 else line[min(-by, len(line) - len(line.lstrip(_BLANK))) :] for line in lines
        ]
        return _between_entries([line.rstrip(_BLANK) for line in moved])

    def _border(self, begin: int, end: int, old: int) -> int:
        """The line after the last comment that is indented more than `old`."""
        border = begin
        for number in range(begin, end):
            line = self.lines[number]
            if line.lstrip(_BLANK).startswith("#") and len(line) - len(line.lstrip(_BLANK)) > old:
                border = number + 1
        return border


def _between_entries(lines: list[str]) -> list[str]:
    """At most one empty line in a row."""
    return [line for number, line in enumerate(lines) if line or not number or lines[number - 1]]


def _ordered(
    blocks: list[tuple[str, list[str]]], first: Sequence[str], last: Sequence[str]
) -> list[tuple[str, list[str]]]:
    """Those of `first` in its order, then the others as they were written, then those of `last`."""

    def rank(block: tuple[str, list[str]]) -> int:
        name = block[0]
        return first.index(name) if name in first else len(first) + (name in last)

    return sorted(blocks, key=rank)


def _last_leaf(node: yaml.Node) -> yaml.Node:
    """The last value below a node of block collections."""
    while _is_block(node):
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    return node


def _is_text(node: yaml.Node) -> bool:
    """Whether it is a block text, whose line breaks are its own."""
    return isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")


def _is_block(node: yaml.Node) -> bool:
    return isinstance(node, yaml.CollectionNode) and not node.flow_style and bool(node.value)


def _content_line(node: yaml.Node) -> int:
    """The line on which the first entry of a block collection begins."""
    first = node.value[0]
    start = first[0].start_mark if isinstance(first, tuple) else first.start_mark
    return int(start.line)


def _last_line(node: yaml.Node, lines: Sequence[str]) -> int:
    """The last line that belongs to a node; empty lines after a block text only where it keeps them (`|+`)."""
    node = _last_leaf(node)
    end = node.end_mark
    if not _is_text(node):
        return int(end.line)
    found = int(end.line) - (end.column == 0)
    header = lines[node.start_mark.line][node.start_mark.column :].split("#")[0]
    while "+" not in header and found > node.start_mark.line and not lines[found].strip(_BLANK):
        found -= 1
    return found
