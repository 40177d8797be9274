"""The command line of local Envoys."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.supervise.test_envoys import BINARY
from xds_server.graph import Process
from xds_server.supervise.command import Launch, Seat, command_of

TRUSTING = "--ignore-unknown-dynamic-fields"


def words(binary: Path, *arguments: str) -> list[str]:
    launch = Launch("default/edge", "edge", "", Process(arguments=arguments))
    return command_of(binary, Path("/state"), Seat("1"), launch)


def says(folder: Path, text: str) -> Path:
    """A program that says this whatever it is asked."""
    program = folder / "envoy"
    program.write_text(f"#!/bin/sh\necho '{text}'\n", encoding="utf-8")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("arguments", [(), (TRUSTING,), ("--skip-deprecated-logs",)])
def test_the_envoy_of_this_release_need_not_look_for_fields_that_it_does_not_know(arguments: tuple[str, ...]) -> None:
    found = words(BINARY, *arguments)
    assert found.count(TRUSTING) == 1
    assert set(arguments) <= set(found)


@pytest.mark.parametrize("version", ["1.39.0", "1.41.0", "1.40.0-dev", "11.40.0"])
def test_any_other_envoy_logs_them(tmp_path: Path, version: str) -> None:
    other = says(tmp_path, f"envoy  version: 9e5580933739/{version}/Clean/RELEASE/BoringSSL")
    assert TRUSTING not in words(other)
    assert TRUSTING in words(other, TRUSTING), "what an EnvoyProxy says counts"


def test_a_binary_that_cannot_say_its_version_is_another(tmp_path: Path) -> None:
    assert TRUSTING not in words(tmp_path / "gone")


def test_an_envoy_that_runs_differently_has_another_hash(tmp_path: Path) -> None:
    launch = Launch("default/edge", "edge", "", Process())
    told = Launch("default/edge", "edge", "", Process(arguments=(TRUSTING,)))
    other = says(tmp_path, "1.39.0")
    assert launch.digest(BINARY) == told.digest(BINARY)
    assert launch.digest(other) != told.digest(other)
