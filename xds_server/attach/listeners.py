"""Listeners of a Gateway, its own and those of ListenerSets: which can be served side by side, and with what TLS.

In: listeners with who wrote them, the Gateway's own first. Out: `ListenerState`s with what keeps each from being
served. Of two that cannot stand side by side the earlier one stays, except that a Gateway's own both give way: there
nobody can tell which was meant. Routes are not looked at here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from xds_server.attach.certificates import key_pair_problem
from xds_server.attach.frontend import Frontend
from xds_server.attach.hostnames import covers
from xds_server.attach.index import Index
from xds_server.attach.protocols import DNS, SUPPORTED, family_of, misfit, needs_certificate, route_kinds, transport_of
from xds_server.diagnostics import Diagnostic
from xds_server.graph import Certificate, ClientValidation
from xds_server.model.core import SecretBody
from xds_server.model.gateways import GatewaySpec, Listener
from xds_server.model.object import Object
from xds_server.spec import ObjectRef
from xds_server.types import CORE_GROUP, GATEWAY_GROUP, Condition, Key

Places = Callable[[int], Sequence[str]]
"""Where a port listens."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A listener as it is written: by whom, and its place in that object's list."""

    owner: Object
    spec: Listener
    place: int


@dataclass(frozen=True, slots=True)
class ListenerState:
    """One listener. `problem` is the condition that keeps it from being served, if any; `notes` are further ones.

    `number` tells it from all other listeners of its Gateway; `owner` is the Gateway or the ListenerSet that has it.
    """

    spec: Listener
    number: int
    owner: Object
    problem: Condition | None = None
    certificates: tuple[Certificate, ...] = ()
    validation: ClientValidation | None = None
    kinds: tuple[str, ...] = ()
    notes: tuple[Condition, ...] = ()

    @property
    def hostname(self) -> str:
        """The listener's hostname, `*` for any."""
        return self.spec.hostname or "*"

    @property
    def name(self) -> str:
        """Its name, with the ListenerSet's before it if it is of one: unique in its Gateway."""
        if isinstance(self.owner.spec, GatewaySpec):
            return self.spec.name
        return f"{self.owner.namespace}/{self.owner.name}/{self.spec.name}"

    def scopes(self, gateway: Key) -> tuple[tuple[Key, str], ...]:
        """Where a policy for it may be attached, the nearest first."""
        own = ((self.owner.key, self.spec.name), (self.owner.key, ""))
        return own if self.owner.key == gateway else (*own, (gateway, ""))


def read_listeners(
    entries: Sequence[Entry], frontend: Frontend, index: Index, problems: list[Diagnostic]
) -> tuple[ListenerState, ...]:
    """All listeners of a Gateway in the order of `entries`."""
    conflicts = _conflicts(entries)
    states = []
    for number, entry in enumerate(entries):
        state = ListenerState(entry.spec, number, entry.owner)
        protocol = entry.spec.protocol
        if protocol not in SUPPORTED:
            message = f"protocol {protocol} is not supported; supported: {', '.join(SUPPORTED)}"
            state = replace(state, problem=Condition("Accepted", False, "UnsupportedProtocol", message))
            problems.append(entry.owner.diagnose("A103", "listeners", entry.place, "protocol", reason=message))
        elif unfit := misfit(entry.spec):
            state = replace(state, problem=Condition("Accepted", False, "UnsupportedValue", unfit[1]))
            problems.append(entry.owner.diagnose("A103", "listeners", entry.place, unfit[0], reason=unfit[1]))
        elif number in conflicts:
            state = replace(state, problem=conflicts[number])
            message = conflicts[number].message
            problems.append(entry.owner.diagnose("A103", "listeners", entry.place, "port", reason=message))
        elif needs_certificate(entry.spec):
            state = _with_tls(state, entry, frontend, index, problems)
        states.append(_with_kinds(state, entry, problems))
    return tuple(_overlapping(states))


