"""The schemas that editors get: they take what ships, and find what is misspelt where it is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.cli.test_commands import ROOT
from tests.commands import cellway
from xds_server.model.kinds import KINDS
from xds_server.observe.schema_view import schema_of, schema_of_all

SHIPPED = sorted((ROOT / "policies").rglob("*.yaml"))
ALL = Draft202012Validator(schema_of_all())


def route(**changed: Any) -> dict[str, Any]:
    spec = {"parentRefs": [{"name": "edge"}], "rules": [{"backendRefs": [{"name": "web", "port": 80, **changed}]}]}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "web"},
        "spec": spec,
    }


def places(document: dict[str, Any]) -> list[str]:
    return [error.json_path for error in ALL.iter_errors(document)]


def test_the_schemas_are_schemas() -> None:
    Draft202012Validator.check_schema(schema_of_all())
    for kind in KINDS.values():
        Draft202012Validator.check_schema(schema_of(kind))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_ships_fits(path: Path) -> None:
    documents = [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one]
    assert documents
    assert [problem for one in documents for problem in places(one)] == []


def test_mistakes_are_found_where_they_are() -> None:
    assert places(route()) == []
    assert places(route(wieght=3)) == ["$.spec.rules[0].backendRefs[0]"]
    assert places(route(port=70000)) == ["$.spec.rules[0].backendRefs[0].port"]
    assert places({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "dta": {}}) == ["$"]
    assert places({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}}) == []


def test_the_command_prints_and_writes(tmp_path: Path) -> None:
    assert json.loads(cellway("schema").stdout)["title"] == "Cellway"
    assert json.loads(cellway("schema", "HTTPRoute").stdout)["title"] == "HTTPRoute"
    done = cellway("schema", "--write", str(tmp_path / "schemas"))
    assert f"$schema={(tmp_path / 'schemas' / 'cellway.json').as_uri()}" in done.stdout
    assert len(list((tmp_path / "schemas").iterdir())) == len(KINDS) + 1
    wrong = cellway("schema", "HttpRoute")
    assert (wrong.returncode, wrong.stdout, "HTTPRoute" in wrong.stderr) == (2, "", True)
