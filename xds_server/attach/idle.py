"""Settings of policies that do nothing, or close, on a Gateway, because its EnvoyProxy does not do its part.

In: the policies that count for a rule on a listener. Out: a warning for each setting that does nothing, and an error for each
that cannot be kept there; on another Gateway it may do what it is for.
"""

from __future__ import annotations

from xds_server.attach.routes import Effective
from xds_server.diagnostics import Diagnostic
from xds_server.model.object import Object
from xds_server.types import Key


def idle_settings(policies: Effective, gateway: Key) -> tuple[Diagnostic, ...]:
    """What is wrong, each at the policy."""
    found = []
    for item, name, reason in policies.idle:
        field = _field(policies, item, name)
        found.append(item.diagnose("A149", field, name, feature=name, gateway=gateway, reason=reason))
    for item, name, refused in policies.refused:
        field = _field(policies, item, name)
        found.append(item.diagnose("A151", field, *refused.path, field=field, gateway=gateway, reason=refused.reason))
    return tuple(found)


def _field(policies: Effective, item: Object, name: str) -> str:
    return next(field for kind, field in policies.features[name].carriers if kind == item.key.kind)
