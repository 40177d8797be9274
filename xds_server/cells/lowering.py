"""What every part of lowering works with: the plan, the sections of all cells, and what was made so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xds_server.cells.derive import Output
from xds_server.cells.plan import Plan
from xds_server.cells.sections import Sections
from xds_server.types import Key


@dataclass(frozen=True, slots=True)
class Lowering:
    """`written` are the identities of all written objects that are no cells: those are never shadowed by a name."""

    plan: Plan
    sections: Mapping[str, Sections]
    written: frozenset[Key]
    output: Output
