"""What came of a request, and whether it is what a case expects.

In: an `Answer` of whoever answers cases, and the expectation as written. Out: a list of differences.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

TOLERANCE = 12
"""Percentage points by which a share may differ from the one that is expected."""


@dataclass(frozen=True)
class Seen:
    """What one server saw of one request. Names of headers are in lower case."""

    server: str
    method: str
    path: str
    host: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Answer:
    """The answer to one request; `seen` is what all servers saw of it, `upstream` which of them answered.

    Servers know the request by its `mark`.
    """

    status: int = 0
    grpc: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    upstream: str = "none"
    seen: tuple[Seen, ...] = ()
    mark: str = ""


def differences(answers: Sequence[Answer], expected: dict[str, Any]) -> list[str]:
    """Where the answers to one request differ from what is expected."""
    wanted = dict(expected)
    found: list[str] = []
    by_upstream = Counter(one.upstream if one.upstream != "none" else one.grpc or str(one.status) for one in answers)
    copies = Counter(seen.server for one in answers for seen in one.seen if seen.server != one.upstream)
    for measured, counts in (("shares", by_upstream), ("mirrored", copies)):
        shares = wanted.pop(measured, None)
        if shares is None:
            continue
        actual = {name: 100 * count / len(answers) for name, count in counts.items()}
        names = {str(name) for name in shares} | set(actual)
        told = {str(name): share for name, share in shares.items()}
        found += [
            f"share of {name}: {actual.get(name, 0)}, expected {told.get(name, 0)}"
            for name in sorted(names)
            if abs(actual.get(name, 0) - told.get(name, 0)) > (TOLERANCE if 0 < told.get(name, 0) < 100 else 0)
        ]
    return found + [line for answer in answers for line in _one(answer, wanted)]


def _one(answer: Answer, expected: dict[str, Any]) -> list[str]:
    found = [
        f"{name}: {getattr(answer, name)!r}, expected {expected[name]!r}"
        for name in ("status", "grpc", "upstream", "body")
        if name in expected and getattr(answer, name) != expected[name]
    ]
    found += _texts("header", answer.headers, expected.get("headers", {}))
    if "mirrors" in expected:
        others = Counter(one.server for one in answer.seen)
        others[answer.upstream] -= 1
        actual = {name: count for name, count in others.items() if count > 0}
        if actual != expected["mirrors"]:
            found.append(f"mirrors: {actual}, expected {expected['mirrors']}")
    if "attempts" in expected and len(answer.seen) != expected["attempts"]:
        found.append(f"attempts: {len(answer.seen)}, expected {expected['attempts']}")
    wanted = dict(expected.get("seen", {}))
    if wanted:
        seen = next((one for one in answer.seen if one.server == wanted.get("server", answer.upstream)), None)
        if seen is None:
            return [*found, "nobody saw the request"]
        found += _texts("seen header", seen.headers, wanted.pop("headers", {}))
        found += _texts("seen", vars(seen), wanted)
    return found


def _texts(what: str, actual: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Differences of texts by name: None stands for absent, `/.../` for an expression."""
    found = []
    for name, wanted in expected.items():
        text = actual.get(name.lower())
        if isinstance(wanted, str) and len(wanted) > 1 and wanted[0] == wanted[-1] == "/" and what == "header":
            good = text is not None and re.fullmatch(wanted[1:-1], text) is not None
        else:
            good = text == (None if wanted is None else str(wanted))
        if not good:
            found.append(f"{what} {name}: {text!r}, expected {wanted!r}")
    return found
