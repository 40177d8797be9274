"""`cellway diff`: what it prints, and what its exit code says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.changes.test_comparison import EDGE, KEYS, ROUTE, SHADOW
from xds_server.cli.main import application


@pytest.fixture
def folders(tmp_path: Path) -> tuple[str, str]:
    """Two folders: the second has a later timeout."""
    for name, text in (("a", EDGE + ROUTE), ("b", EDGE + ROUTE.replace("3s", "5s"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "web.yaml").write_text(text, encoding="utf-8")
    return str(tmp_path / "a"), str(tmp_path / "b")


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(application, ["diff", *words])
    return done.exit_code, done.output


def test_two_folders(folders: tuple[str, str]) -> None:
    a, b = folders
    code, said = run(a, b)
    assert code == 1
    assert f'spec.rules[0].timeouts.request: "3s" ({a}/web.yaml:27:25) -> "5s" ({b}/web.yaml:27:25)' in said
    assert "RouteConfiguration" not in said
    assert "changed RouteConfiguration default/edge/http-8080 of default/edge" in run(a, b, "--xds")[1]
    assert run(a, a, "--xds") == (0, "no difference\n")
    answer = json.loads(run(a, b, "-o", "json")[1])
    assert (answer["same"], answer["objects"][0]["changes"][0]["new"]) == (False, "5s")


def test_shadows_of_a_folder(folders: tuple[str, str]) -> None:
    a, _ = folders
    assert run(a, "--shadow") == (0, "no difference\n")
    Path(a, "later.yaml").write_text(SHADOW + "---\n" + KEYS.replace("PLANTED", "hidden-value"), encoding="utf-8")
    code, said = run(a, "--shadow", "--xds")
    assert code == 1
    assert "added   BackendTrafficPolicy default/later" in said
    assert "hidden-value" not in said


@pytest.mark.parametrize("words", [[], ["a", "b", "c"], ["nowhere", "nowhere"], ["--shadow", "a", "b"]])
def test_what_cannot_be_compared_is_trouble(words: list[str]) -> None:
    assert run(*words)[0] == 2


def test_nobody_to_ask_is_trouble(folders: tuple[str, str]) -> None:
    assert run(folders[0], "--admin", "127.0.0.1:1")[0] == 2
