"""What policies select by label on the border of cells.

In: the selectors of a policy, and what cells mean. Out: the derived Gateways and routes that are selected, with the section
each stands for. Written objects that are no cell's are not looked at here: attachment selects those.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from xds_server.cells.lowering import Lowering
from xds_server.cells.sections import Added, Door, Exit, Sections
from xds_server.diagnostics import Path
from xds_server.model.object import Object
from xds_server.model.policies import TargetRef, Targets, TargetSelector
from xds_server.types import CORE_GROUP, GATEWAY_GROUP, Key


@dataclass(frozen=True, slots=True)
class Selected:
    """Something of a cell that a selector means: where the selector stands, and the cell and section that is covered."""

    path: Path
    target: TargetRef
    cell: str
    section: str


def selected(item: Object, lowering: Lowering) -> Iterator[Selected]:
    """What of cells the selectors of a policy mean. In other namespaces only what a ReferenceGrant permits.

    Sidecars, which have no section, are told where labels mean nothing else of cells: with a gateway they are passed over.
    """
    assert isinstance(item.spec, Targets)
    for number, selector in enumerate(item.spec.target_selectors):
        sidecars, sections = [], False
        for key, found in list(lowering.output.objects.items()):
            if (key.group, key.kind) != (selector.group, selector.kind) or key.group != GATEWAY_GROUP:
                continue
            if not selector.matches(dict(found.meta.labels)) or not _is_meant(selector, item, key, lowering):
                continue
            section, target = section_of(key, lowering), TargetRef(group=key.group, kind=key.kind, name=key.name)
            if section is not None:
                sections = True
                yield Selected(("targetSelectors", number), target, key.namespace, section)
            elif key.kind == "Gateway" and key in lowering.output.sidecars:
                sidecars.append(Selected(("targetSelectors", number), target, key.namespace, key.name))
        if not sections and (selector.match_labels or selector.match_expressions):
            yield from sidecars


def section_of(key: Key, lowering: Lowering) -> str | None:
    """The section that a derived Gateway or route stands for; None if it is none that settings are for."""
    known = lowering.sections.get(key.namespace)
    if known is None or key not in lowering.output.objects:
        return None
    if key.kind == "Gateway":
        return next((str(one) for one in known.directions() if key.name == f"{key.namespace}-{one}"), None)
    return _section_of_route(key, known, lowering)


def _section_of_route(key: Key, known: Sections, lowering: Lowering) -> str | None:
    places: list[Door | Exit | Added] = [*known.all, *lowering.added.get(key.namespace, ())]
    for one in places:
        only = Key(GATEWAY_GROUP, "HTTPRoute", key.namespace, one.route)
        if key in lowering.output.routes.get((key.namespace, one.section), [only]):
            return one.section
    return None


def _is_meant(selector: TargetSelector, item: Object, key: Key, lowering: Lowering) -> bool:
    if key.namespace == item.namespace and selector.namespaces.from_ == "Same":
        return True
    if selector.namespaces.from_ == "Same":
        return False
    where = selector.namespaces.selector
    if where is not None and not where.matches(_labels_of_namespace(key.namespace, lowering)):
        return False
    return key.namespace == item.namespace or any(grant.permits(item.key, key) for grant in lowering.grants(key))


def _labels_of_namespace(name: str, lowering: Lowering) -> dict[str, str]:
    item = lowering.others.get(Key(CORE_GROUP, "Namespace", "", name))
    return {"kubernetes.io/metadata.name": name, **(item.meta.labels if item else {})}