def beside_server(
    states: Sequence[ListenerState], entries: Sequence[Entry], places: Places, index: Index, problems: list[Diagnostic]
) -> tuple[ListenerState, ...]:
    """The same, without those that would listen where the server on the same machine does."""
    found = list(states)
    for state, entry in zip(states, entries, strict=True):
        port, apart = entry.spec.port, state.problem is not None or transport_of(entry.spec.protocol) != "tcp"
        if other := "" if apart else index.reach.server_at(places(port), port):
            message = f"port {port} is where {other} is; use another port or address"
            problems.append(entry.owner.diagnose("A103", "listeners", entry.place, "port", reason=message))
            problem = Condition("Accepted", False, "PortUnavailable", message)
            found[state.number] = replace(state, problem=problem)
    return tuple(found)


def _with_kinds(state: ListenerState, entry: Entry, problems: list[Diagnostic]) -> ListenerState:
    """The state with the kinds of routes that it takes."""
    possible = route_kinds(entry.spec)
    written = entry.spec.allowed_routes.kinds
    known = tuple(one.kind for one in written if one.group == GATEWAY_GROUP and one.kind in possible)
    if len(known) == len(written):
        return replace(state, kinds=known or possible)
    message = f"allowedRoutes.kinds: only {', '.join(possible) or 'nothing'} of {GATEWAY_GROUP} can be served"
    path = ("listeners", entry.place, "allowedRoutes", "kinds")
    problems.append(entry.owner.diagnose("A103", *path, reason=message))
    note = Condition("ResolvedRefs", False, "InvalidRouteKinds", message)
    return replace(state, kinds=known, notes=(*state.notes, note))


def _conflicts(entries: Sequence[Entry]) -> dict[int, Condition]:
    """Listeners that cannot stand side by side: two protocols on a port, or one hostname twice."""
    found: dict[int, Condition] = {}
    by_port: dict[tuple[int, str], list[int]] = defaultdict(list)
    for number, entry in enumerate(entries):
        if entry.spec.protocol in SUPPORTED:
            by_port[entry.spec.port, transport_of(entry.spec.protocol)].append(number)
    for numbers in by_port.values():
        for place, number in enumerate(numbers):
            if _is_gateways(entries[number]):
                rivals = [other for other in numbers if _is_gateways(entries[other]) and other != number]
            else:
                rivals = [other for other in numbers[:place] if other not in found or _is_gateways(entries[other])]
            conflict = _conflict(entries[number].spec, [entries[other].spec for other in rivals])
            if conflict is not None:
                found[number] = conflict
    return found


def _is_gateways(entry: Entry) -> bool:
    """True for a listener of a Gateway itself, not of a ListenerSet."""
    return isinstance(entry.owner.spec, GatewaySpec)


def _conflict(one: Listener, rivals: list[Listener]) -> Condition | None:
    if any(family_of(other.protocol) != family_of(one.protocol) for other in rivals):
        message = f"port {one.port} is used with different protocols"
        return Condition("Conflicted", True, "ProtocolConflict", message)
    if rivals and one.protocol in ("TCP", "UDP", DNS):
        message = f"port {one.port} has more than one {one.protocol} listener, and nothing tells them apart"
        return Condition("Conflicted", True, "ProtocolConflict", message)
    if any(other.hostname == one.hostname for other in rivals):
        message = f"port {one.port} has more than one listener for hostname {one.hostname or '*'}"
        return Condition("Conflicted", True, "HostnameConflict", message)
    return None


def _overlapping(states: list[ListenerState]) -> list[ListenerState]:
    """TLS listeners of one port whose hostnames have hosts in common are told so: clients may reuse connections."""
    secure = [one for one in states if one.spec.protocol == "HTTPS" and one.problem is None]
    return [_told(state, [one for one in secure if state in secure and _overlap(one, state)]) for state in states]


def _overlap(one: ListenerState, other: ListenerState) -> bool:
    return (
        one is not other
        and one.spec.port == other.spec.port
        and (covers(other.hostname, one.hostname) or covers(one.hostname, other.hostname))
    )


