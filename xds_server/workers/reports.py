"""What a process that serves says, as JSON: whoever reads it takes nothing but what the fields of its classes may hold.

In: a frozen dataclass of strings, numbers and others such; bytes. Out: bytes; an equal one. Bytes that are not exactly what the
class says are a ValueError: so a process that was taken over, or is mad, can tell untruths, and do no more.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import cache
from types import UnionType
from typing import Any, TypeAlias, Union, get_args, get_origin, get_type_hints

from xds_server.serve.records import RefusalRecord
from xds_server.snapshot.resource import TYPES

_MOST = 2**63
"""Beyond the largest number."""
Maker: TypeAlias = Callable[[Any, Sequence[Any]], Any]
"""Makes a value of what JSON says; with it, the refusals that many records share."""


def write_report(name: str, report: Any) -> bytes:
    """A report, with the name of its class."""
    shared: dict[RefusalRecord, int] = {}
    said = [_plain(getattr(report, one), shared) for one in _names(report.__class__)]
    refusals = [[_plain(getattr(refusal, one), shared) for one in _names(RefusalRecord)] for refusal in shared]
    return json.dumps([name, refusals, said], separators=(",", ":"), allow_nan=False).encode()


def read_report(body: bytes, classes: Mapping[str, type]) -> object:
    """A report of one of these classes. Raises ValueError, or another Exception, for anything else."""
    name, refusals, said = json.loads(body)
    made = classes.get(_text(name, ()))
    if made is None:
        raise ValueError("this is nobody's report")
    refusal = _object(RefusalRecord)
    return _object(made)(said, [refusal(one, ()) for one in _listed(refusals)])


@cache
def _names(one: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(one))


def _plain(given: Any, shared: dict[RefusalRecord, int]) -> Any:
    if given is None or isinstance(given, str | int | float):
        return given
    if isinstance(given, RefusalRecord):
        return shared.setdefault(given, len(shared))
    if isinstance(given, Mapping):
        return [[_plain(key, shared), _plain(value, shared)] for key, value in given.items()]
    if isinstance(given, Sequence):
        return [_plain(one, shared) for one in given]
    return [_plain(getattr(given, one), shared) for one in _names(given.__class__)]


# -- makers ----------------------------------------------------------------------------------------------------


@cache
def _maker(hint: Any) -> Maker:
    origin, parts = get_origin(hint), get_args(hint)
    if origin in {Union, UnionType}:
        return _optional(parts)
    if origin is tuple:
        return _many(parts[0]) if parts[-1] is Ellipsis else _row(parts)
    if origin is Counter:
        counted = _mapping(parts[0], int)
        return lambda given, shared: Counter(counted(given, shared))
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(*parts)
    if hint is RefusalRecord:
        return _shared
    scalar = _SCALARS.get(hint)
    return _object(hint) if scalar is None else scalar


def _optional(parts: Sequence[Any]) -> Maker:
    """Of several, the first: no report has a whole resource."""
    one, other = _maker(parts[0]), type(None) in parts
    return lambda given, shared: None if given is None and other else one(given, shared)


def _many(part: Any) -> Maker:
    one = _maker(part)
    return lambda given, shared: tuple([one(value, shared) for value in _listed(given)])


def _row(parts: Sequence[Any]) -> Maker:
    makers = [_maker(one) for one in parts]
    return lambda given, shared: tuple([one(value, shared) for one, value in zip(makers, _listed(given), strict=True)])


def _mapping(key: Any, value: Any) -> Maker:
    pair = _row((key, value))
    return lambda given, shared: dict([pair(one, shared) for one in _listed(given)])


@cache
def _object(made: Any) -> Maker:
    hints = get_type_hints(made)
    row = [_type_url if name == "type_url" else _maker(hints[name]) for name in _names(made)]
    return lambda given, shared: made(*[one(value, shared) for one, value in zip(row, _listed(given), strict=True)])


def _shared(given: Any, shared: Sequence[Any]) -> Any:
    return shared[_natural(given, ())]


def _listed(given: Any) -> list[Any]:
    if type(given) is not list:
        raise ValueError("not a list")
    return given


def _text(given: Any, _shared: Sequence[Any]) -> str:
    if type(given) is not str:
        raise ValueError("not a text")
    return given if given.isascii() else given.encode("utf-8", "replace").decode()


def _type_url(given: Any, _shared: Sequence[Any]) -> str:
    if given not in TYPES:
        raise ValueError("not a type")
    return str(given)


def _natural(given: Any, _shared: Sequence[Any]) -> int:
    if type(given) is not int or not 0 <= given < _MOST:
        raise ValueError("not a number of things")
    return given


def _seconds(given: Any, _shared: Sequence[Any]) -> float:
    if type(given) not in {int, float} or not math.isfinite(given):
        raise ValueError("not a time")
    return float(given)


def _truth(given: Any, _shared: Sequence[Any]) -> bool:
    if type(given) is not bool:
        raise ValueError("neither true nor false")
    return given


_SCALARS: Mapping[Any, Maker] = {str: _text, int: _natural, float: _seconds, bool: _truth}
