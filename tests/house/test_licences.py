"""What users install with Cellway may be used and passed on as freely as Cellway itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement

FREE = re.compile(r"MIT|BSD|Apache|PSF|Python-2\.0|ISC|MPL-2\.0|Unlicense", re.IGNORECASE)


def installed_with(name: str, seen: set[str]) -> Iterator[metadata.Distribution]:
    """A distribution and all that it needs at run time."""
    if name in seen:
        return
    seen.add(name)
    distribution = metadata.distribution(name)
    yield distribution
    for text in distribution.requires or ():
        needed = Requirement(text)
        if needed.marker is None or needed.marker.evaluate({"extra": ""}):
            yield from installed_with(needed.name.lower().replace("_", "-"), seen)


def licence(distribution: metadata.Distribution) -> str:
    about = distribution.metadata
    named = [value for key in ("License-Expression", "License") for value in about.get_all(key) or ()]
    return " ".join([*named, *(one for one in about.get_all("Classifier") or () if one.startswith("License ::"))])


def test_all_that_is_installed_is_free() -> None:
    found = {one.metadata["Name"]: licence(one) for one in installed_with("cellway", set())}
    assert len(found) > 20
    assert {name: text[:80] for name, text in found.items() if not FREE.search(text) or "GPL" in text} == {}
