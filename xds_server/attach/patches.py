"""EnvoyPatchPolicies -> the changes of each Gateway's Envoy resources, in their order.

In: the policies, and the Gateways that are ours. Out: `PatchSet`s by Gateway, statuses, problems. A policy whose namespace
may not extend Envoys, or whose Gateway is not there, changes nothing. Whether its changes can be made is not known here.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field

from xds_server.attach.index import Index
from xds_server.diagnostics import Diagnostic
from xds_server.graph import Patch, PatchSet
from xds_server.model.object import Object
from xds_server.model.patches import EnvoyPatchPolicySpec
from xds_server.status import ParentStatus, Status
from xds_server.types import ENVOY_GATEWAY_GROUP, GATEWAY_GROUP, Condition, Key, Origin

KIND = "EnvoyPatchPolicy"
HINT = "the operator of the server permits it by --allow-extensions NAMESPACE"


@dataclass(slots=True)
class Patches:
    """The changes by Gateway, the status of every policy, and what is wrong with some."""

    sets: dict[Key, list[PatchSet]] = field(default_factory=lambda: defaultdict(list))
    statuses: dict[Key, Status] = field(default_factory=dict)
    problems: list[Diagnostic] = field(default_factory=list)


def read_patches(index: Index, ours: Collection[Key], foreign: Collection[Key]) -> Patches:
    """The policies with the lowest priority first; of equal ones the oldest."""
    patches = Patches()
    found = [
        (item, item.spec)
        for item in index.of_kind(ENVOY_GATEWAY_GROUP, KIND)
        if isinstance(item.spec, EnvoyPatchPolicySpec)
    ]
    for item, spec in sorted(found, key=lambda one: one[1].priority):
        ref = spec.target_ref
        target = Key(ref.group, ref.kind, item.namespace, ref.name)
        if target in foreign:
            continue
        problem, condition = _refused(item, spec, index, target in ours)
        if problem is None:
            patches.sets[target].append(PatchSet(item.key, _patches(item, spec)))
        else:
            patches.problems.append(problem)
        place = ParentStatus(target.group, target.kind, target.namespace, target.name, conditions=(condition,))
        patches.statuses[item.key] = Status(ancestors=(place,))
    return patches


def _refused(
    item: Object, spec: EnvoyPatchPolicySpec, index: Index, there: bool
) -> tuple[Diagnostic | None, Condition]:
    """What keeps a policy from changing anything, and its Accepted condition."""
    ref = spec.target_ref
    if (ref.group, ref.kind) != (GATEWAY_GROUP, "Gateway") or ref.section_name is not None:
        message = "an EnvoyPatchPolicy is for one Gateway, all of it"
    elif not there:
        message = f"there is no Gateway {item.namespace}/{ref.name}"
    elif not index.may_extend(item.namespace):
        problem = item.diagnose("A150", hint=HINT, what=f"an {KIND}", namespace=item.namespace)
        return problem, Condition("Accepted", False, "Disabled", problem.message)
    else:
        return None, Condition("Accepted", True, "Accepted")
    problem = item.diagnose("A120", "targetRef", hint="", reason=message)
    return problem, Condition("Accepted", False, "TargetNotFound", message)


def _patches(item: Object, spec: EnvoyPatchPolicySpec) -> tuple[Patch, ...]:
    return tuple(
        Patch(
            one.type,
            one.name,
            json.dumps(one.operation.model_dump(by_alias=True, exclude_unset=True), sort_keys=True),
            Origin(item.key, item.source.value(*item.body, "jsonPatches", number, "operation")),
        )
        for number, one in enumerate(spec.json_patches)
    )
