"""Settings of policies that do nothing on a Gateway, because its EnvoyProxy does not do its part.

In: the policies that count for a rule on a listener. Out: a warning for each such setting; on another Gateway it may do
what it is for.
"""

from __future__ import annotations

from xds_server.attach.routes import Effective
from xds_server.diagnostics import Diagnostic
from xds_server.types import Key


def idle_settings(policies: Effective, gateway: Key) -> tuple[Diagnostic, ...]:
    """Warnings, each at the policy."""
    found = []
    for item, name, reason in policies.idle:
        field = next(field for kind, field in policies.features[name].carriers if kind == item.key.kind)
        found.append(item.diagnose("A149", field, name, feature=name, gateway=gateway, reason=reason))
    return tuple(found)
