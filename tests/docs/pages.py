"""The pages under docs/ as the tests read them: code blocks, links, tables of fields; and the fields of spec models.

In: Markdown files and pydantic models. Out: plain values. A table of fields has the head `| Field | Default | Meaning |`;
its fields are written as paths from the policy's own field down (`jwt.providers[].name`).
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
_BLOCK = re.compile(r"^```([\w ]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEAD = "| Field | Default | Meaning |"


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page in one language. Examples of mistakes are in the language `yaml wrong`."""
    return blocks_of(page.read_text(encoding="utf-8"), language)


def blocks_of(text: str, language: str) -> list[str]:
    """The same of a part of a page."""
    return [block for name, block in _BLOCK.findall(text) if name == language]


def links(page: Path) -> list[str]:
    """Where the links of a page lead, without those that stand in code."""
    return _LINK.findall(re.sub(r"`[^`\n]*`", "", _BLOCK.sub("", page.read_text(encoding="utf-8"))))


@dataclass(frozen=True)
class Row:
    """One row of a table of fields."""

    fields: tuple[str, ...]
    default: str
    meaning: str


def rows(page: Path) -> list[Row]:
    """All rows of the page's tables of fields."""
    found, inside = [], False
    for line in page.read_text(encoding="utf-8").splitlines():
        inside = line == _HEAD or (inside and line.startswith("|"))
        if not inside or line == _HEAD or line.startswith("|---"):
            continue
        # A '|' inside a cell would have to be escaped; no table of fields needs one.
        fields, default, meaning = (cell.strip() for cell in line.strip("|").split("|"))
        found.append(Row(tuple(re.findall(r"`([^`]+)`", fields)), default, meaning))
    return found


@dataclass(frozen=True)
class Field:
    """A field of a spec model: its path, whether others stand below it, and what its type says about values."""

    path: str
    leaf: bool
    default: str
    bounds: tuple[int, ...]
    choices: tuple[str, ...]


def fields_of(model: type[BaseModel], prefix: str, without: frozenset[str]) -> Iterator[Field]:
    """All fields of a model and of the models in it. Those of `without` (paths) are left out, with all below."""
    for name, info in model.model_fields.items():
        path = f"{prefix}.{info.alias or name}".removeprefix(".")
        if path in without:
            continue
        parts = list(_parts(info.annotation, tuple(info.metadata)))
        models = [part for part, _ in parts if isinstance(part, type) and issubclass(part, BaseModel)]
        many = any(get_origin(part) is tuple for part, _ in parts)
        bounds = tuple(number for part, metadata in parts for number in _bounds(part, metadata))
        choices = tuple(str(one) for part, _ in parts if get_origin(part) is Literal for one in get_args(part) if one)
        own = f"{path}[]" if many else path
        yield Field(own, not models, _default(info), bounds, choices)
        for below in models:
            yield from fields_of(below, own, without)


def _parts(annotation: Any, metadata: tuple[Any, ...]) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """An annotation and those in it, each with what is noted of it."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *notes = get_args(annotation)
        yield from _parts(inner, (*notes, *metadata))
        return
    if origin in (Union, types.UnionType):
        for part in get_args(annotation):
            if part is not types.NoneType:
                yield from _parts(part, metadata)
        return
    yield annotation, metadata
    if origin is dict:
        yield from _parts(get_args(annotation)[1], ())
    if origin is tuple:
        yield from _parts(get_args(annotation)[0], ())


def _bounds(part: Any, metadata: tuple[Any, ...]) -> Iterator[int]:
    """Limits of numbers, and of how many items a list may have. Those of texts are left to the diagnostics."""
    notes = [inner for note in metadata for inner in (*getattr(note, "metadata", ()), note)]
    for note in notes:
        if part is int:
            yield from (getattr(note, name) for name in ("ge", "le") if hasattr(note, name))
        if get_origin(part) is tuple and hasattr(note, "max_length") and note.max_length is not None:
            yield note.max_length


def _default(info: FieldInfo) -> str:
    """The default as a page writes it: `required`, `-` for none, or code."""
    if info.is_required():
        return "required"
    if info.default in (None, "", (), {}) or isinstance(info.default, BaseModel | tuple):
        return "-"
    text = info.default if isinstance(info.default, str) else json.dumps(info.default)
    return f"`{text}`"
