"""`cellway check` without a server, `completion` and `config show`, as processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_commands import BINARY
from tests.commands import cellway

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


ODD = "kind: Namespace   # odd\napiVersion: v1\nmetadata:\n    # its name\n    name: shop\n"
EVEN = "apiVersion: v1\nkind: Namespace   # odd\nmetadata:\n  # its name\n  name: shop\n"


def test_fmt_lays_files_out_and_checks_without_writing(tmp_path: Path) -> None:
    path, other = tmp_path / "odd.yaml", tmp_path / "even.yml"
    path.write_text(ODD, encoding="utf-8")
    other.write_text(EVEN, encoding="utf-8")
    (tmp_path / "data.json").write_text('{ "a":1 }', encoding="utf-8")
    path.chmod(0o640)
    done = cellway("fmt", "--check", str(tmp_path))
    assert (done.returncode, done.stdout, path.read_text(encoding="utf-8")) == (1, f"would change {path}\n", ODD)
    done = cellway("fmt", str(tmp_path), "-o", "json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"changed": [str(path)], "problems": []})
    assert (path.read_text(encoding="utf-8"), path.stat().st_mode & 0o777) == (EVEN, 0o640)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["data.json", "even.yml", "odd.yaml"]
    done = cellway("fmt", "--check", str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "")


def test_fmt_of_stdin_and_of_what_is_no_yaml(tmp_path: Path) -> None:
    assert cellway("fmt", "-", given=ODD).stdout == EVEN
    path = tmp_path / "broken.yaml"
    path.write_text("a: [1\n", encoding="utf-8")
    done = cellway("fmt", str(path))
    assert (done.returncode, path.read_text(encoding="utf-8")) == (2, "a: [1\n")
    assert f"cellway: {path}:" in done.stderr
    assert "L101" in done.stderr
    assert cellway("fmt", str(tmp_path / "nowhere")).returncode == 2
