"""What lowering need not look at: objects that have nothing to do with any cell, whatever the cells say.

In: all objects in order of age, and what has changed. Out: those that are apart, and the rest. Apart are, outside the
namespaces of cells, routes without errors whose parents are outside, too, policies on such routes by name, and what leads to
endpoints. Whether a thing is apart is asked of it alone and of the names of cells. Everything that is not known to be apart
is of the rest: that costs time and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from xds_server.memory import Difference, Ranking
from xds_server.model.backend_tls import BackendTlsPolicySpec
from xds_server.model.cell_kinds import CellBindingSpec
from xds_server.model.gateway_api import RouteSpec
from xds_server.model.object import Object
from xds_server.model.policies import Targets
from xds_server.types import CELLWAY_GROUP, CORE_GROUP, DISCOVERY_GROUP, ENVOY_GATEWAY_GROUP

_LEADING = frozenset({(ENVOY_GATEWAY_GROUP, "Backend"), (CORE_GROUP, "Service"), (DISCOVERY_GROUP, "EndpointSlice")})
STAGES_LABEL = "cellway.dev/stages"
_Changed = tuple[list[Object], list[Object], list[Object]]


class Apart:
    """Objects by what lowering does with them, kept from call to call.

    `bound` are routes and policies, which are in the first stage only; `leading` are Backends and the like, which are in
    every stage; `rest` is what lowering gets.
    """

    def __init__(self, age: Callable[[Object], Any]) -> None:
        self._cells: frozenset[str] | None = None
        self.bound, self.leading, self.rest = (Ranking[Object](age) for _ in range(3))

    def update(self, objects: Sequence[Object], now: Difference[Object], spoken: Iterable[Object]) -> None:
        """Sort all objects. `now` is what has changed since the last call, `spoken` those that speak of cells."""
        cells = _namespaces(spoken)
        kept = (self.bound, self.leading, self.rest)
        if cells != self._cells:
            self._cells = cells
            for ranking, items in zip(kept, _sorted(objects, cells), strict=True):
                ranking.fill(items)
            return
        for ranking, gone, came in zip(kept, _sorted(now.gone, cells), _sorted(now.came, cells), strict=True):
            ranking.change(gone, came)

    def forget(self) -> None:
        """What changes from now on is not told here."""
        self._cells = None


def _namespaces(spoken: Iterable[Object]) -> frozenset[str]:
    """The namespaces in which something may be of a cell: those with the names of cells, bound or not."""
    found: set[str] = set()
    for item in spoken:
        if item.key.group == CELLWAY_GROUP:
            found |= {item.name, item.namespace}
            if isinstance(item.spec, CellBindingSpec):
                found.add(item.spec.cell)
    return frozenset(found - {""})


def _sorted(items: Iterable[Object], cells: frozenset[str]) -> _Changed:
    bound, leading, rest = list[Object](), list[Object](), list[Object]()
    for item in items:
        if item.broken or item.namespace in cells or STAGES_LABEL in item.meta.labels:
            rest.append(item)
        elif (item.key.group, item.key.kind) in _LEADING:
            leading.append(item)
        else:
            (bound if _is_bound_apart(item, cells) else rest).append(item)
    return bound, leading, rest


def _is_bound_apart(item: Object, cells: frozenset[str]) -> bool:
    """Whether a route or a policy leads outside cells alone."""
    spec = item.spec
    if isinstance(spec, RouteSpec):
        return all(ref.group != CELLWAY_GROUP and (ref.namespace or "") not in cells for ref in spec.parent_refs)
    if not isinstance(spec, Targets) or isinstance(spec, BackendTlsPolicySpec) or spec.target_selectors:
        return False
    # Providers of tokens may name one of the organization, which says the rest of them.
    return not getattr(spec, "jwt", None) and all(one.group != CELLWAY_GROUP for one in spec.targets)
