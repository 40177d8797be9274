"""Doors that a nearer SecurityPolicy opens without saying so: it replaces a farther one whole, its token check too.

In: the scopes of one rule on one listener, and the policies. Out: a warning at the nearer policy that names the other
one's place. It decides nothing: the nearest policy counts, with or without a warning.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from xds_server.attach.merging import Policy
from xds_server.attach.policies import PolicyTable, Scope
from xds_server.diagnostics import Diagnostic
from xds_server.features.contract import AnyFeature
from xds_server.types import Key

_KIND = "SecurityPolicy"


def lost_guards(
    scopes: Sequence[Scope], above: Collection[Scope], table: PolicyTable, features: Sequence[AnyFeature]
) -> tuple[tuple[Key, Key], Diagnostic] | None:
    """A warning about two policies, if what counts takes away what guards of the nearest one that does not count."""
    counting = table.counting(_KIND, scopes, above)
    if not counting or counting[0][0].broken:
        return None
    (near, scope), *merged = counting
    known = {near.item.key, *(policy.item.key for policy, _ in merged)}
    others = [found for one in scopes if (found := table.attached.get((_KIND, one))) and found.item.key not in known]
    # What is nearer than a policy that is merged is passed over, and what is farther has a warning of its own.
    for far in others if merged else others[:1]:
        if (warning := _warning(near, scope, far, table, features)) is not None:
            return (near.item.key, far.item.key), warning
    return None


def _warning(
    near: Policy, scope: Scope, far: Policy, table: PolicyTable, features: Sequence[AnyFeature]
) -> Diagnostic | None:
    kept, there = _settings(near), _settings(far)
    fields = [
        field
        for feature in features
        if feature.guards and feature.name in there and feature.name not in kept
        for kind, field in feature.carriers
        if kind == _KIND
    ]
    if not fields:
        return None
    place = far.item.source.value(*far.item.body, fields[0])
    words = {"fields": " and ".join(f"'{field}'" for field in fields), "other": far.item.key, "place": place}
    hint = f"write {' and '.join(fields)} here too if it shall still count"
    return near.item.diagnose("A122", *table.places[near.item.key, scope], hint=hint, **words)


def _settings(policy: Policy) -> set[str]:
    return {setting.feature for setting in policy.settings}
