"""What a plain (unquoted) YAML scalar means: null, true, false, a number as JSON writes it, or text.

In: the characters of the scalar. Out: a value, or what other readers would make of it. YAML 1.1 reads `no` as
false, `22:22` as 1342, `010` as 8 and `2024-01-01` as a date; YAML 1.2 reads text. Whoever writes one of these
must say which: they are refused as values. Values of 64 bits are the limit, as in every consumer of JSON.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

Scalar = str | int | float | bool | None

_INT = re.compile(r"-?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_NUMBER_START = frozenset("+-.0123456789")
_LARGEST, _SMALLEST = 2**64 - 1, -(2**63)
_INTEGER_DIGITS, _FRACTION_DIGITS = 20, 400  # longer ones are not even converted

_WORDS: Mapping[str, Scalar] = {"": None, "~": None, "null": None, "true": True, "false": False}
_TRUE = ("yes", "Yes", "YES", "on", "On", "ON", "y", "Y", "True", "TRUE")
_FALSE = ("no", "No", "NO", "off", "Off", "OFF", "n", "N", "False", "FALSE")
_LOOK_ALIKE_WORDS: Mapping[str, str] = {
    **dict.fromkeys(_TRUE, "true"),
    **dict.fromkeys(_FALSE, "false"),
    **dict.fromkeys(("Null", "NULL"), "null"),
}
_LOOK_ALIKES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"), "a number to the base 60"),
    (re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}"), "a date"),
    (
        re.compile(
            r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?"
            r"[ \t]*(?:Z|[-+][0-9]{1,2}(?::?[0-9]{2})?)?"
        ),
        "a date",
    ),
    (re.compile(r"[-+]?0[xX][0-9a-fA-F_]+"), "a hexadecimal number"),
    (re.compile(r"[-+]?0[bB][01_]+"), "a binary number"),
    (re.compile(r"[-+]?0[oO]?[0-7_]+"), "an octal number"),
    (re.compile(r"[-+]?\.(?:inf|Inf|INF)"), "infinity"),
    (re.compile(r"\.(?:nan|NaN|NAN)"), "not a number"),
    (re.compile(r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?"), "a number"),
)


@dataclass(frozen=True, slots=True)
class LookAlike:
    """A scalar that readers disagree about. `instead` is how its likely meaning is written; empty if nobody can know."""

    meaning: str
    instead: str = ""


@dataclass(frozen=True, slots=True)
class TooLarge:
    """A number that does not fit into 64 bits."""

    reason: str


def plain(text: str) -> Scalar | LookAlike | TooLarge:
    """The meaning of a plain scalar."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in _NUMBER_START:
        return _number(text)
    if (meaning := _LOOK_ALIKE_WORDS.get(text)) is not None:
        return LookAlike(meaning, meaning)
    return text


def plain_key(text: str) -> str | None:
    """What a plain scalar would be if it were no key, in words; None for text. Words such as `on` are text as keys."""
    if text in _LOOK_ALIKE_WORDS:
        return None
    meaning = plain(text)
    if isinstance(meaning, str):
        return None
    if isinstance(meaning, LookAlike):
        return meaning.meaning
    if meaning is None:
        return "null"
    return str(meaning).lower() if isinstance(meaning, bool) else "a number"


def _number(text: str) -> Scalar | LookAlike | TooLarge:
    if _INT.fullmatch(text):
        return integer(text)
    if _FLOAT.fullmatch(text):
        return fraction(text)
    for pattern, meaning in _LOOK_ALIKES:
        if pattern.fullmatch(text):
            return LookAlike(meaning, _decimal(text) if meaning == "a number" else "")
    return text


def integer(text: str) -> int | TooLarge:
    """An integer as JSON writes it, if it fits into 64 bits."""
    if len(text) <= _INTEGER_DIGITS and _SMALLEST <= (value := int(text)) <= _LARGEST:
        return value
    return TooLarge("integers have 64 bits")


def fraction(text: str) -> float | TooLarge:
    """A number with a point or an exponent as JSON writes it, if it is finite as a double."""
    if len(text) > _FRACTION_DIGITS:
        return TooLarge(f"it has more than {_FRACTION_DIGITS} digits")
    value = float(text)
    return value if abs(value) != float("inf") else TooLarge("it is larger than a double")


def _decimal(text: str) -> str:
    """`+1_000` as `1000`, `.5` as `0.5`; empty where that gives no JSON number."""
    number = text.lstrip("+").replace("_", "")
    if number.startswith((".", "-.")):
        number = number.replace(".", "0.", 1)
    return number if _FLOAT.fullmatch(number) else ""
