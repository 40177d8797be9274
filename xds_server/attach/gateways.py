"""Gateways: whose they are, where they listen, and what is said of each as a whole.

In: Gateway, GatewayClass and ListenerSet objects. Out: `GatewayState`s with their listeners. Routes are not looked at
here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from xds_server.attach.delivery import Delivery, read_delivery
from xds_server.attach.edge import read_edge, streams_problem
from xds_server.attach.frontend import read_frontend
from xds_server.attach.index import Index
from xds_server.attach.listener_sets import SetState, read_sets
from xds_server.attach.listeners import Entry, ListenerState, beside_server, read_certificate, read_listeners
from xds_server.attach.places import read_places
from xds_server.attach.proxies import ALL_ADDRESSES, read_proxy
from xds_server.diagnostics import Diagnostic
from xds_server.features.contract import AnyFeature
from xds_server.graph import Certificate, Process, Setting
from xds_server.model.gateways import GatewayAddress, GatewayClassSpec, GatewaySpec
from xds_server.model.object import Object
from xds_server.spec import ObjectRef
from xds_server.types import GATEWAY_GROUP, Condition, Key

_NOBODYS = tuple(
    ipaddress.ip_network(text)
    for text in ("240.0.0.0/4", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
)
"""Addresses that no host has: reserved, or for documentation."""


@dataclass(frozen=True, slots=True)
class GatewayState:
    """One Gateway that is ours. `problem` keeps all of it from being served; `notes` are further conditions.

    `edge` is what its annotations set for every listener, `proxy` what its EnvoyProxy does; `process` how its
    Envoys are run; `places` are the addresses of ports that have their own.
    """

    item: Object
    spec: GatewaySpec
    listeners: tuple[ListenerState, ...]
    addresses: tuple[str, ...]
    problem: Condition | None = None
    notes: tuple[Condition, ...] = ()
    sets: tuple[SetState, ...] = ()
    client: Certificate | None = None
    delivery: Delivery = Delivery()  # noqa: RUF009 - frozen
    edge: tuple[Setting, ...] = ()
    proxy: tuple[Setting, ...] = ()
    process: Process | None = Process()  # noqa: RUF009 - frozen
    places: Mapping[int, str] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """The Gateway's identity."""
        return self.item.key

    def addresses_of(self, port: int) -> tuple[str, ...]:
        """Where a port listens: on an address of its own, else on those of the Gateway."""
        return (self.places[port],) if port in self.places else self.addresses

    def listeners_of(self, owner: Key) -> tuple[ListenerState, ...]:
        """Its own listeners, or those that a ListenerSet adds."""
        return tuple(one for one in self.listeners if one.owner.key == owner)


@dataclass(slots=True)
class _Notes:
    """What is found while a Gateway is read."""

    problem: Condition | None = None
    conditions: list[Condition] = field(default_factory=list)


def read_gateways(
    index: Index, controllers: tuple[str, ...], pool: str | None, features: Sequence[AnyFeature]
) -> tuple[tuple[GatewayState, ...], tuple[SetState, ...], tuple[Diagnostic, ...]]:
    """All Gateways that are ours in the order of their age, and all ListenerSets that mean one of them or none."""
    problems: list[Diagnostic] = []
    ours = [item for item in index.of_kind(GATEWAY_GROUP, "Gateway") if _is_ours(item, index, controllers)]
    assigned = _assign_addresses(ours, pool)
    sets = read_sets({item.key: item for item in ours}, index, problems)
    states = [_read(item, sets, (assigned, pool), (index, features), problems) for item in ours]
    return tuple(states), sets, tuple(problems)


