"""BackendTLSPolicies -> TLS of the backends that they target, and the status of each policy.

In: the policies that the index holds by target. Out: `graph.BackendTls`, or why a backend cannot be reached as its
policy asks: then nothing is sent to it in plain text. Of two policies for one target the older counts; one for a port
(`sectionName`) counts before one for the whole Service.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from xds_server.attach.authorities import Authorities, read_authorities
from xds_server.attach.index import Index
from xds_server.attach.memory import Remembered
from xds_server.diagnostics import Diagnostic
from xds_server.graph import AltName, BackendTls
from xds_server.model.backend_tls import BackendTlsPolicySpec
from xds_server.model.core import ServiceSpec
from xds_server.model.object import Object
from xds_server.model.policies import TargetRef, Targets
from xds_server.status import ParentStatus, Status
from xds_server.types import CORE_GROUP, ENVOY_GATEWAY_GROUP, GATEWAY_GROUP, Condition, Key, Origin

KIND = "BackendTLSPolicy"
TARGETS = ((CORE_GROUP, "Service"), (ENVOY_GATEWAY_GROUP, "Backend"))
_RESOLVED = Condition("ResolvedRefs", True, "ResolvedRefs")


def backend_tls(
    target: Key, sections: tuple[str, ...], index: Index
) -> tuple[BackendTls | str | None, tuple[Origin, ...]]:
    """TLS to a target, a message if its policy is broken, or None without a policy; and who asked for it.

    `sections` are the names of the port, the nearest first.
    """
    found = (index.tls_policies.get((target, section)) for section in (*(one for one in sections if one), ""))
    policy = next((one for one in found if one is not None), None)
    if policy is None:
        return None, ()
    if policy.broken or not isinstance(policy.spec, BackendTlsPolicySpec):
        return f"{policy.key} has errors", policy.origins
    authorities = _authorities(policy, index)
    validation = policy.spec.validation
    if not authorities.pem and validation.well_known_ca_certificates is None:
        return f"{policy.key}: {authorities.problems[0].message}", policy.origins
    name = validation.hostname
    others = (
        AltName("DNS", one.hostname) if one.hostname else AltName("URI", one.uri or "")
        for one in validation.subject_alt_names
    )
    tls = BackendTls(name, name, "\n".join(authorities.pem), tuple(others))
    return tls, (*policy.origins, *authorities.origins)


def _authorities(policy: Object, index: Index) -> Authorities:
    assert isinstance(policy.spec, BackendTlsPolicySpec)
    return read_authorities(policy.spec.validation.ca_certificate_refs, policy.key, index)


class Users:
    """The Gateways whose routes send to an object, by that object; kept from call to call."""

    def __init__(self) -> None:
        self._ways: dict[Key, set[tuple[Key, Key]]] = {}
        self._counts: dict[Key, Counter[Key]] = defaultdict(Counter)
        self._sorted: dict[Key, tuple[Key, ...]] = {}

    def update(self, routes: Iterable[Key], index: Index, statuses: Mapping[Key, Status]) -> None:
        """These routes may be others than before."""
        for route in routes:
            now = set(_ways(index.by_key.get(route), statuses.get(route), index))
            before = self._ways.pop(route, set())
            for target, gateway in before - now:
                self._counts[target][gateway] -= 1
            for target, gateway in now - before:
                self._counts[target][gateway] += 1
            for target, _ in before ^ now:
                self._sorted.pop(target, None)
            if now:
                self._ways[route] = now

    def of(self, target: Key) -> tuple[Key, ...]:
        """The Gateways of one object; the same value again as long as they are the same."""
        if target not in self._sorted:
            self._sorted[target] = tuple(sorted(key for key, count in self._counts[target].items() if count))
        return self._sorted[target]


class TlsPolicies:
    """The statuses of all BackendTLSPolicies, kept from call to call."""

    def __init__(self) -> None:
        self._users: Users | None = None

    def read(
        self, memory: Remembered, statuses: Mapping[Key, Status], renewed: Iterable[Key]
    ) -> tuple[dict[Key, Status], tuple[Diagnostic, ...]]:
        """The status of every policy for each Gateway that reaches a target, given those of all routes.

        `renewed` are the routes that may be others than in the call before, or have another status.
        """
        policies = memory.index.of_kind(GATEWAY_GROUP, KIND)
        if not policies:
            self._users = None
            return {}, ()
        first, users = self._users is None, self._users or Users()
        users.update(statuses if first else renewed, memory.index, statuses)
        self._users = users
        found: dict[Key, Status] = {}
        problems: list[Diagnostic] = []
        for policy in policies:
            reached = tuple(users.of(target) for target in _targets_of(policy))
            status, more = memory.recall(
                ("tls policy", policy.key), (policy, *reached), partial(_policy_status, policy, reached)
            )
            found[policy.key] = status
            problems += more
        return found, tuple(problems)


def _targets_of(policy: Object) -> list[Key]:
    assert isinstance(policy.spec, Targets)
    return [Key(one.group, one.kind, policy.namespace, one.name) for one in policy.spec.targets]


def _policy_status(
    policy: Object, reached: Sequence[tuple[Key, ...]], index: Index
) -> tuple[Status, tuple[Diagnostic, ...]]:
    """The status of one policy; `reached` are the Gateways of each of its targets."""
    assert isinstance(policy.spec, Targets)
    places: dict[tuple[Key, str], tuple[Condition, ...]] = {}
    common, problems = _common(policy, index)
    for number, (target, gateways) in enumerate(zip(policy.spec.targets, reached, strict=True)):
        accepted, problem = _accepted(policy, number, target, index)
        problems += problem
        conditions = common if accepted.status else (accepted,)
        for gateway in gateways:
            worst = places.get((gateway, ""))
            places[gateway, ""] = conditions if worst is None or not accepted.status else worst
        if not gateways:
            key = Key(target.group, target.kind, policy.namespace, target.name)
            places[key, target.section_name or ""] = conditions
    ancestors = tuple(_ancestor(*place, held) for place, held in sorted(places.items()))
    return Status(ancestors=ancestors), tuple(problems)


def _ancestor(key: Key, section: str, conditions: tuple[Condition, ...]) -> ParentStatus:
    return ParentStatus(key.group, key.kind, key.namespace, key.name, section, conditions=conditions)


def _common(policy: Object, index: Index) -> tuple[tuple[Condition, ...], list[Diagnostic]]:
    """What holds for all targets: whether the policy itself can be used."""
    if policy.broken:
        return (Condition("Accepted", False, "Invalid", "it has errors"),), []
    authorities = _authorities(policy, index)
    path = ("validation", "caCertificateRefs")
    problems = [policy.diagnose("A104", *path, bad.number, reason=bad.message) for bad in authorities.problems]
    if not problems:
        return (Condition("Accepted", True, "Accepted"), _RESOLVED), []
    message = "; ".join(bad.message for bad in authorities.problems)
    reasons = {bad.reason for bad in authorities.problems}
    reason = "InvalidKind" if reasons == {"InvalidKind"} else "InvalidCACertificateRef"
    resolved = Condition("ResolvedRefs", False, reason, message)
    if authorities.pem:
        return (Condition("Accepted", True, "Accepted"), resolved), problems
    return (Condition("Accepted", False, "NoValidCACertificate", message), resolved), problems


def _accepted(policy: Object, number: int, target: TargetRef, index: Index) -> tuple[Condition, tuple[Diagnostic, ...]]:
    """Whether a policy is attached to one of its targets."""
    key = Key(target.group, target.kind, policy.namespace, target.name)
    section = target.section_name or ""
    missing = _missing(key, section, index)
    if missing:
        problem = policy.diagnose("A120", "targetRefs", number, reason=missing)
        return Condition("Accepted", False, "TargetNotFound", missing), (problem,)
    winner = index.tls_policies[key, section]
    if winner is not policy:
        message = f"{winner.key} is older and already attached to {key}" + (f", port {section}" if section else "")
        return Condition("Accepted", False, "Conflicted", message), (
            policy.diagnose("A121", "targetRefs", number, reason=message),
        )
    return Condition("Accepted", True, "Accepted"), ()


def _missing(target: Key, section: str, index: Index) -> str:
    if (target.group, target.kind) not in TARGETS:
        return f"a {KIND} attaches to a Service or a Backend, not to {target.kind} of '{target.group}'"
    item = index.by_key.get(target)
    if item is None:
        return f"there is no {target}"
    ports = item.spec.ports if isinstance(item.spec, ServiceSpec) else ()
    if section and section not in {name for port in ports for name in (port.name, str(port.port))}:
        return f"{target} has no port '{section}'"
    return ""


def _ways(item: Object | None, status: Status | None, index: Index) -> Iterator[tuple[Key, Key]]:
    """The objects that a route sends to, each with a Gateway that does so for it."""
    gateways = [
        gateway
        for parent in (status.parents if status is not None else ())
        if any(one.type == "Accepted" and one.status for one in parent.conditions)
        and (gateway := _gateway_of(parent, index)) is not None
    ]
    for target in _targets(item) if item is not None and gateways else ():
        yield from ((target, gateway) for gateway in gateways)


def _gateway_of(parent: ParentStatus, index: Index) -> Key | None:
    key = Key(parent.group, parent.kind, parent.namespace, parent.name)
    item = index.by_key.get(key)
    above: Any = getattr(item.spec, "parent_ref", None) if item else None
    if above is not None:
        return Key(GATEWAY_GROUP, "Gateway", above.namespace or parent.namespace, above.name)
    return key if item is not None else None


def _targets(route: Object) -> list[Key]:
    rules: Any = getattr(route.spec, "rules", ())
    refs = [ref for rule in rules for ref in getattr(rule, "backend_refs", ())]
    return [Key(ref.group, ref.kind, ref.namespace or route.namespace, ref.name) for ref in refs]
