"""Warnings that are meant: annotations `cellway.dev/suppress` of objects, and codes that one run leaves out.

In: findings, and the documents that they are about. Out: the findings that are left, and one for every suppression that
suppresses nothing. An error is never left out: what is not in force as written must be seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from xds_server.diagnostics import CATALOGUE, Diagnostic, Severity, Span, diagnose
from xds_server.load.document import Document
from xds_server.load.objects import SUPPRESS, key_of

_PATH = ("metadata", "annotations", SUPPRESS)


@dataclass(frozen=True, slots=True)
class _Wish:
    """One document's suppressions. `places` are all of its nodes, since what cells mean is told where they are written."""

    codes: tuple[str, ...]
    subject: str
    at: Span
    places: frozenset[Span] = field(repr=False)

    def covers(self, one: Diagnostic) -> bool:
        """Whether a finding is about this document and may be left out."""
        mine = (self.subject and one.subject == self.subject) or one.span in self.places
        return bool(mine) and one.code in self.codes and one.severity != Severity.ERROR


def suppressed(found: Iterable[Diagnostic], documents: Iterable[Document]) -> tuple[Diagnostic, ...]:
    """The findings without those that their own object suppresses, and what is to be said of suppressions."""
    found = tuple(found)
    wishes = [wish for document in documents if (wish := _wish(document)) is not None]
    if not wishes:
        return found
    left: list[Diagnostic] = []
    used: set[tuple[int, str]] = set()
    for one in found:
        takers = [number for number, wish in enumerate(wishes) if wish.covers(one)]
        used.update((number, one.code) for number in takers)
        left += [] if takers else [one]
    return (*left, *(problem for number, wish in enumerate(wishes) for problem in _problems(number, wish, used)))


def why_not_ignored(codes: Iterable[str]) -> str:
    """Why these codes cannot be left out of a run; empty if they can."""
    return next((reason for code in codes if (reason := _refusal(code))), "")


def _wish(document: Document) -> _Wish | None:
    metadata = document.value.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    written = annotations.get(SUPPRESS) if isinstance(annotations, dict) else None
    if not isinstance(written, str):
        return None
    key, positions = key_of(document.value), document.positions
    places = frozenset((positions.start, *positions.values.values(), *positions.keys.values()))
    codes = tuple(dict.fromkeys(one.strip() for one in written.split(",")))
    return _Wish(codes, str(key) if key is not None else "", positions.value(_PATH), places)


def _problems(number: int, wish: _Wish, used: set[tuple[int, str]]) -> Iterator[Diagnostic]:
    for code in wish.codes:
        reason = _refusal(code)
        if not reason and (number, code) not in used:
            reason = f"{code} is not found here, so nothing is suppressed"
        if reason:
            yield diagnose("M108", wish.at, subject=wish.subject, reason=reason)


def _refusal(code: str) -> str:
    known = CATALOGUE.get(code)
    if known is None:
        return f"there is no code '{code}'"
    return f"{code} is an error, and errors cannot be suppressed" if known.severity == Severity.ERROR else ""
