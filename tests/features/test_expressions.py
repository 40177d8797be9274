"""Expressions in CEL that are refused, each with a reason: Envoy would refuse them, or never find them true."""

from __future__ import annotations

import pytest

from xds_server.features.parts.expressions import asks_for_path, parse_expression


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("1 +", "Syntax error"),
        ("request.path", "true or false"),
        ("request.pth == '/'", "undefined field 'pth'"),
        ("response.code == 200", "undeclared reference to 'response"),
        ("request.size > '1'", "no matching overload"),
        ("request.path.up() == 'A'", "undeclared reference to 'up'"),
        ("request.headers.exists(k, k == 'x')", "Envoy has no all"),
        ("string(request.size) == '1'", "Envoy has no string()"),
        ("request.path + 'x' == '/x'", "with +"),
        ("request.path.matches('(?=a)')", "regular expression"),
        ("request.path.matches('a{100}')", "size"),
        ("(" * 100 + "true" + ")" * 100, "recursion"),
        ("request.path == 'a\nb'", "Syntax error"),
        ("google.protobuf.Timestamp{seconds: 1} == request.time", "no messages"),
    ],
)
def test_what_envoy_cannot_do_is_refused(expression: str, reason: str) -> None:
    problem = parse_expression(expression)
    assert isinstance(problem, str)
    assert reason in problem
    assert "\n" not in problem


@pytest.mark.parametrize(
    ("expression", "asks"),
    [
        ("request.path == '/a'", True),
        ("request.url_path.startsWith('/a')", True),
        ("request.headers[':path'] == '/a'", True),
        ("request.headers[':PATH'] == '/a'", True),
        ("request.host == 'a.example'", False),
    ],
)
def test_rules_on_paths_are_known(expression: str, asks: bool) -> None:
    parsed = parse_expression(expression)
    assert not isinstance(parsed, str)
    assert asks_for_path(parsed) == asks
