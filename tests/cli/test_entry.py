"""The entry point makes ready what is asked for, and no command is lost by that."""

from __future__ import annotations

import subprocess
import sys

import pytest


def said(*words: str) -> str:
    command = [sys.executable, "-m", "xds_server.cli.main", *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    return f"{done.returncode} {done.stdout}{done.stderr}"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["version"], "0 cellway "),
        (["wait", "--help"], "main wait "),
        (["serve", "--help"], "main serve "),
        (["export", "--help"], "main export "),
        (["sreve"], "Did you mean 'serve'?"),
    ],
)
def test_every_command_is_found(words: list[str], expected: str) -> None:
    assert expected in said(*words)
