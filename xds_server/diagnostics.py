"""What is wrong with a user's input, and where: `Diagnostic`, `Span`, `Positions`, the catalogue of codes.

In: a code of the catalogue, the words that fit its template and a place. Out: frozen values that
`validate`, object conditions and the admin API all print. A user's mistake is such a value, never an
exception. This module reads nothing and knows no kind of object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

Path = tuple[str | int, ...]
"""Where a value stands in a document: `("spec", "rules", 0, "matches")`."""


class Severity(StrEnum):
    """How much a diagnostic weighs: an error makes its object (or a part of it) ineffective."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A place in a file. Line and column count from 1; `length` is how many columns the caret underlines."""

    file: str
    line: int = 1
    column: int = 1
    length: int = field(default=1, compare=False)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Positions:
    """The place of every node of one document, by path.

    `values` holds where a value starts, `keys` where the key of a mapping entry starts. A path that is
    not there (a default, a missing field) is placed at its nearest ancestor.
    """

    start: Span
    values: Mapping[Path, Span] = field(default_factory=dict)
    keys: Mapping[Path, Span] = field(default_factory=dict)

    def value(self, path: Path) -> Span:
        """Where the value at `path` starts."""
        while path:
            if (span := self.values.get(path)) is not None:
                return span
            path = path[:-1]
        return self.start

    def key(self, path: Path) -> Span:
        """Where the key that leads to `path` starts; for a list item, the item."""
        return self.keys.get(path) or self.value(path)


@dataclass(frozen=True, slots=True)
class Code:
    """One entry of the catalogue. `template` is filled with the words given to `diagnose`."""

    severity: Severity
    template: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding. `subject` is the object it is about (`HTTPRoute default/web`), `hint` what to write instead."""

    code: str
    message: str
    span: Span | None = None
    subject: str = ""
    hint: str = ""

    @property
    def severity(self) -> Severity:
        """The severity that the catalogue gives to this code."""
        return CATALOGUE[self.code].severity

    def __str__(self) -> str:
        place = f"{self.span}: " if self.span else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}{self.severity} {self.code} {self.message}{hint}"


def diagnose(code: str, span: Span | None = None, *, subject: str = "", hint: str = "", **words: object) -> Diagnostic:
    """A diagnostic whose message is the catalogue's template filled with `words`."""
    return Diagnostic(code, CATALOGUE[code].template.format(**words), span, subject, hint)


def sort_key(diagnostic: Diagnostic) -> tuple[Span, str, str]:
    """Order for printing: by place, then code, then message."""
    return (diagnostic.span or Span("", 0, 0), diagnostic.code, diagnostic.message)


def _error(template: str) -> Code:
    return Code(Severity.ERROR, template)


def _warning(template: str) -> Code:
    return Code(Severity.WARNING, template)


# One catalogue: L1xx reading files, M1xx one object by itself, C1xx cells, A1xx attachment and references,
# F1xx features, T1xx translation. A code is never reused for another meaning.
CATALOGUE: Mapping[str, Code] = {
    # -- load ----------------------------------------------------------------------------------------
    "L100": _error("cannot read this file: {reason}"),
    "L101": _error("this is not valid YAML: {reason}"),
    # -- model ---------------------------------------------------------------------------------------
    "M101": _error("the field '{field}' is missing"),
    "M102": _error("there is no kind {kind} in API group {group}"),
    "M103": _error("version {version} of {kind} is not known; known: {known}"),
    "M104": _error("this {kind} has no metadata.name"),
    "M105": _error("'{name}' is not a name: lower-case letters, digits, '-' and '.', at most 253 characters"),
    "M110": _error("unknown field '{field}'"),
    "M111": _error("{field} must be text"),
    "M112": _error("{reason}"),
    # -- cells ---------------------------------------------------------------------------------------
    # -- attach --------------------------------------------------------------------------------------
    # -- features ------------------------------------------------------------------------------------
    # -- translate -----------------------------------------------------------------------------------
}