def _told(state: ListenerState, others: list[ListenerState]) -> ListenerState:
    if not others:
        return state
    names = ", ".join(other.name for other in others)
    message = f"shares hosts with {names}; a request on the wrong one is answered with 421"
    note = Condition("OverlappingTLSConfig", True, "OverlappingHostnames", message)
    return replace(state, notes=(*state.notes, note))


def _with_tls(
    state: ListenerState, entry: Entry, frontend: Frontend, index: Index, problems: list[Diagnostic]
) -> ListenerState:
    """The state with certificates and with what clients must show."""
    certificates, bad = _certificates(entry, index, problems)
    state = replace(state, certificates=certificates)
    if bad is not None and not certificates:
        state = replace(state, problem=bad)
    elif bad is not None:
        reason = bad.reason if bad.reason == "RefNotPermitted" else "PartiallyInvalidCertificateRef"
        state = replace(state, notes=(replace(bad, reason=reason),))
    checked = frontend.of(entry.spec.port)
    if checked is not None and entry.spec.protocol != "HTTPS":
        problems.append(entry.owner.diagnose("A145", "listeners", entry.place, "protocol"))
        return state
    if checked is None:
        return state
    if checked.resolved is not None:
        state = replace(state, notes=(*state.notes, checked.resolved))
    if checked.validation is None and checked.resolved is not None:
        message = checked.resolved.message
        problem = Condition("Accepted", False, "NoValidCACertificate", message)
        return replace(state, problem=state.problem or problem)
    return replace(state, validation=checked.validation)


def _certificates(
    entry: Entry, index: Index, problems: list[Diagnostic]
) -> tuple[tuple[Certificate, ...], Condition | None]:
    """The certificates of a listener, and the condition that says what is wrong with others."""
    refs = entry.spec.tls.certificate_refs if entry.spec.tls else ()
    path = ("listeners", entry.place, "tls", "certificateRefs")
    good, worst = [], None
    for place, ref in enumerate(refs):
        found = read_certificate(ref, entry.owner, index)
        if isinstance(found, Certificate):
            good.append(found)
            continue
        reason, message = found
        worst = Condition("ResolvedRefs", False, reason, message)
        problems.append(entry.owner.diagnose("A104", *path, place, reason=message))
    if not refs:
        message = f"a listener with protocol {entry.spec.protocol} needs tls.certificateRefs"
        worst = Condition("ResolvedRefs", False, "InvalidCertificateRef", message)
        problems.append(entry.owner.diagnose("A104", "listeners", entry.place, reason=message))
    return tuple(good), worst


def _is_own(secret: Object, owner: Object) -> bool:
    """Whether a derived Secret is what identifies this very gateway of a cell: it is for that one alone."""
    return owner.derived and (secret.namespace, secret.name) == (owner.namespace, f"{owner.name}-identity")


def read_certificate(ref: ObjectRef, owner: Object, index: Index) -> Certificate | tuple[str, str]:
    """The certificate that `owner` refers to, or a reason and a message."""
    target = Key(ref.group, ref.kind or "Secret", ref.namespace or owner.namespace, ref.name)
    secret = index.by_key.get(target)
    if not index.permitted(owner.key, target):
        return "RefNotPermitted", f"{target} is in another namespace and no ReferenceGrant permits it"
    if (target.group, target.kind) != (CORE_GROUP, "Secret"):
        return (
            "InvalidCertificateRef",
            f"a certificate must be a Secret of the core group, not {target.kind} of '{target.group}'",
        )
    if secret is None or (secret.derived and not _is_own(secret, owner)) or (secret.kept and not owner.derived):
        return "InvalidCertificateRef", f"there is no {target}"
    assert isinstance(secret.spec, SecretBody)
    values = secret.spec.values()
    missing = [key for key in ("tls.crt", "tls.key") if key not in values]
    if missing:
        return "InvalidCertificateRef", f"{target}: has no key {missing[0]}"
    if problem := key_pair_problem(values["tls.crt"], values["tls.key"]):
        return "InvalidCertificateRef", f"{target}: {problem}"
    name = f"{secret.namespace}/{secret.name}"
    return Certificate(name, values["tls.crt"], values["tls.key"], secret.origins)
