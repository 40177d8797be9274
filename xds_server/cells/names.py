"""Names inside one cell: each is there once, and none is the name of something that Cellway makes by itself.

In: a cell as written. Out: what is repeated or taken, and the lists without repetitions. The first of a name counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from xds_server.cells.bindings import close
from xds_server.diagnostics import Diagnostic
from xds_server.model.cell_kinds import CellSpec
from xds_server.model.object import Object
from xds_server.types import Path

RESERVED = ("undeclared-dependency", "external-not-allowed")


class Named(Protocol):
    """Anything with a name."""

    @property
    def name(self) -> str:
        """The name."""


Some = TypeVar("Some", bound=Named)


def first_of_name(items: Iterable[Some]) -> Iterator[tuple[int, Some]]:
    """The items with their places, without those whose name was there before or is reserved."""
    seen: set[str] = set(RESERVED)
    for number, item in enumerate(items):
        if item.name not in seen:
            seen.add(item.name)
            yield number, item


def component_names(cell: Object) -> list[str]:
    """The components of a cell as written."""
    assert isinstance(cell.spec, CellSpec)
    return [one.name for one in cell.spec.components]


def check_names(cell: Object, spec: CellSpec) -> Iterator[Diagnostic]:
    """What `first_of_name` leaves out of a cell."""
    yield from _check(cell, "component", spec.components, ("components",))
    for number, component in enumerate(spec.components):
        yield from _check(cell, "endpoint", component.endpoints, ("components", number, "endpoints"))
    yield from _check(cell, "dependency", spec.dependencies, ("dependencies",))
    known = component_names(cell)
    for place, user in _users(spec):
        if user not in known:
            reason = f"cell {cell.name} has no component '{user}'"
            yield cell.diagnose("C110", *place, hint=close(user, known), reason=reason)


def _users(spec: CellSpec) -> Iterator[tuple[Path, str]]:
    """The components that `from` names, with their places."""
    for number, component in enumerate(spec.components):
        for place, endpoint in enumerate(component.endpoints):
            for at, user in enumerate(endpoint.from_):
                yield ("components", number, "endpoints", place, "from", at), user
    for number, dependency in enumerate(spec.dependencies):
        for at, user in enumerate(dependency.from_):
            yield ("dependencies", number, "from", at), user


def _check(cell: Object, what: str, items: Iterable[Named], path: Path) -> Iterator[Diagnostic]:
    seen: set[str] = set()
    for number, item in enumerate(items):
        if item.name in RESERVED:
            reason = f"the name '{item.name}' is reserved"
        elif item.name in seen:
            reason = f"there is already a {what} '{item.name}'; this one is not used"
        else:
            seen.add(item.name)
            continue
        yield cell.diagnose("C110", *path, number, "name", reason=reason)
