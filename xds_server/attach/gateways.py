"""Gateways and their listeners: whose they are, where they listen, which of them can be served and why not.

In: Gateway and GatewayClass objects. Out: `GatewayState`s with the conditions of every listener. Routes are not
looked at here.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b

from xds_server.attach.certificates import key_pair_problem
from xds_server.attach.delivery import Delivery, read_delivery
from xds_server.attach.index import Index
from xds_server.diagnostics import Diagnostic
from xds_server.graph import Certificate
from xds_server.model.core import SecretBody
from xds_server.model.gateways import GatewayClassSpec, GatewaySpec, Listener
from xds_server.model.object import Object
from xds_server.types import CORE_GROUP, GATEWAY_GROUP, Condition, Key

SUPPORTED = ("HTTP", "HTTPS")
ALL_ADDRESSES = "0.0.0.0"  # noqa: S104 - a Gateway without addresses listens on all of them, as Gateway API expects
ROUTE_KINDS = ("HTTPRoute", "GRPCRoute")


@dataclass(frozen=True, slots=True)
class ListenerState:
    """One listener. `problem` is the condition that keeps it from being served, if any."""

    spec: Listener
    number: int
    problem: Condition | None
    certificates: tuple[Certificate, ...] = ()
    kinds: tuple[str, ...] = ROUTE_KINDS
    bad_kinds: bool = False

    @property
    def hostname(self) -> str:
        """The listener's hostname, `*` for any."""
        return self.spec.hostname or "*"


@dataclass(frozen=True, slots=True)
class GatewayState:
    """One Gateway that is ours."""

    item: Object
    spec: GatewaySpec
    listeners: tuple[ListenerState, ...]
    addresses: tuple[str, ...]
    problem: Condition | None = None
    delivery: Delivery = Delivery()  # noqa: RUF009 - frozen

    @property
    def key(self) -> Key:
        """The Gateway's identity."""
        return self.item.key


def read_gateways(
    index: Index, controllers: tuple[str, ...], pool: str | None
) -> tuple[tuple[GatewayState, ...], tuple[Diagnostic, ...]]:
    """All Gateways that are ours, in the order of their age."""
    problems: list[Diagnostic] = []
    ours = [item for item in index.of_kind(GATEWAY_GROUP, "Gateway") if _is_ours(item, index, controllers)]
    assigned = _assign_addresses(ours, pool)
    states = []
    for item in ours:
        assert isinstance(item.spec, GatewaySpec)
        listeners = _read_listeners(item, item.spec, index, problems)
        addresses, problem = _addresses(item, item.spec, assigned, problems)
        delivery, found = read_delivery(item)
        problems += found
        states.append(GatewayState(item, item.spec, listeners, addresses, problem, delivery))
    return tuple(states), tuple(problems)


def _is_ours(item: Object, index: Index, controllers: tuple[str, ...]) -> bool:
    """A Gateway is ours unless its class exists and names a controller that we do not answer for."""
    assert isinstance(item.spec, GatewaySpec)
    known = index.get(GATEWAY_GROUP, "GatewayClass", "", item.spec.gateway_class_name)
    return known is None or (isinstance(known.spec, GatewayClassSpec) and known.spec.controller_name in controllers)


def _addresses(
    item: Object, spec: GatewaySpec, assigned: Mapping[Key, str], problems: list[Diagnostic]
) -> tuple[tuple[str, ...], Condition | None]:
    found = []
    for number, address in enumerate(spec.addresses):
        if address.type != "IPAddress":
            message = f"address type {address.type} is not supported, only IPAddress"
        elif address.value and not _is_ip(address.value):
            message = f"'{address.value}' is not an IP address"
        else:
            found.append(address.value or assigned.get(item.key, ALL_ADDRESSES))
            continue
        problems.append(item.diagnose("A102", "addresses", number, reason=message))
        return (), Condition("Accepted", status=False, reason="UnsupportedAddress", message=message)
    return tuple(dict.fromkeys(found)) or (assigned.get(item.key, ALL_ADDRESSES),), None


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _assign_addresses(gateways: Iterable[Object], pool: str | None) -> dict[Key, str]:
    """An address of the pool for each Gateway that names none, found by its name so that others do not shift it."""
    if pool is None:
        return {}
    network = ipaddress.ip_network(pool)
    size = network.num_addresses - 2  # neither the network's own address nor the broadcast address
    taken: dict[str, Key] = {}
    needy = []
    for item in sorted(gateways, key=lambda item: item.key):
        assert isinstance(item.spec, GatewaySpec)
        values = [address.value for address in item.spec.addresses if address.value]
        taken.update(dict.fromkeys(values, item.key))
        if not values:
            needy.append(item.key)
    assigned = {}
    for key in needy:
        start = int.from_bytes(blake2b(f"{key.namespace}/{key.name}".encode(), digest_size=8).digest(), "big")
        for step in range(size):
            address = str(network[1 + (start + step) % size])
            if address not in taken:
                taken[address] = assigned_to = key
                assigned[assigned_to] = address
                break
    return assigned


