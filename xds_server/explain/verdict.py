"""`Verdict`: what one filter would make of a request.

In: a decision and its reason. Out: frozen values. Nothing is decided here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Decision = Literal["passes", "answers", "mayAnswer", "changes"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`answers`: surely, with `status`, in place of all that comes after. `mayAnswer`: it hangs on more than the request;
    `status` 0 is then one that is not known. `says` is why."""

    decision: Decision
    says: str = ""
    status: int = 0
    filter: str = ""


PASSES = Verdict("passes")


def passes(says: str) -> Verdict:
    """It goes on."""
    return Verdict("passes", says)


def changes(says: str) -> Verdict:
    """It goes on, changed."""
    return Verdict("changes", says)


def answers(status: int, says: str) -> Verdict:
    """The gateway answers."""
    return Verdict("answers", says, status)


def depends(says: str, status: int = 0) -> Verdict:
    """It hangs on something that is not known here."""
    return Verdict("mayAnswer", says, status)
