"""String matchers and the check of regular expressions that users write.

In: a pattern, a place to complain. Out: Envoy matchers. A pattern that Envoy's RE2 would refuse (look-around, a
program above its limit) is reported here, since one such pattern makes Envoy refuse all routes of a table. Python's
own engine never sees a user's pattern.
"""

from __future__ import annotations

from typing import Annotated, Literal

import re2
from pydantic import Field

from xds_server.envoy_api.envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from xds_server.envoy_api.envoy.type.matcher.v3.string_pb2 import StringMatcher
from xds_server.features.contract import Context
from xds_server.spec import Spec, Text

PROGRAM_SIZE = 100
"""Envoy's default for `re2.max_program_size.error_level`."""
LENGTH = 1024


class StringMatchSpec(Spec):
    """A text comparison: the whole text, its start, its end, or an RE2 expression for the whole text."""

    type: Literal["Exact", "Prefix", "Suffix", "RegularExpression"] = "Exact"
    value: Annotated[Text, Field(min_length=1, max_length=LENGTH)]


def regex_problem(pattern: str) -> str:
    """Why Envoy would refuse this expression; empty if it takes it."""
    if len(pattern) > LENGTH:
        return f"it has {len(pattern)} characters, at most {LENGTH} are allowed"
    options = re2.Options()
    options.log_errors = False
    try:
        size = re2.compile(pattern, options).programsize
    except re2.error as error:
        reason = error.args[0] if error.args else "not RE2 syntax"
        return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
    if size > PROGRAM_SIZE:
        return f"its RE2 program has size {size}, Envoy takes at most {PROGRAM_SIZE}"
    return ""


def check_regex(context: Context, pattern: str, *path: str | int) -> bool:
    """True if Envoy takes the expression; else the problem is reported."""
    problem = regex_problem(pattern)
    if problem:
        context.problem("F100", *path, pattern=pattern, reason=problem)
    return not problem


def escape(text: str) -> str:
    """An RE2 expression that fits exactly this text."""
    return str(re2.escape(text))


def exact(text: str) -> StringMatcher:
    """Fits this text only."""
    return StringMatcher(exact=text)


def regex(pattern: str) -> StringMatcher:
    """Fits when the expression covers the whole text."""
    return StringMatcher(safe_regex=RegexMatcher(regex=pattern))


def string_matcher(kind: str, value: str) -> StringMatcher:
    """The matcher of a type as `StringMatchSpec` spells it."""
    if kind == "Prefix":
        return StringMatcher(prefix=value)
    if kind == "Suffix":
        return StringMatcher(suffix=value)
    return regex(value) if kind == "RegularExpression" else exact(value)
