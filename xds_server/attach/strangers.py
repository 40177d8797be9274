"""Certificates of clients that nobody vouches for, and what would believe the names in them.

In: what counts for a listener, and the settings of a rule there. Out: whether its clients may show any certificate they
like, and an error for every setting that goes by names in it. Such a rule is closed on that listener: Envoy cannot tell
a name that was checked from one that was only written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xds_server.attach.listeners import ListenerState
from xds_server.attach.routes import Effective
from xds_server.attach.rules import Rule
from xds_server.diagnostics import Diagnostic
from xds_server.features.contract import AnyFeature
from xds_server.graph import Setting
from xds_server.model.object import Object

HINT = "let the listener verify certificates: mode RequireAndVerify or VerifyIfGiven, with caCertificateRefs"


def admits_strangers(listener: ListenerState, settings: Iterable[Setting], features: Mapping[str, AnyFeature]) -> bool:
    """True if clients of a listener with these settings may show certificates that nobody vouches for."""
    if listener.validation is not None and listener.validation.insecure:
        return True
    return any(features[one.feature].takes_any_certificate(one.value) for one in settings)


def believes(settings: Iterable[Setting], features: Mapping[str, AnyFeature]) -> tuple[str, ...]:
    """The settings that go by what certificates of clients say, by the field that they are written in."""
    found = (features[one.feature] for one in settings if features[one.feature].believes_certificates(one.value))
    return tuple(dict.fromkeys(feature.carriers[0][1] for feature in found))


def credulous(route: Object, rule: Rule, policies: Effective, listener: ListenerState) -> tuple[Diagnostic, ...]:
    """What goes by names in certificates that nobody has checked, where a rule meets such a listener."""
    words = {"listener": f"{listener.name} of {listener.owner.key}"}
    own = (*rule.settings, *(one for share in rule.backends for one in share.filtered.settings))
    found = [
        route.diagnose("A148", "rules", rule.number, hint=HINT, field=field, **words)
        for field in believes(own, policies.features)
    ]
    for policy, _ in policies.policies:
        found += [
            policy.item.diagnose("A148", field, hint=HINT, field=field, **words)
            for field in believes(policy.settings, policies.features)
        ]
    return tuple(found)
