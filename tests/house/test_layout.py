"""The layout that packaging rests on: which folders hold what, who owns which file, what is never committed.

In: the files of this checkout, the distributions of the running environment. Out: failures that name the
path. Refuses a Python package `envoy` or `protos` (it would shadow an installed one), two distributions that
write the same file, and committed text that names a package index or a place on somebody's machine.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections import defaultdict
from importlib import metadata
from pathlib import Path

import pytest

import xds_server

ROOT = Path(__file__).resolve().parents[2]

# Put together from parts, so that this file does not name what it forbids.
FORBIDDEN = {
    "package index": ["pypi." + "org", "python" + "hosted", "npm" + "js", "index-" + "url", "find-" + "links"],
    "machine path": ["/wo" + "rk/", "/ho" + "me/", "/Us" + "ers/", "/ro" + "ot/", "/tm" + "p/t/"],
    "secret": ["BEGIN " + "OPENSSH PRIVATE KEY"],
}
INDEX_OPTIONS = ("Makefile",)  # may switch off the very options that are searched for


def committed_files() -> list[Path]:
    """Paths that git tracks; none outside a checkout."""
    if not (ROOT / ".git").exists():
        return []
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], check=True, capture_output=True, text=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("folder", ["envoy", "protos"])
def test_folder_is_no_python_package(folder: str) -> None:
    assert not list((ROOT / folder).rglob("__init__.py"))


def test_envoy_folder_holds_no_python() -> None:
    assert not list((ROOT / "envoy").rglob("*.py"))


def test_no_file_belongs_to_two_distributions() -> None:
    owners: dict[str, set[str]] = defaultdict(set)
    for distribution in metadata.distributions():
        for file in distribution.files or []:
            if file.suffix != ".pyc":
                owners[str(file.locate())].add(distribution.metadata["Name"])
    assert {path: sorted(names) for path, names in owners.items() if len(names) > 1} == {}


def test_nothing_committed_names_an_index_or_a_machine() -> None:
    found = []
    for path in committed_files():
        text = path.read_bytes().decode("utf-8", errors="ignore")
        found += [
            f"{path.relative_to(ROOT)}: {kind} {word}"
            for kind, words in FORBIDDEN.items()
            for word in words
            if word in text and not (path.name in INDEX_OPTIONS and "-" in word)
        ]
    assert not found


def test_every_locked_requirement_has_a_hash() -> None:
    for name in ("requirements.lock", "envoy.lock", "fuzz.lock"):
        entries = re.split(r"\n(?=\S)", (ROOT / name).read_text(encoding="utf-8"))
        assert [entry for entry in entries if entry.strip() and "--hash=sha256:" not in entry] == []


def test_every_dependency_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    names = {re.split(r"[^A-Za-z0-9_.-]", text)[0].lower().replace("_", "-") for text in wanted}
    locked = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert sorted(names - {line.split("==")[0] for line in locked.splitlines() if "==" in line}) == []


def test_generated_modules_are_not_committed() -> None:
    assert [path for path in committed_files() if "envoy_api" in path.parts] == []


def test_version_comes_from_one_place() -> None:
    assert metadata.version("cellway") == xds_server.__version__
