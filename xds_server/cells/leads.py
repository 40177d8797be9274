"""Where routes that users attach to a cell may lead: to endpoints of the cell itself.

In: the rules of a written route. Out: the same with the Backends that cells mean in place of endpoints. Anything else would
be an exit that no dependency declares: it gets nothing, and its share of requests is answered with 500.
"""

from __future__ import annotations

from typing import Any

from xds_server.cells.derive import Output
from xds_server.cells.ingress import add_backend, backend_ref
from xds_server.cells.plan import close
from xds_server.cells.sections import Sections
from xds_server.diagnostics import Path
from xds_server.model.object import Object
from xds_server.types import CELLWAY_GROUP

Json = dict[str, Any]
_HINT = "{group: cellway.dev, kind: Endpoint, name: COMPONENT.ENDPOINT}; what leaves a cell is declared as a dependency"


def with_endpoints(item: Object, known: Sections, direction: str, output: Output) -> list[Json]:
    """The rules of a written route, leading to endpoints alone."""
    written = (item.document.get("spec") or {}).get("rules") or [{}]
    leads = _Leads(item, known, direction, output)
    return [leads.rule(rule, ("rules", number)) for number, rule in enumerate(written)]


class _Leads:
    """What the references of one route come to."""

    def __init__(self, item: Object, known: Sections, direction: str, output: Output) -> None:
        self._item, self._known, self._direction, self._output = item, known, direction, output

    def rule(self, rule: Json, path: Path) -> Json:
        """A rule with its backends and mirrors."""
        found = self._with_filters(rule, path)
        refs = []
        for number, ref in enumerate(rule.get("backendRefs") or ()):
            at = (*path, "backendRefs", number)
            kept = {key: ref[key] for key in ("weight", "filters") if ref.get(key) is not None}
            refs.append({**self._with_filters(kept, at), **self._lead(ref, at)})
        return {**found, "backendRefs": refs} if refs else found

    def _with_filters(self, holder: Json, path: Path) -> Json:
        filters = [
            self._filter(one, (*path, "filters", number)) for number, one in enumerate(holder.get("filters") or ())
        ]
        return {**holder, "filters": filters} if filters else holder

    def _filter(self, written: Json, path: Path) -> Json:
        mirror = written.get("requestMirror")
        if mirror is None:
            return written
        ref = self._lead(mirror["backendRef"], (*path, "requestMirror", "backendRef"))
        return {**written, "requestMirror": {**mirror, "backendRef": ref}}

    def _lead(self, ref: Json, path: Path) -> Json:
        """What names the backend of a reference: a Backend that the cell means, or one that is not there."""
        known, name = self._known, str(ref.get("name", ""))
        component, _, endpoint = name.rpartition(".")
        place: Json = {"group": CELLWAY_GROUP, "kind": "Endpoint", "name": name}
        if (ref.get("group"), ref.get("kind")) != (CELLWAY_GROUP, "Endpoint"):
            reason = f"{ref.get('kind') or 'Service'} {name} is no endpoint of cell {known.cell.name}, and gets nothing"
            self._report(path, reason, _HINT)
        elif known.cell.endpoint(component, endpoint) is None:
            names = known.cell.endpoint_names()
            self._report((*path, "name"), f"cell {known.cell.name} has no endpoint '{name}'", close(name, names))
        else:
            found = backend_ref(add_backend(known.cell, self._direction, component, endpoint, self._output))
            place = {key: value for key, value in found.items() if key != "weight"}
        return place

    def _report(self, path: Path, reason: str, hint: str) -> None:
        self._output.problems.append(self._item.diagnose("C110", *path, hint=hint, reason=reason))
