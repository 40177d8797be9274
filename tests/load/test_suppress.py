"""Suppressions: warnings of their own object and no other, never an error, and none that suppresses nothing."""

from __future__ import annotations

from xds_server.compile import Options, compile_objects
from xds_server.diagnostics import Diagnostic
from xds_server.load.objects import parse_documents_of
from xds_server.load.suppress import suppressed, why_not_ignored
from xds_server.load.yaml import parse_file

ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %s, annotations: {%s}}
spec: {rules: [{}]}
"""


def found(*routes: tuple[str, str]) -> list[Diagnostic]:
    return found_in("---".join(ROUTE % (name, notes) for name, notes in routes))


def found_in(text: str) -> list[Diagnostic]:
    read = parse_file("a.yaml", text.encode())
    objects = parse_documents_of(read.documents, read.broken)
    compiled = compile_objects(objects.objects, Options())
    return list(suppressed((*read.diagnostics, *objects.diagnostics, *compiled.diagnostics), read.documents))


def said(problems: list[Diagnostic]) -> list[tuple[str, str]]:
    return [(one.code, one.subject) for one in problems]


def test_a_suppression_is_for_its_own_object() -> None:
    problems = found(("a", "cellway.dev/suppress: A111"), ("b", "x: z"))
    assert said(problems) == [("A111", "HTTPRoute default/b")]


def test_several_codes_and_those_that_suppress_nothing_are_told() -> None:
    problems = found(("a", 'cellway.dev/suppress: "A111, A122"'))
    assert [str(one) for one in problems] == [
        "a.yaml:4:57: warning M108 the annotation cellway.dev/suppress: A122 is not found here, so nothing is suppressed"
    ]


def test_errors_stay() -> None:
    text = ROUTE % ("a", "cellway.dev/suppress: M110") + "  parentrefs: []\n"
    problems = found_in(text.replace("{rules: [{}]}", "\n  rules: [{}]"))
    assert [one.code for one in problems] == ["M110", "M108"]
    assert "M110 is an error, and errors cannot be suppressed" in problems[-1].message


def test_what_is_no_object_of_ours_has_suppressions_too() -> None:
    text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a, annotations: {cellway.dev/suppress: M107}}\n"
    assert found_in(text) == []


def test_an_unknown_code_and_an_empty_one_are_told() -> None:
    assert "there is no code 'X1'" in found(("a", 'cellway.dev/suppress: "A111,X1"'))[0].message
    assert "there is no code ''" in found(("a", "cellway.dev/suppress: ''"))[-1].message


def test_only_warnings_and_infos_can_be_left_out_of_a_run() -> None:
    assert why_not_ignored(["A111", "C121"]) == ""
    assert "M110 is an error" in why_not_ignored(["A111", "M110"])
    assert "there is no code" in why_not_ignored(["nonsense"])
