"""The rules of one value: a number, a text, bytes, an enum, a duration, an Any.

In: a rules message of validate.proto (`StringRules`, `DurationRules`, ...), as it stands in a field's options.
Out: a `Check`, which gives the first `Problem` of a value or None. Bounds follow protoc-gen-validate: a lower
bound above the upper one means "outside of both". Refuses, when it is built, a rule kind that no field of the
pinned Envoy has: `NotImplementedError`, so that no rule of a newer Envoy goes by in silence.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import re2
from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message

from xds_server.envoy_api.validate.validate_pb2 import KnownRegex

_SHOWN = 60
_NOT_EMPTY = "must not be empty"
_NANOS = 1_000_000_000
_MODIFIERS = frozenset({"ignore_empty", "strict", "required"})  # change other rules, test nothing by themselves
# Strict header rules as Envoy compiles them; `+-.` is a range there too, so a comma is allowed in a name.
_HEADER_NAME = r"^:?[0-9a-zA-Z!#$%&'*+-.^_|~`]+$"
_HEADER_VALUE = r"^[^\x00-\x08\x0A-\x1F\x7F]*$"


@dataclass(frozen=True, slots=True)
class Problem:
    """A violation: the rule that does not hold, the value if it may be shown, and the path that led to it."""

    rule: str
    value: str = ""
    path: str = ""

    def under(self, step: str, secret: bool = False) -> Problem:
        """The same problem seen from one level up. A secret's value is never shown."""
        return replace(self, path=step + self.path, value="" if secret else self.value)

    def __str__(self) -> str:
        shown = f", is {self.value}" if self.value else ""
        return f"{self.path.removeprefix('.')}: {self.rule}{shown}"


Check = Callable[[Any], Problem | None]
Test = tuple[Callable[[Any], bool], str]
"""True for a value that holds, and the words for one that does not."""


def show(value: object) -> str:
    """A value as people read it: short, on one line; empty if there is nothing to see."""
    if isinstance(value, str):
        text = value if len(value) <= _SHOWN else value[:_SHOWN] + "..."
        return json.dumps(text, ensure_ascii=not text.isprintable())
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(value).removesuffix(".0")
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Message) and value.DESCRIPTOR.name == "Duration":
        return show_duration(nanos(value))
    return f"{len(value)} bytes" if isinstance(value, bytes) else ""


def nanos(duration: Any) -> int:
    """A duration (or timestamp) message as whole nanoseconds, to be compared without rounding."""
    return int(duration.seconds) * _NANOS + int(duration.nanos)


def _itself(value: Any) -> Any:
    return value


def show_duration(value: int) -> str:
    """`1.5s`, as a duration is written in JSON."""
    seconds, rest = divmod(abs(value), _NANOS)
    digits = f".{rest:09d}".rstrip("0").rstrip(".")
    return f"{'-' if value < 0 else ''}{seconds}{digits}s"


def value_check(rules: Message, enum: EnumDescriptor | None = None) -> Check | None:
    """The check that a rules message of a scalar, a duration, a timestamp or an Any stands for; None if it has none.

    `enum` is the type of an enum field.
    """
    tests = tuple(_tests(rules, enum))
    if not tests:
        return None
    ignore_empty = getattr(rules, "ignore_empty", False)

    def check(value: Any) -> Problem | None:
        for holds, rule in tests:
            if not holds(value):
                return None if ignore_empty and not value else Problem(rule, shown(value, rule))
        return None

    def shown(value: Any, rule: str) -> str:
        if rule == _NOT_EMPTY:
            return ""
        return _names((value,), enum) if enum else show(value)

    return check


def _tests(rules: Message, enum: EnumDescriptor | None) -> Iterator[Test]:
    given = {field.name: value for field, value in rules.ListFields()}
    kind = rules.DESCRIPTOR.name
    if not _BOUNDS.keys().isdisjoint(given):
        yield _range(given, nanos if kind in {"DurationRules", "TimestampRules"} else _itself)
    for name, wanted in given.items():
        if name in _BOUNDS or name in _MODIFIERS:
            continue
        if name == "well_known_regex":
            yield _header(wanted, strict=given.get("strict", True))
        elif enum is not None and name in _ENUM_TESTS:
            yield _ENUM_TESTS[name](wanted, enum)
        elif kind == "AnyRules" and name in _ANY_TESTS:
            yield _ANY_TESTS[name](wanted)
        elif kind == "BytesRules" and name in _BYTES_TESTS:
            yield _BYTES_TESTS[name](wanted)
        elif kind not in {"AnyRules", "DurationRules", "TimestampRules"} and name in _TESTS:
            yield _TESTS[name](wanted)
        else:
            raise NotImplementedError(f"the validation rule {kind}.{name}")


_BOUNDS: Mapping[str, tuple[Callable[[Any, Any], bool], str]] = {
    "gt": (operator.gt, "more than"),
    "gte": (operator.ge, "at least"),
    "lt": (operator.lt, "less than"),
    "lte": (operator.le, "at most"),
}


