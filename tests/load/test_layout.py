"""The one layout: what it changes, what it never changes, and that a second time changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.docs.pages import PAGES, blocks
from xds_server.load.layout import comments_of, laid_out

ROOT = Path(__file__).parents[2]

CASES = {
    "order of an object's own fields": (
        "status: {}\nspec:\n  b: 1\n  a: 2\nmetadata:\n  labels: {}\n  namespace: n\n  name: x\nkind: K\napiVersion: v\n",
        "apiVersion: v\nkind: K\nmetadata:\n  name: x\n  namespace: n\n  labels: {}\nspec:\n  b: 1\n  a: 2\nstatus: {}\n",
    ),
    "indentation of mappings and lists": (
        "a:\n     b:\n        - c:   1\n          d: 2\n        -   - e\n            - f\n",
        "a:\n  b:\n  - c:   1\n    d: 2\n  - - e\n    - f\n",
    ),
    "comments go with what they are about": (
        "# top\n\nkind: K # here\n# of the version\napiVersion: v\nspec:\n    # of a\n    a: 1\n    # then\n# of b\nb: 2\n# e\n",
        "# top\n\n# of the version\napiVersion: v\nkind: K # here\nspec:\n  # of a\n  a: 1\n  # then\n# of b\nb: 2\n# e\n",
    ),
    "block texts, flow collections and long texts stay": (
        "a:\n    b: |\n          one\n            two\n\n          three\n    c: {d: 1,\n      e: 2}\n    f: long\n      text\n",
        "a:\n  b: |\n        one\n          two\n\n        three\n  c: {d: 1,\n    e: 2}\n  f: long\n    text\n",
    ),
    "ends of lines, empty lines, the end of the file": (
        "\n\na: 1  \r\n\n\n\nb: 2\n\n\n---   \n\n\nc: 3",
        "a: 1\n\nb: 2\n\n---\n\nc: 3\n",
    ),
    "spaces of a block text are its own": (
        "a:\n    b: |\n      x  \n        \n      y\n",
        "a:\n  b: |\n    x  \n      \n    y\n",
    ),
    "what is unusual keeps its lines": ("a: &x\n    b: 1\nc: *x\n", "a: &x\n    b: 1\nc: *x\n"),
    "another kind of document": ("- b:\n     c\n", "- b:\n     c\n"),
    "nothing": ("# only this\n\n\n", "# only this\n"),
}


def loaded(text: str) -> list[Any]:
    return list(yaml.safe_load_all(text))


@pytest.mark.parametrize("what", CASES)
def test_the_layout(what: str) -> None:
    written, wanted = CASES[what]
    assert laid_out(written) == wanted
    assert laid_out(wanted) == wanted
    assert loaded(wanted) == loaded(written)


def test_what_ships_and_what_the_pages_show_is_in_the_layout_or_means_the_same_in_it() -> None:
    for path in sorted((ROOT / "policies").rglob("*.yaml")):
        assert laid_out(path.read_text(encoding="utf-8")) == path.read_text(encoding="utf-8"), path
    for page in PAGES:
        for text in blocks(page, "yaml"):
            done = laid_out(text)
            assert loaded(done) == loaded(text)
            assert comments_of(done) == comments_of(text)


TEXTS = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs"), include_characters="\n"), max_size=30
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=15,
)
OBJECTS = st.fixed_dictionaries({"spec": VALUES, "kind": TEXTS}, optional={"metadata": st.dictionaries(TEXTS, VALUES)})


@given(
    st.lists(OBJECTS, min_size=1, max_size=2),
    st.integers(2, 9),
    st.integers(20, 90),
    st.sampled_from([None, "|", ">", '"']),
    st.sampled_from([None, False]),
)
def test_any_file_means_the_same_afterwards(
    documents: list[Any], indent: int, width: int, style: str | None, flow: bool | None
) -> None:
    text = yaml.safe_dump_all(
        documents, indent=indent, width=width, default_style=style, default_flow_style=flow, sort_keys=False
    )
    done = laid_out(text)
    assert loaded(done) == loaded(text)  # PyYAML writes some texts as others where lines are short
    assert laid_out(done) == done


@given(
    st.lists(st.sampled_from(["a:", " ", "  ", "- ", "b", "|", "# c", "\n", "{", "}", ": ", "'", "---\n"]), max_size=14)
)
def test_any_yaml_means_the_same_afterwards(parts: list[str]) -> None:
    text = "".join(parts)
    try:
        before = loaded(text)
    except yaml.YAMLError:
        return
    done = laid_out(text)
    assert loaded(done) == before
    assert laid_out(done) == done
