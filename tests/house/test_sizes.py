"""No file and no function grows past what one person reads in one go.

In: the Python files of this repository without the generated ones. Out: a list of what is too long. The
aim of the style is 300 and 40 lines; this gate stands at 500 and 80, where splitting can no longer wait.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE_LINES = 500
FUNCTION_LINES = 80
GENERATED = ROOT / "xds_server" / "envoy_api"


def python_files() -> Iterator[Path]:
    """Every Python file that people write."""
    yield from ROOT.glob("*.py")
    for folder in ("xds_server", "tests", "protos", "bench"):
        yield from (path for path in (ROOT / folder).rglob("*.py") if not path.is_relative_to(GENERATED))


def too_long(source: str) -> Iterator[str]:
    """What in this source is over a limit, as sentences."""
    lines = len(source.splitlines())
    if lines > FILE_LINES:
        yield f"the file has {lines} lines"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                yield f"{node.name}() has {length} lines"


def test_no_file_and_no_function_is_too_long() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {fault}"
        for path in python_files()
        for fault in too_long(path.read_text(encoding="utf-8"))
    ]
    assert not found


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("x = 1\n" * (FILE_LINES + 1), "the file has 501 lines"),
        ("async def f():\n" + "    x = 1\n" * FUNCTION_LINES, "f() has 81 lines"),
    ],
    ids=["file", "function"],
)
def test_the_gate_sees_what_is_too_long(source: str, fault: str) -> None:
    assert list(too_long(source)) == [fault]
