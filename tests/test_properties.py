"""What holds for every set of documents: order means nothing, compiling is repeatable, a mistake stays alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.documents import parse
from xds_server.compile import Options, compile_objects
from xds_server.diagnostics import Severity
from xds_server.model.object import Object
from xds_server.snapshot.resource import Snapshot

ROOT = Path(__file__).parent.parent
FOLDERS = sorted(path for path in (ROOT / "policies").iterdir() if path.is_dir())


def files_of(folder: Path) -> list[tuple[str, str]]:
    """Name and text of every policy file below a folder."""
    return [(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.yaml"))]


def objects_of(files: list[tuple[str, str]]) -> list[Object]:
    return [item for name, text in files for item in parse(text, name)[0]]


def state(snapshots: dict[str, Snapshot]) -> dict[str, dict[tuple[str, str], bytes]]:
    """Every resource of every gateway, as bytes."""
    return {
        name: {(one.type_url, one.name): one.body for named in snapshot.resources.values() for one in named.values()}
        for name, snapshot in snapshots.items()
    }


def compiled_state(objects: list[Object]) -> dict[str, dict[tuple[str, str], bytes]]:
    return state(dict(compile_objects(objects, Options()).snapshots))


FILES = files_of(ROOT / "policies" / "shop")
PARSED = {name: parse(text, name)[0] for name, text in FILES}
SHOP = [item for objects in PARSED.values() for item in objects]
WANTED = compiled_state(SHOP)


@settings(max_examples=25, deadline=None)
@given(st.permutations(SHOP))
def test_the_order_of_files_and_documents_changes_no_byte(objects: list[Object]) -> None:
    assert compiled_state(objects) == WANTED


def test_compiling_in_another_process_gives_the_same_versions() -> None:
    program = (
        "from tests.test_properties import SHOP\nfrom xds_server.compile import Options, compile_objects\n"
        "for name, one in sorted(compile_objects(SHOP, Options()).snapshots.items()):\n"
        "    print(name, sorted(one.versions.items()))\n"
    )

    def versions(seed: str) -> str:
        command = [sys.executable, "-c", program]
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT), "PATH": ""}
        return subprocess.run(command, env=environment, cwd=ROOT, check=True, capture_output=True, text=True).stdout

    assert versions("1") == versions("2") != ""


MISTAKES = (
    "kind: HTTPRoute\n",
    "apiVersion: cellway.dev/v1alpha1\nkind: Nonsense\nmetadata: {name: x}\n",
    "a: [1, 2\n",
    "a: &a [*a]\n",
    "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: x}\nspec: {rules: 7}\n",
    "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: x}\nspec: {parentRefs: [{name: nowhere}]}\n",
    "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: SecurityPolicy\nmetadata: {name: x}\n"
    "spec: {targetRef: {group: gateway.networking.k8s.io, kind: HTTPRoute, name: nowhere}, jwt: {}}\n",
    "apiVersion: cellway.dev/v1alpha1\nkind: Cell\nmetadata: {name: x}\nspec: {components: []}\n",
    "apiVersion: cellway.dev/v1alpha1\nkind: Cell\nmetadata: {name: x}\n"
    "spec: {class: nowhere, components: [{name: a}], dependencies: [{name: d, cell: nowhere, component: a}]}\n",
    "apiVersion: cellway.dev/v1alpha1\nkind: CellBinding\nmetadata: {name: x}\n"
    "spec: {cell: nowhere, stage: dev, address: 127.0.0.0}\n",
    "\x00", "- just\n- a list\n", "yes: no\n",
)  # fmt: skip


@pytest.mark.parametrize("text", MISTAKES)
def test_a_bad_document_changes_no_unrelated_resource(text: str) -> None:
    objects, problems = parse(text, "bad.yaml")
    result = compile_objects([*SHOP, *objects], Options())
    assert state(dict(result.snapshots)) == WANTED
    found = [one for one in (*problems, *result.diagnostics) if one.severity == Severity.ERROR]
    assert found, "a mistake is never silent"
    assert all(one.span and one.span.file == "bad.yaml" for one in found), found


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_damaged_document_never_raises_and_always_has_a_place(data: st.DataObject) -> None:
    name, text = data.draw(st.sampled_from(FILES))
    at = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(at, min(len(text), at + 12)))
    piece = data.draw(st.text(alphabet="{}[]:,-x1 \n\"'&*", max_size=4))
    objects, problems = parse(text[:at] + piece + text[end:], name)
    others = [item for one, known in PARSED.items() if one != name for item in known]
    result = compile_objects([*others, *objects], Options())
    for problem in (*problems, *result.diagnostics):
        assert problem.span is not None, problem


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_every_folder_that_ships_is_without_a_mistake(folder: Path) -> None:
    problems = [problem for name, text in files_of(folder) for problem in parse(text, name)[1]]
    result = compile_objects(objects_of(files_of(folder)), Options())
    found = [one for one in (*problems, *result.diagnostics) if one.severity != Severity.INFO]
    assert [str(one) for one in found] == []
