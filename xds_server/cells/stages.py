"""All stages at once: what is in each, and what each means.

In: all objects, and the releases. Out: one `Lowered` for every stage, in the order of promotion. The first has all
that is no cell's, too; later ones have of that only what cells may refer to, so nothing is compiled twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from xds_server.cells.apart import STAGES_LABEL, Apart
from xds_server.cells.attachments import closed
from xds_server.cells.authority import Authorities
from xds_server.cells.bindings import close
from xds_server.cells.lower import Lowered, lower_cells
from xds_server.cells.plan import organization_of
from xds_server.cells.releases import NO_RELEASES, Releases, is_released
from xds_server.diagnostics import Diagnostic, diagnose
from xds_server.memory import Ranking, Recollection, difference
from xds_server.model.backend_tls import BackendTlsPolicySpec
from xds_server.model.cell_kinds import CellBindingSpec, OrganizationSpec
from xds_server.model.core import SecretBody
from xds_server.model.gateway_api import HttpRouteSpec
from xds_server.model.object import Object
from xds_server.model.patches import EnvoyPatchPolicySpec
from xds_server.model.policies import Targets
from xds_server.parts import Parts, in_parts
from xds_server.types import CELLWAY_GROUP, GATEWAY_GROUP, Key

_BOUND_TO_GATEWAYS = frozenset({"Gateway", "ListenerSet", "HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute"})


def _age(item: Object) -> tuple[str, ...]:
    key = item.key
    return (item.meta.created or "9999", key.group, key.kind, key.namespace, key.name)


class Memory:
    """Objects in their order, and those that have to do with cells, kept from call to call."""

    def __init__(self) -> None:
        self._objects: Sequence[Object] = ()
        self._ranking: Ranking[Object] = Ranking(_age)
        self._secrets: Ranking[Object] = Ranking(_age)
        self._concerned: dict[int, Object] = {}
        self.apart = Apart(_age)
        self._kept = Recollection()
        self._lowered: dict[str, dict[Key, Object]] = {}

    def update(self, objects: Iterable[Object]) -> Sequence[Object]:
        """Objects of different identities, the oldest first."""
        given = in_parts(objects)
        now = difference(self._objects, given)
        self._objects = given
        self._ranking.change(now.gone, now.came)
        self._secrets.change(
            *([one for one in some if isinstance(one.spec, SecretBody)] for some in (now.gone, now.came))
        )
        for item in now.gone:
            self._concerned.pop(id(item), None)
        self._concerned |= {id(item): item for item in now.came if _speaks_of_cells(item)}
        if self._concerned:
            self.apart.update(self._ranking.items, now, self._concerned.values())
        else:
            self.apart.forget()
        return self._ranking.items

    def untouched(
        self, ordered: Sequence[Object], releases: Releases, authorities: Authorities | None
    ) -> tuple[Lowered, ...] | None:
        """The objects as they are, if nothing is a cell or speaks of one: then only Secrets are looked at."""
        if self._concerned:
            return None
        secrets = tuple(self._secrets.items)
        given = (releases, authorities, *secrets)
        alone = self._kept.recall(("secrets",), given, lambda _: _lower(secrets, releases, authorities))
        return (replace(alone[0], objects=ordered),)

    def lowered(self, releases: Releases, authorities: Authorities | None) -> tuple[Lowered, ...]:
        """What cells mean in each stage, beside what has nothing to do with them."""
        rest, bound, leading = (one.items for one in (self.apart.rest, self.apart.bound, self.apart.leading))
        given = (rest, releases, authorities)
        stages = self._kept.recall(("stages",), given, lambda _: self._settled(_lower(rest, releases, authorities)))
        return tuple(
            replace(
                one, objects=Parts((*(() if number else bound.parts), *leading.parts, *in_parts(one.objects).parts))
            )
            for number, one in enumerate(stages)
        )

    def _settled(self, lowered: Iterable[Lowered]) -> tuple[Lowered, ...]:
        """The same, where objects that mean what they meant the last time are the very same: much is remembered of those."""
        last, self._lowered = self._lowered, {}
        found = []
        for one in lowered:
            known = last.get(one.stage, {})
            objects = tuple(_again(known.get(item.key), item) for item in one.objects)
            self._lowered[one.stage] = {item.key: item for item in objects}
            found.append(replace(one, objects=Parts((objects,))))
        return tuple(found)


def _again(known: Object | None, item: Object) -> Object:
    """The object that was known, if it is equal in all that can be seen of it."""
    if known is None or known is item or known.spec != item.spec or known.source != item.source:
        return item
    heads = [(one.key, one.meta, one.made_from, one.body, one.broken, one.kept) for one in (known, item)]
    if heads[0] != heads[1] or type(known.spec) is not type(item.spec):
        return item
    # To Python 1, 1.0 and True are equal, to whoever gets them as JSON they are not.
    same = known.document is item.document or repr(known.document) == repr(item.document)
    return known if same else item


def _speaks_of_cells(item: Object) -> bool:
    if item.key.group == CELLWAY_GROUP or STAGES_LABEL in item.meta.labels:
        return True
    refs = (*getattr(item.spec, "parent_refs", ()), *(item.spec.targets if isinstance(item.spec, Targets) else ()))
    return any(ref.group == CELLWAY_GROUP for ref in refs)


def lower_stages(
    objects: Iterable[Object],
    releases: Releases = NO_RELEASES,
    authorities: Authorities | None = None,
    memory: Memory | None = None,
) -> tuple[Lowered, ...]:
    """Replace cells by what they mean, in every stage. `memory` is that of earlier calls."""
    memory = memory or Memory()
    ordered = memory.update(objects)
    return memory.untouched(ordered, releases, authorities) or memory.lowered(releases, authorities)


def _lower(objects: Iterable[Object], releases: Releases, authorities: Authorities | None) -> tuple[Lowered, ...]:
    """The whole way. `objects` are in order."""
    ordered = list(objects)
    found = organization_of(ordered)
    organization = found.spec
    done = []
    for number, stage in enumerate(organization.stages):
        problems: list[Diagnostic] = []
        inside = _with_releases(ordered, stage.name, organization, releases)
        if found.readable:
            inside = _limited(inside, stage.name, organization, problems)
        problems += [
            one
            for name in _names(ordered, stage.name, organization, releases)
            for one in releases.problems.get(name, ())
        ]
        lowered = lower_cells(inside, stage.name, releases, authorities)
        written = {item.key: item for item in ordered}
        seen = {item.key for item in inside if written.get(item.key) is item or _was(item, written)}
        statuses = {key: status for key, status in lowered.statuses.items() if key in seen}
        lowered = replace(lowered, statuses=statuses, diagnostics=(*problems, *lowered.diagnostics))
        done.append(lowered if number == 0 else replace(lowered, objects=tuple(_of_cells(lowered))))
    return tuple(done)


def _was(item: Object, written: Mapping[Key, Object]) -> bool:
    """True for an object that was only marked broken on the way."""
    known = written.get(item.key)
    return known is not None and known.document is item.document


def _with_releases(
    objects: list[Object], stage: str, organization: OrganizationSpec, releases: Releases
) -> list[Object]:
    """The objects, with stored releases in place of the working copies of the cells that have one in the stage."""
    first = stage == organization.stages[0].name
    stored: dict[str, tuple[tuple[Object, ...], frozenset[str]]] = {}
    for item in objects:
        if isinstance(item.spec, CellBindingSpec) and item.spec.stage == stage:
            name = releases.of(item.spec, first=first)
            if name and item.spec.cell not in stored:
                stored[item.spec.cell] = releases.stored[name], _config_maps(item.spec)
    if not stored:
        return objects
    kept = [item for item in objects if not _is_replaced(item, stored)]
    there = {item.key for item in kept}
    return kept + [item for release, _ in stored.values() for item in release if item.key not in there]


def _names(objects: Iterable[Object], stage: str, organization: OrganizationSpec, releases: Releases) -> list[str]:
    """The releases that a stage has."""
    first = stage == organization.stages[0].name
    specs = [item.spec for item in objects if isinstance(item.spec, CellBindingSpec) and item.spec.stage == stage]
    return [name for spec in specs if (name := releases.of(spec, first=first))]


def _is_replaced(item: Object, stored: Mapping[str, tuple[tuple[Object, ...], frozenset[str]]]) -> bool:
    cell = item.name if item.key.group == CELLWAY_GROUP else item.namespace
    if cell not in stored or not is_released(item, cell):
        return False
    return not (item.key.kind == "ConfigMap" and item.name in stored[cell][1])


def _config_maps(spec: CellBindingSpec) -> frozenset[str]:
    """The ConfigMaps that a binding names: they are the stage's, not the release's."""
    return frozenset(one.ca_certificate_ref for one in spec.overrides.externals.values() if one.ca_certificate_ref)


def _limited(
    objects: list[Object], stage: str, organization: OrganizationSpec, problems: list[Diagnostic]
) -> list[Object]:
    """The objects without those whose label limits them to other stages.

    A label that nobody understands limits nothing: a policy or an HTTPRoute that has one closes what it covers, anything
    else is left out.
    """
    known = [one.name for one in organization.stages]
    cells = {item.name for item in objects if (item.key.group, item.key.kind) == (CELLWAY_GROUP, "Cell")}
    kept = []
    for item in objects:
        label = item.meta.labels.get(STAGES_LABEL)
        if label is None:
            kept.append(item)
            continue
        asked = [one.strip() for one in label.split(",")]
        wrong = next((one for one in asked if one not in known), None)
        reason, hint = "", ""
        if item.namespace not in cells:
            reason = "it limits what is attached to a cell, and this is in no cell's namespace"
        elif wrong is not None:
            reason = f"the organization has no stage '{wrong}'; it has {', '.join(known)}"
            hint = close(wrong, known)
        if not reason:
            kept += [item] if stage in asked else []
            continue
        at = item.source.value("metadata", "labels", STAGES_LABEL)
        problems.append(diagnose("C122", at, subject=str(item.key), hint=hint, reason=reason))
        if isinstance(item.spec, Targets):
            kept.append(closed(item))
        elif isinstance(item.spec, HttpRouteSpec):
            kept.append(replace(item, broken=True))
    return kept


def _of_cells(lowered: Lowered) -> Iterable[Object]:
    """Without written Gateways and what is attached to them: those are in no stage."""
    for item in lowered.objects:
        if isinstance(item.spec, Targets) and not isinstance(item.spec, BackendTlsPolicySpec):
            keep = item.derived
        elif item.key.group == GATEWAY_GROUP and item.key.kind in _BOUND_TO_GATEWAYS:
            keep = item.derived and (item.key.kind == "Gateway" or _is_on_cell(item, lowered))
        else:
            keep = not isinstance(item.spec, EnvoyPatchPolicySpec)
        if keep:
            yield item


def _is_on_cell(item: Object, lowered: Lowered) -> bool:
    """Whether a derived route is on a gateway of a cell; the part of one that is on others only is not."""
    refs = getattr(item.spec, "parent_refs", ())
    return any(Key(ref.group, ref.kind, ref.namespace or item.namespace, ref.name) in lowered.gateways for ref in refs)
