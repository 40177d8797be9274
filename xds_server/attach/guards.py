"""Doors that a nearer SecurityPolicy opens without saying so: it replaces a farther one whole, its token check too.

In: the scopes of one rule on one listener, and the policies. Out: a warning at the nearer policy that names the other
one's place. It decides nothing: the nearest policy counts, with or without a warning.
"""

from __future__ import annotations

from collections.abc import Iterable

from xds_server.attach.merging import Policy
from xds_server.attach.policies import PolicyTable, Scope
from xds_server.diagnostics import Diagnostic
from xds_server.features.contract import AnyFeature
from xds_server.types import Key

_KIND = "SecurityPolicy"


def lost_guards(
    scopes: Iterable[Scope], table: PolicyTable, features: Iterable[AnyFeature]
) -> tuple[tuple[Key, Key], Diagnostic] | None:
    """A warning about two policies, if the nearest takes away what guards of the next one."""
    found = [(scope, table.attached[_KIND, scope]) for scope in scopes if (_KIND, scope) in table.attached]
    if len(found) < 2 or found[0][1].broken or found[0][1].merges:
        return None
    (scope, near), (_, far) = found[:2]
    kept, there = _settings(near), _settings(far)
    fields = [
        field
        for feature in features
        if feature.guards and feature.name in there and feature.name not in kept
        for kind, field in feature.carriers
        if kind == _KIND
    ]
    if not fields or near is far:
        return None
    place = far.item.source.value(*far.item.body, fields[0])
    words = {"fields": " and ".join(f"'{field}'" for field in fields), "other": far.item.key, "place": place}
    hint = f"write {' and '.join(fields)} here too if it shall still count"
    warning = near.item.diagnose("A122", *table.places[near.item.key, scope], hint=hint, **words)
    return (near.item.key, far.item.key), warning


def _settings(policy: Policy) -> set[str]:
    return {setting.feature for setting in policy.settings}
