"""docs/commands.md has a section for every command, which names every option of it, and no other."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer.main

from tests.docs.pages import ROOT
from xds_server.cli.main import application

PAGE = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
SHARED = PAGE.partition("\n## ")[0]
SECTIONS = dict(re.findall(r"^## ([^\n]*)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def tree(group: Any, above: str = "") -> dict[str, Any]:
    """All commands by what is typed after `cellway`."""
    found: dict[str, Any] = {}
    for name, one in group.commands.items():
        found |= tree(one, f"{above}{name} ") if hasattr(one, "commands") else {f"{above}{name}": one}
    return found


COMMANDS = tree(typer.main.get_command(application))


def options(command: Any) -> set[str]:
    """The long names of a command's options."""
    return {max(one.opts, key=len) for one in command.params if one.param_type_name == "option"}


def named(text: str) -> set[str]:
    """The options in the first column of tables."""
    cells = re.findall(r"^\| (`[^|]*`) \|", text, re.MULTILINE)
    return {one for cell in cells for one in re.findall(r"--[\w-]+", cell)}


def test_every_command_has_a_section() -> None:
    assert list(SECTIONS) == sorted(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_section_names_every_option_and_has_an_example(name: str) -> None:
    assert f"    cellway {name}" in SECTIONS[name]
    assert options(COMMANDS[name]) - named(SECTIONS[name]) - named(SHARED) == {"--help"} & options(COMMANDS[name])


@pytest.mark.parametrize("name", COMMANDS)
def test_a_section_names_no_option_that_is_not_there(name: str) -> None:
    assert named(SECTIONS[name]) - options(COMMANDS[name]) == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example(name: str) -> None:
    assert f"Example: cellway {name}" in COMMANDS[name].help


def test_the_front_page_names_every_command() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Commands\n")[2].partition("\n## ")[0]
    said = {word for span in re.findall(r"`([^`]+)`", text) for word in span.split()}
    assert {name for name in COMMANDS if name.split()[0] not in said} == set()
