"""Replacing prefixes: a property against the plain definition, and regular expressions that Envoy would refuse."""

from __future__ import annotations

import re2
from hypothesis import given
from hypothesis import strategies as st

from xds_server.features.parts.paths import PathChange, replace_all, replace_prefix
from xds_server.features.parts.patterns import escape, regex_problem
from xds_server.features.parts.values import duration, literal

ELEMENTS = st.lists(st.text("ab.*-()é+", min_size=1, max_size=9), max_size=14)
ENDS = st.sampled_from(["", "/"])


def as_envoy(path: str, matched: str, change: PathChange) -> str:
    """What Envoy makes of a path, by the documentation of its rewrites."""
    if change.prefix:
        prefix = matched.rstrip("/") or "/"
        return change.prefix + path.removeprefix(prefix)
    if change.pattern:
        return str(re2.compile(change.pattern).sub(change.substitution, path))
    return path


@given(ELEMENTS, ENDS, ELEMENTS, ENDS, ELEMENTS, ENDS)
def test_a_prefix_is_replaced_by_whole_elements(
    matched: list[str], end: str, replacement: list[str], other: str, rest: list[str], last: str
) -> None:
    prefix = "/" + "/".join(matched) + (end if matched else "")
    wanted = ("/" + "/".join(replacement)) if replacement else other
    path = "/" + "/".join([*matched, *rest]) + (last if matched or rest else "")
    change = replace_prefix(prefix, wanted)
    tail = path.removeprefix(prefix.rstrip("/"))
    assert as_envoy(path, prefix, change) == (wanted.rstrip("/") + tail or "/")


@given(st.text("ab/", max_size=300))
def test_the_expression_is_never_too_big_for_reasonable_paths(path: str) -> None:
    change = replace_prefix("/" + path.strip("/")[:60], "/")
    assert not change.pattern or not regex_problem(change.pattern)


@given(st.text(max_size=40), st.text(max_size=40))
def test_an_escaped_text_fits_itself_only(text: str, other: str) -> None:
    compiled = re2.compile(escape(text))
    assert compiled.fullmatch(text)
    assert bool(compiled.fullmatch(other)) == (text == other)


@given(st.text("%ab(", max_size=20))
def test_no_operator_survives(text: str) -> None:
    doubled = literal(text)
    assert doubled.replace("%%", "") == text.replace("%", "")
    assert doubled.replace("%%", "%") == text


def test_a_full_path_is_literal() -> None:
    assert as_envoy("/x", "", replace_all(r"/a\1\\b")) == r"/a\1\\b"
    assert as_envoy("/x", "", replace_all("")) == "/"


def test_regular_expressions_are_checked_as_envoy_does() -> None:
    assert not regex_problem("a{96}")
    assert "101" in regex_problem("a{97}")
    assert regex_problem("(?=a)")
    assert regex_problem("a" * 2000)


def test_durations_keep_milliseconds() -> None:
    assert duration(1.5).ToMilliseconds() == 1500
    assert duration(0.001).ToMilliseconds() == 1
