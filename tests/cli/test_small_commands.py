"""`cellway check` without a server, `completion` and `config show`, as processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_commands import BINARY, cellway

COMMAND = Path(sys.executable).with_name("cellway")


def test_check_of_this_machine() -> None:
    done = cellway("check", "--no-server", "--envoy", str(BINARY))
    assert done.returncode == 0, done.stdout
    said = {line.split()[1]: line.split()[0] for line in done.stdout.splitlines()}
    assert (said["python:"], said["packages:"], said["envoy:"]) == ("ok", "ok", "ok")


def test_check_of_a_server_that_is_not_there_fails() -> None:
    done = cellway("check", "--admin", "127.0.0.1:1", "--xds", "127.0.0.1:1", "-o", "json")
    failed = [one for one in json.loads(done.stdout)["items"] if one["state"] == "failed"]
    assert (done.returncode, [one["what"] for one in failed]) == (1, ["server", "xds"])
    assert {one["page"] for one in failed} == {"docs/operations.md#ports"}
    assert cellway("check", "--admin", "nowhere").returncode == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    done = cellway("completion", shell)
    assert (done.returncode, "_CELLWAY_COMPLETE" in done.stdout) == (0, True)


def test_completion_is_of_commands_and_options() -> None:
    def completed(words: str, number: int) -> set[str]:
        asked = {"_CELLWAY_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(number)}
        environment = {**os.environ, **asked}
        done = subprocess.run([COMMAND], env=environment, capture_output=True, text=True, check=False, timeout=60)
        return set(done.stdout.split())

    assert completed("cellway val", 1) == {"validate"}
    assert "--with-envoy" in completed("cellway validate --w", 2)


def test_config_show_says_who_says_it() -> None:
    done = cellway("config", "show", "--stage", "dev", "-o", "json", env={"CELLWAY_XDS": "127.0.0.9:18000"})
    items = {one["option"]: (one["value"], one["from"]) for one in json.loads(done.stdout)["items"]}
    assert items["--stage"] == (["dev"], "flag")
    assert items["--xds"] == ("127.0.0.9:18000", "environment, CELLWAY_XDS")
    assert items["--log-level"] == ("info", "default")
    both = cellway("config", "show", "--xds", "127.0.0.8:1", env={"CELLWAY_XDS": "127.0.0.9:18000"}).stdout
    assert next(line.split() for line in both.splitlines() if "--xds " in line) == ["--xds", "127.0.0.8:1", "flag"]
    assert "--envoy" not in cellway("config", "show", "--for", "serve").stdout
    assert cellway("config", "show", "--nonsense").returncode == 2