def _read(
    item: Object,
    sets: Iterable[SetState],
    given: tuple[Mapping[Key, str], str | None],
    known: tuple[Index, Sequence[AnyFeature]],
    problems: list[Diagnostic],
) -> GatewayState:
    index, features = known
    assert isinstance(item.spec, GatewaySpec)
    admitted = tuple(one for one in sets if one.gateway == item.key and one.accepted.status)
    entries = [Entry(item, listener, place) for place, listener in enumerate(item.spec.listeners)]
    entries += [Entry(one.item, spec, place) for one in admitted for place, spec in enumerate(one.spec.listeners)]
    notes = _Notes()
    proxy = read_proxy(item, _class_of(item.spec, index), index, features, problems)
    if proxy.problem:
        notes.problem = Condition("Accepted", False, "InvalidParameters", proxy.problem)
    addresses = _addresses(item, proxy.addresses, given, notes, problems)
    places, misplaced = read_places(item, {one.spec.port for one in entries})
    if misplaced is not None:
        problems.append(misplaced)
        notes.problem = notes.problem or Condition("Accepted", False, "UnsupportedValue", misplaced.message)
    frontend = read_frontend(item, item.spec, index, problems)
    if frontend.insecure:
        message = "clients whom nobody vouches for are let in: AllowInsecureFallback"
        notes.conditions.append(Condition("InsecureFrontendValidationMode", True, "ConfigurationChanged", message))
    client = _client_certificate(item, item.spec, index, notes, problems)
    listeners = read_listeners(entries, frontend, index, problems)
    own = {port: (one,) for port, one in places.items()}
    listeners = beside_server(listeners, entries, lambda port: own.get(port, addresses), index, problems)
    delivery, found = read_delivery(item)
    edge, wrong = read_edge(item)
    problems += [*found, *wrong]
    for one in listeners if edge else ():
        if one.spec.protocol not in ("HTTP", "HTTPS"):
            problems.append(streams_problem(item, one.name))
    return GatewayState(
        item=item,
        spec=item.spec,
        listeners=listeners,
        addresses=addresses,
        problem=notes.problem,
        notes=tuple(notes.conditions),
        sets=admitted,
        client=client if _own_client(item.spec) else proxy.client,
        delivery=delivery,
        edge=edge,
        proxy=proxy.settings,
        process=proxy.process,
        places=places,
    )


def _class_of(spec: GatewaySpec, index: Index) -> Object | None:
    return index.get(GATEWAY_GROUP, "GatewayClass", "", spec.gateway_class_name)


def _is_ours(item: Object, index: Index, controllers: tuple[str, ...]) -> bool:
    """A Gateway is ours unless its class exists and names a controller that we do not answer for."""
    assert isinstance(item.spec, GatewaySpec)
    known = _class_of(item.spec, index)
    return known is None or (isinstance(known.spec, GatewayClassSpec) and known.spec.controller_name in controllers)


def _own_client(spec: GatewaySpec) -> ObjectRef | None:
    return spec.tls.backend.client_certificate_ref if spec.tls and spec.tls.backend else None


def _client_certificate(
    item: Object, spec: GatewaySpec, index: Index, notes: _Notes, problems: list[Diagnostic]
) -> Certificate | None:
    """The certificate that is shown to backends. Without it those that ask for one refuse the gateway."""
    ref = _own_client(spec)
    if ref is None:
        return None
    found = read_certificate(ref, item, index)
    if isinstance(found, Certificate):
        notes.conditions.append(Condition("ResolvedRefs", True, "ResolvedRefs"))
        return found
    reason, message = found
    problems.append(item.diagnose("A104", "tls", "backend", "clientCertificateRef", reason=message))
    reason = reason if reason == "RefNotPermitted" else "InvalidClientCertificateRef"
    notes.conditions.append(Condition("ResolvedRefs", False, reason, message))
    return None


def _addresses(
    item: Object,
    usual: tuple[str, ...],
    given: tuple[Mapping[Key, str], str | None],
    notes: _Notes,
    problems: list[Diagnostic],
) -> tuple[str, ...]:
    """Where a Gateway listens, if it does not say it on the `usual` addresses; what it cannot listen on is noted."""
    assert isinstance(item.spec, GatewaySpec)
    spec = item.spec
    assigned, pool = given
    found: list[str] = []
    for number, address in enumerate(spec.addresses or (None,)):
        value = address.value if address is not None else ""
        if address is not None and (message := _unsupported(address)):
            problems.append(item.diagnose("A102", "addresses", number, reason=message))
            notes.problem = notes.problem or Condition("Accepted", False, "UnsupportedAddress", message)
        elif not value and pool is not None and item.key not in assigned:
            message = f"the address pool {pool} has no address left"
            problems.append(item.diagnose("A102", "addresses", reason=message))
            notes.conditions.append(Condition("Programmed", False, "AddressNotAssigned", message))
        elif value and (message := unusable(value)):
            problems.append(item.diagnose("A102", "addresses", number, reason=message))
            notes.conditions.append(Condition("Programmed", False, "AddressNotUsable", message))
        else:
            one = value or assigned.get(item.key)
            found += (one,) if one else usual
    return () if notes.problem else tuple(dict.fromkeys(found))


def _unsupported(address: GatewayAddress) -> str:
    if address.type != "IPAddress":
        return f"address type {address.type} is not supported, only IPAddress"
    try:
        ipaddress.ip_address(address.value or ALL_ADDRESSES)
    except ValueError:
        return f"'{address.value}' is not an IP address"
    return ""


def unusable(text: str) -> str:
    """Why nothing can listen on an address; empty if something may."""
    address = ipaddress.ip_address(text)
    if address.is_multicast or any(address in network for network in _NOBODYS):
        return f"no host has the address {text}"
    return ""


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
                taken[address] = key
                assigned[key] = address
                break
    return assigned