def _read_listeners(
    item: Object, spec: GatewaySpec, index: Index, problems: list[Diagnostic]
) -> tuple[ListenerState, ...]:
    conflicts = _conflicts(spec)
    states = []
    for number, listener in enumerate(spec.listeners):
        path = ("listeners", number)
        certificates: tuple[Certificate, ...] = ()
        problem = conflicts.get(number)
        if listener.protocol not in SUPPORTED:
            message = f"protocol {listener.protocol} is not supported; supported: {', '.join(SUPPORTED)}"
            problem = Condition("Accepted", status=False, reason="UnsupportedProtocol", message=message)
            problems.append(item.diagnose("A103", *path, "protocol", reason=message))
        elif problem is not None:
            problems.append(item.diagnose("A103", *path, "port", reason=problem.message))
        elif listener.protocol == "HTTPS":
            certificates, problem = _certificates(item, listener, number, index, problems)
        wanted = tuple(kind.kind for kind in listener.allowed_routes.kinds if kind.group == GATEWAY_GROUP)
        known = tuple(kind for kind in wanted if kind in ROUTE_KINDS)
        bad = len(known) < len(listener.allowed_routes.kinds)
        if bad:
            message = f"allowedRoutes.kinds: only {', '.join(ROUTE_KINDS)} of {GATEWAY_GROUP} can be served"
            problems.append(item.diagnose("A103", *path, "allowedRoutes", "kinds", reason=message))
        kinds = known if listener.allowed_routes.kinds else ROUTE_KINDS
        states.append(ListenerState(listener, number, problem, certificates, kinds, bad))
    return tuple(states)


def _conflicts(spec: GatewaySpec) -> dict[int, Condition]:
    """Listeners that cannot stand side by side: two protocols on a port, or one hostname twice."""
    by_port: dict[int, list[int]] = defaultdict(list)
    for number, listener in enumerate(spec.listeners):
        if listener.protocol in SUPPORTED:
            by_port[listener.port].append(number)
    found: dict[int, Condition] = {}
    for port, numbers in by_port.items():
        if len({spec.listeners[number].protocol for number in numbers}) > 1:
            message = f"port {port} is used with different protocols"
            found |= {n: Condition("Conflicted", True, "ProtocolConflict", message) for n in numbers}
            continue
        hosts = [spec.listeners[number].hostname or "*" for number in numbers]
        for number, host in zip(numbers, hosts, strict=True):
            if hosts.count(host) > 1:
                message = f"port {port} has more than one listener for hostname {host}"
                found[number] = Condition("Conflicted", True, "HostnameConflict", message)
    return found


def _certificates(
    item: Object, listener: Listener, number: int, index: Index, problems: list[Diagnostic]
) -> tuple[tuple[Certificate, ...], Condition | None]:
    refs = listener.tls.certificate_refs if listener.tls else ()
    path = ("listeners", number, "tls", "certificateRefs")
    good, worst = [], None
    for place, ref in enumerate(refs):
        target = Key(ref.group, ref.kind or "Secret", ref.namespace or item.namespace, ref.name)
        secret, reason, message = index.by_key.get(target), "InvalidCertificateRef", ""
        if not index.permitted(item.key, target):
            reason, message = "RefNotPermitted", f"{target} is in another namespace and no ReferenceGrant permits it"
        elif (target.group, target.kind) != (CORE_GROUP, "Secret"):
            message = f"a certificate must be a Secret, not {target.kind}"
        elif secret is None:
            message = f"there is no {target}"
        else:
            found = _certificate(secret)
            if isinstance(found, Certificate):
                good.append(found)
                continue
            message = f"{target}: {found}"
        worst = Condition("ResolvedRefs", status=False, reason=reason, message=message)
        problems.append(item.diagnose("A104", *path, place, reason=message))
    if not refs:
        message = "an HTTPS listener needs tls.certificateRefs"
        worst = Condition("ResolvedRefs", status=False, reason="InvalidCertificateRef", message=message)
        problems.append(item.diagnose("A104", "listeners", number, reason=message))
    return tuple(good), None if good else worst


def _certificate(secret: Object) -> Certificate | str:
    assert isinstance(secret.spec, SecretBody)
    values = secret.spec.values()
    missing = [key for key in ("tls.crt", "tls.key") if key not in values]
    if missing:
        return f"has no key {missing[0]}"
    if problem := key_pair_problem(values["tls.crt"], values["tls.key"]):
        return problem
    name = f"{secret.namespace}/{secret.name}"
    return Certificate(name, values["tls.crt"], values["tls.key"], secret.origins)