def _range(given: Mapping[str, Any], key: Callable[[Any], Any]) -> Test:
    """One bound or two. Two that exclude each other (at most 0s, at least 1ms) mean that either will do."""
    names = [name for name in _BOUNDS if name in given]
    tests = [_bound(*_BOUNDS[name], given[name], key) for name in names]
    if len(tests) == 1:
        return tests[0][0], f"must be {tests[0][1]}"
    (above, least), (below, most) = tests
    if key(given[names[0]]) >= key(given[names[1]]):
        return (lambda value: above(value) or below(value)), f"must be {most} or {least}"
    return (lambda value: above(value) and below(value)), f"must be {least} and {most}"


def _bound(holds: Callable[[Any, Any], bool], words: str, limit: Any, key: Callable[[Any], Any]) -> Test:
    plain = key(limit)
    return (lambda value: holds(key(value), plain)), f"{words} {show(limit)}"


def _header(wanted: int, strict: bool) -> Test:
    part = "name" if wanted == KnownRegex.HTTP_HEADER_NAME else "value"
    if not strict:
        words = f"must be usable in a header {part}: no NUL, line feed or carriage return"
        return (lambda value: "\n" not in value and "\r" not in value and "\0" not in value), words
    holds, _ = _pattern(_HEADER_NAME if part == "name" else _HEADER_VALUE)
    return holds, f"must be a valid header {part}"


def _pattern(wanted: Any) -> Test:
    search = re2.compile(wanted).search
    return (lambda value: search(value) is not None), f"must match {show(wanted)}"


def _size(words: str, unit: str, compare: Callable[[int, int], bool], encoded: bool = False) -> Callable[[Any], Test]:
    def make(wanted: int) -> Test:
        rule = f"{words} {wanted} {unit}" if wanted > 1 else f"{words} {wanted} {unit.removesuffix('s')}"
        if words == "must have at least" and wanted == 1:
            rule = _NOT_EMPTY
        if encoded:
            return (lambda value: compare(len(value.encode()), wanted)), rule
        return (lambda value: compare(len(value), wanted)), rule

    return make


def _one_of(wanted: Iterable[Any]) -> Test:
    members = tuple(wanted)
    return (lambda value: value in members), f"must be one of {_listed(members)}"


def _none_of(wanted: Iterable[Any]) -> Test:
    members = tuple(wanted)
    return (lambda value: value not in members), f"must not be one of {_listed(members)}"


def _listed(members: Iterable[Any]) -> str:
    return ", ".join(show(member) for member in members)


_TESTS: Mapping[str, Callable[[Any], Test]] = {
    "const": lambda wanted: ((lambda value: value == wanted), f"must be {show(wanted)}"),
    "in": _one_of,
    "not_in": _none_of,
    "len": _size("must have exactly", "characters", operator.eq),
    "min_len": _size("must have at least", "characters", operator.ge),
    "max_len": _size("must have at most", "characters", operator.le),
    "len_bytes": _size("must have exactly", "bytes", operator.eq, encoded=True),
    "min_bytes": _size("must have at least", "bytes", operator.ge, encoded=True),
    "max_bytes": _size("must have at most", "bytes", operator.le, encoded=True),
    "pattern": _pattern,
    "prefix": lambda wanted: ((lambda value: value.startswith(wanted)), f"must start with {show(wanted)}"),
    "suffix": lambda wanted: ((lambda value: value.endswith(wanted)), f"must end with {show(wanted)}"),
    "contains": lambda wanted: ((lambda value: wanted in value), f"must contain {show(wanted)}"),
    "not_contains": lambda wanted: ((lambda value: wanted not in value), f"must not contain {show(wanted)}"),
}


_BYTES_TESTS: Mapping[str, Callable[[Any], Test]] = {
    "len": _size("must have exactly", "bytes", operator.eq),
    "min_len": _size("must have at least", "bytes", operator.ge),
    "max_len": _size("must have at most", "bytes", operator.le),
}


def _defined(wanted: bool, enum: EnumDescriptor) -> Test:
    known = frozenset(enum.values_by_number) if wanted else None
    return (lambda value: known is None or value in known), f"must be a defined value of {enum.name}"


def _names(wanted: Iterable[int], enum: EnumDescriptor) -> str:
    by_number = enum.values_by_number
    return ", ".join(by_number[number].name if number in by_number else str(number) for number in wanted)


_ENUM_TESTS: Mapping[str, Callable[[Any, EnumDescriptor], Test]] = {
    "const": lambda wanted, enum: ((lambda value: value == wanted), f"must be {_names((wanted,), enum)}"),
    "defined_only": _defined,
    "in": lambda wanted, enum: (_one_of(wanted)[0], f"must be one of {_names(wanted, enum)}"),
    "not_in": lambda wanted, enum: (_none_of(wanted)[0], f"must not be one of {_names(wanted, enum)}"),
}


def _of_types(test: Test) -> Test:
    holds, rule = test
    return (lambda value: holds(value.type_url)), rule


_ANY_TESTS: Mapping[str, Callable[[Any], Test]] = {
    "in": lambda wanted: _of_types(_one_of(wanted)),
    "not_in": lambda wanted: _of_types(_none_of(wanted)),
}
