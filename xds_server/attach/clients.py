"""Which ClientTrafficPolicy counts for a listener, and what a port takes from those of its listeners.

In: Gateways with their listeners, the policies, the features. Out: `Clients`. Listeners of plain HTTP on one port are
one to Envoy until it has read a request, so one policy counts for all of them; on any port some settings are those of
the socket. The owner of the port's first listener decides: its first listener by name that says something. A policy
that says something else there is in error, and closes its listener.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from xds_server.attach.gateways import GatewayState
from xds_server.attach.listeners import ListenerState
from xds_server.attach.merging import Policy
from xds_server.attach.policies import PolicyTable, Scope
from xds_server.attach.protocols import transport_of
from xds_server.attach.strangers import admits_strangers, believes
from xds_server.diagnostics import Diagnostic
from xds_server.features.contract import AnyFeature
from xds_server.graph import Covering, Setting
from xds_server.types import Condition, Key

KIND = "ClientTrafficPolicy"
PortKey = tuple[int, str]
Found = Mapping[int, tuple[Policy, Scope] | None]


@dataclass(frozen=True, slots=True)
class Client:
    """What counts for one listener. `closed`: nothing is served there, since its policy cannot be kept.

    `strangers`: clients may show certificates that nobody vouches for. `policies` are all that are attached to it or above.
    """

    settings: tuple[Setting, ...] = ()
    closed: bool = False
    strangers: bool = False
    policies: tuple[Covering, ...] = ()


@dataclass(slots=True)
class Clients:
    """The result by Gateway and number of the listener, by Gateway and port, and what was wrong."""

    listeners: dict[tuple[Key, int], Client] = field(default_factory=dict)
    ports: dict[tuple[Key, PortKey], tuple[Setting, ...]] = field(default_factory=dict)
    problems: dict[tuple[Key, Scope, str], Diagnostic] = field(default_factory=dict)

    def of(self, gateway: Key, listener: ListenerState) -> Client:
        """What counts for a listener."""
        return self.listeners.get((gateway, listener.number), Client())

    def noted(self, table: PolicyTable) -> PolicyTable:
        """The policies, where those that cannot be kept everywhere say so."""
        if not self.problems:
            return table
        messages: dict[tuple[Key, Scope], list[str]] = defaultdict(list)
        for (policy, scope, _), problem in self.problems.items():
            messages[policy, scope].append(problem.message)
        accepted = dict(table.accepted)
        for (policy, scope), said in messages.items():
            condition = Condition("Accepted", False, "Conflicted", "; ".join(said))
            accepted[policy] = tuple((one, condition if one == scope else old) for one, old in accepted[policy])
        return replace(table, accepted=accepted)


@dataclass(slots=True)
class _Port:
    """One port while it is read. `leaders` are the listeners that decide, in order; `refused` says why, by number."""

    listeners: Sequence[ListenerState]
    found: Found
    leaders: Sequence[ListenerState]
    refused: dict[int, str] = field(default_factory=dict)

    def settings(self, listener: ListenerState) -> tuple[Setting, ...]:
        """What the policy of a listener says."""
        nearest = self.found[listener.number]
        return nearest[0].settings if nearest else ()


def listeners_by_port(state: GatewayState) -> dict[PortKey, list[ListenerState]]:
    """The listeners of a Gateway that can be served."""
    found: dict[PortKey, list[ListenerState]] = defaultdict(list)
    for listener in state.listeners:
        if listener.problem is None:
            found[listener.spec.port, transport_of(listener.spec.protocol)].append(listener)
    return dict(sorted(found.items()))


def read_clients(states: Iterable[GatewayState], table: PolicyTable, features: Sequence[AnyFeature]) -> Clients:
    """What counts for every listener of these Gateways."""
    clients, by_name = Clients(), {feature.name: feature for feature in features}
    for state in states:
        for place, listeners in listeners_by_port(state).items():
            port = _read(state, listeners, table)
            shared = listeners[0].spec.protocol == "HTTP"
            if shared:
                _share(port)
            _check_gateway(state, port, features)
            wide = [one for one in state.proxy if place[1] == "tcp" and _is_wide(one, features)]
            clients.ports[state.key, place] = (*_port_settings(port, features), *wide)
            for one in listeners:
                client = _client(one, port, shared=shared)
                strangers = admits_strangers(one, client.settings, by_name)
                leader = port.leaders[0] if shared and port.leaders else one
                counting = port.found[leader.number]
                asked = table.coverings((KIND,), leader.scopes(state.key), (counting,) if counting else ())
                clients.listeners[state.key, one.number] = replace(client, strangers=strangers, policies=asked)
                _report(one, port, table, clients)
    return clients


def _read(state: GatewayState, listeners: Sequence[ListenerState], table: PolicyTable) -> _Port:
    found = {one.number: table.nearest(KIND, one.scopes(state.key)) for one in listeners}
    owner = listeners[0].owner.key
    leaders = [one for one in listeners if one.owner.key == owner and found[one.number]]
    return _Port(listeners, found, sorted(leaders, key=lambda one: one.name))


def _share(port: _Port) -> None:
    """One policy for all listeners: another one that says something else is refused."""
    first = port.leaders[0] if port.leaders else None
    counting = port.found[first.number] if first else None
    wanted = counting[0].settings if counting else ()
    for one in port.listeners:
        nearest = port.found[one.number]
        if nearest is None or nearest is counting or nearest[0].settings == wanted:
            continue
        owner = port.listeners[0].owner.key
        other = str(counting[0].item.key) if counting else f"{owner}, which has none"
        number = one.spec.port
        port.refused[one.number] = f"all plain HTTP of port {number} has one policy, and that is up to {other}"


def _check_gateway(state: GatewayState, port: _Port, features: Sequence[AnyFeature]) -> None:
    """What the Gateway itself says already, a policy may not say in another way."""
    by_name = {feature.name: feature for feature in features}
    proxies = any(by_name[setting.feature].finds_clients for setting in state.edge)
    for one in port.listeners:
        settings = [(by_name[setting.feature], setting.value) for setting in port.settings(one)]
        if one.validation is not None and any(feature.checks_clients(value) for feature, value in settings):
            port.refused[one.number] = "'tls.frontend' of the Gateway says already what clients must show there"
        elif proxies and any(feature.finds_clients for feature, _ in settings):
            port.refused[one.number] = "annotations of the Gateway say already which proxies are trusted"
        elif admits_strangers(one, port.settings(one), by_name) and (found := believes(port.settings(one), by_name)):
            reason = f"{' and '.join(found)} would believe certificates that nobody has verified there"
            port.refused[one.number] = reason


def _port_settings(port: _Port, features: Sequence[AnyFeature]) -> tuple[Setting, ...]:
    """What the port itself takes, and who wants something else."""
    chosen: list[Setting] = []
    transport = transport_of(port.listeners[0].spec.protocol)
    for feature in features:
        if transport == "udp" and "udp" not in feature.transports:
            continue
        wishes = {
            one.number: (setting, wish)
            for one in port.listeners
            for setting in port.settings(one)
            if setting.feature == feature.name and (wish := feature.port_wide(setting.value)) is not None
        }
        first = next((wishes[one.number] for one in port.leaders if one.number in wishes), None)
        if first is not None:
            chosen.append(first[0])
        for number, (_, wish) in wishes.items():
            if (first is None or wish != first[1]) and number not in port.refused:
                fields = " and ".join(f"'{name}'" for kind, name in feature.carriers if kind == KIND)
                other = str(first[0].origins[0].key) if first else str(port.listeners[0].owner.key)
                port.refused[number] = f"{fields} of port {port.listeners[0].spec.port} is up to {other}"
    return tuple(chosen)


def _is_wide(setting: Setting, features: Sequence[AnyFeature]) -> bool:
    """True if the setting wants something of the port as a whole."""
    return any(one.name == setting.feature and one.port_wide(setting.value) is not None for one in features)


def _client(listener: ListenerState, port: _Port, *, shared: bool) -> Client:
    nearest = port.found[listener.number]
    leader = port.found[port.leaders[0].number] if port.leaders else None
    counting = leader if shared else nearest
    closed = listener.number in port.refused or any(one is not None and one[0].broken for one in (counting, nearest))
    return Client(counting[0].settings if counting else (), closed)


def _report(listener: ListenerState, port: _Port, table: PolicyTable, clients: Clients) -> None:
    nearest = port.found[listener.number]
    if nearest is None or listener.number not in port.refused:
        return
    policy, scope = nearest
    words = {"listener": listener.name, "reason": port.refused[listener.number]}
    problem = policy.item.diagnose("A132", *table.places[policy.item.key, scope], **words)
    clients.problems[policy.item.key, scope, listener.name] = problem
