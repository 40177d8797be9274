"""What every code of the catalogue means, as the pages under docs/diagnostics tell it.

In: the catalogue, and those pages, which a wheel carries beside this module. Out: a `Rule` for each code. The pages are the
one place where this is written; nothing is said twice.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from xds_server.diagnostics import CATALOGUE

_PACKAGED = Path(__file__).parent / "pages"
_CHECKOUT = Path(__file__).parents[2] / "docs" / "diagnostics"
_SECTION = re.compile(r"^## (\w+)\n\n`[^\n]*`\n\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_EXAMPLE = re.compile(r"^```yaml wrong\n(.*?)^```\n?", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Rule:
    """One code: `template` is its message with the words left open, `text` Markdown, `example` YAML that makes it."""

    code: str
    severity: str
    template: str
    text: str
    example: str
    page: str

    def json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return asdict(self)


@cache
def rules() -> dict[str, Rule]:
    """All codes, in the order of the pages' names and then of the codes."""
    return {one.code: one for page in pages() for one in _rules_on(page)}


def pages() -> list[Path]:
    """The pages that explain codes."""
    return sorted((_PACKAGED if _PACKAGED.is_dir() else _CHECKOUT).glob("*.md"))


def close_codes(written: str) -> list[str]:
    """Codes that somebody may have meant."""
    return difflib.get_close_matches(written.upper(), CATALOGUE, n=3, cutoff=0.7)


def _rules_on(page: Path) -> Iterator[Rule]:
    for code, body in _SECTION.findall(page.read_text(encoding="utf-8")):
        known = CATALOGUE.get(code)
        if known is not None:
            example = _EXAMPLE.search(body)
            text = _EXAMPLE.sub("", body).strip()
            yield Rule(code, str(known.severity), known.template, text, example.group(1) if example else "", page.name)
