"""Who may talk to whom below the gateways: the same cells as a list of allowed connections between pods.

In: what cells mean (derived gateways and backends) and their sections. Out: one `Namespace` for every cell in its stage,
with a `PodPolicy` for each kind of pod. Ports are those that pods listen on. How a cluster enforces them is not known here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from xds_server.attach.protocols import transport_of
from xds_server.cells.plan import Plan
from xds_server.cells.sections import Exit, Sections
from xds_server.cells.sidecars import endpoints_of
from xds_server.model.cell_kinds import Direction
from xds_server.model.core import BackendSpec, IpEndpoint
from xds_server.model.gateways import GatewaySpec
from xds_server.model.object import Object
from xds_server.types import CELLWAY_GROUP, ENVOY_GATEWAY_GROUP, GATEWAY_GROUP, Key

CELL, STAGE, ORG, COMPONENT, GATEWAY = (
    f"{CELLWAY_GROUP}/{name}" for name in ("cell", "stage", "org", "component", "gateway")
)
Port = tuple[str, int]
"""Protocol (TCP, UDP) and number."""


@dataclass(frozen=True, slots=True)
class Pods:
    """Pods by labels. `namespace`: labels of their namespace; None: the policy's own. `having`: labels of any value."""

    labels: Mapping[str, str] = field(default_factory=dict)
    having: tuple[str, ...] = ()
    namespace: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Networks:
    """Addresses outside the cluster, as ranges. `private`: those of private networks count, too."""

    ranges: tuple[str, ...]
    private: bool = True


@dataclass(frozen=True, slots=True)
class Hosts:
    """Hosts on the internet by name. A cluster that knows no names lets every public address through instead."""

    names: tuple[str, ...]


Peer = Pods | Networks | Hosts


@dataclass(frozen=True, slots=True)
class Rule:
    """Connections with any of the peers on any of the ports; no ports: on all."""

    peers: tuple[Peer, ...]
    ports: tuple[Port, ...]


@dataclass(frozen=True, slots=True)
class PodPolicy:
    """What some pods of a namespace may do."""

    name: str
    pods: Pods
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Namespace:
    """A cell in a stage: its namespace, the labels of that, and the policies in it. What none of them allows is refused."""

    cell: str
    stage: str
    labels: Mapping[str, str]
    policies: tuple[PodPolicy, ...]

    @property
    def name(self) -> str:
        """`cell-orders-prod`."""
        return f"cell-{self.cell}-{self.stage}"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a cluster holds beside cells: DNS, the control plane, and who reads metrics."""

    dns_namespace: str = "kube-system"
    system_namespace: str = "cellway-system"
    xds_port: int = 18000
    metrics_namespace: str = "monitoring"
    metrics_port: int = 19100


@dataclass(frozen=True, slots=True)
class Cells:
    """All cells of a stage. `objects` is what they mean; `services` are the hosts and ports that filters of a gateway ask."""

    plan: Plan
    sections: tuple[Sections, ...]
    objects: Mapping[Key, Object]
    services: Mapping[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)


def allowed_flows(cells: Cells, around: Surroundings) -> tuple[Namespace, ...]:
    """The namespaces of all bound cells of a stage, in the order of their names."""
    found = []
    stage = cells.plan.stage
    for one in sorted(cells.sections, key=lambda item: item.cell.name):
        flows = _Flows(one, cells, around)
        labels = {ORG: cells.plan.organization_name, CELL: one.cell.name, STAGE: stage}
        found.append(Namespace(one.cell.name, stage, labels, tuple(flows.policies())))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Flows:
    """Works out the policies of one cell."""

    sections: Sections
    cells: Cells
    around: Surroundings

    def policies(self) -> Iterator[PodPolicy]:
        """All of them: what holds for every pod, then components, then gateways."""
        dns = Pods({"k8s-app": "kube-dns"}, namespace={"kubernetes.io/metadata.name": self.around.dns_namespace})
        yield PodPolicy("default-deny", Pods())
        yield PodPolicy("dns", Pods(), egress=(Rule((dns,), (("UDP", 53), ("TCP", 53))),))
        for component in dict.fromkeys(one.name for one in self.sections.cell.spec.components):
            yield self._component(component)
        used = [one for one in self.sections.directions() if self._gateway(one) is not None]
        for direction in used:
            ingress, egress = self._rules_of(direction)
            yield PodPolicy(direction, Pods({GATEWAY: direction}), ingress, (*egress, *self._to_services(direction)))
        if used:
            yield self._platform()

    def _rules_of(self, direction: Direction) -> tuple[tuple[Rule, ...], tuple[Rule, ...]]:
        """What a gateway accepts and where it connects to."""
        ports = self._ports(self.sections.cell.name, direction)
        if direction == "north":
            edge = self.cells.plan.organization.edge
            ranges = edge.trusted_proxies if edge is not None else ("0.0.0.0/0", "::/0")
            return (Rule((Networks(ranges),), ports),), self._inwards(direction)
        if direction == "west":
            callers = tuple(self._gateway_pods(name, "east") for name in self._callers())
            return ((Rule(callers, ports),) if callers else ()), self._inwards(direction)
        inside = tuple(Pods({COMPONENT: name}) for name in self._users(direction))
        ingress = (Rule(inside, ports),) if inside else ()
        return ingress, self._to_cells() if direction == "east" else self._to_internet()

    def _component(self, component: str) -> PodPolicy:
        """Its own cell reaches what it declares; gateways reach what they route to; it reaches its own cell and gateways."""
        cell = self.sections.cell
        anyone = Pods(having=(COMPONENT,))
        spec = next(one for one in cell.spec.components if one.name == component)
        declared = [f"{component}.{endpoint.name}" for endpoint in spec.endpoints]
        ingress = list(self._from_inside(component, anyone))
        for direction in ("north", "west"):
            routed = [name for name in declared if self._backend(f"{direction}|{cell.name}.{name}")]
            if routed:
                ingress.append(Rule((Pods({GATEWAY: direction}),), self._target_ports(routed)))
        egress = [Rule((anyone,), ())]
        egress += [
            Rule((Pods({GATEWAY: direction}),), self._ports(cell.name, direction))
            for direction in ("east", "south")
            if component in self._users(direction) and self._gateway(direction) is not None
        ]
        if component in cell.sidecars:
            metrics, control = self._system()
            ingress.append(metrics)
            egress.append(control)
        return PodPolicy(f"component-{component}", Pods({COMPONENT: component}), tuple(ingress), tuple(egress))

    def _from_inside(self, component: str, anyone: Pods) -> Iterator[Rule]:
        """Who of the cell reaches a component: every other one, or those that `from` of an endpoint names."""
        cell, users = self.sections.cell, dict[tuple[str, ...], list[str]]()
        for endpoint in endpoints_of(cell, component):
            users.setdefault(endpoint.from_, []).append(f"{component}.{endpoint.name}")
        for names, endpoints in users.items():
            peers = tuple(Pods({COMPONENT: name}) for name in names) or (anyone,)
            if ports := self._target_ports(endpoints):
                yield Rule(peers, ports)

    def _platform(self) -> PodPolicy:
        """What every gateway needs: its configuration, and somebody who reads its metrics."""
        metrics, control = self._system()
        return PodPolicy("gateways", Pods(having=(GATEWAY,)), ingress=(metrics,), egress=(control,))

    def _system(self) -> tuple[Rule, Rule]:
        """Who reads the metrics of an Envoy, and who configures it."""
        around = self.around
        control = Pods(
            {"app.kubernetes.io/name": "cellway"}, namespace={"kubernetes.io/metadata.name": around.system_namespace}
        )
        metrics = Pods(
            {"app.kubernetes.io/name": "prometheus"},
            namespace={"kubernetes.io/metadata.name": around.metrics_namespace},
        )
        return Rule((metrics,), (("TCP", around.metrics_port),)), Rule((control,), (("TCP", around.xds_port),))

    def _inwards(self, direction: Direction) -> tuple[Rule, ...]:
        """From north or west to the components that it routes to."""
        cell, rules = self.sections.cell, []
        for component in cell.spec.components:
            names = [f"{component.name}.{endpoint.name}" for endpoint in component.endpoints]
            routed = [name for name in names if self._backend(f"{direction}|{cell.name}.{name}")]
            if routed:
                rules.append(Rule((Pods({COMPONENT: component.name}),), self._target_ports(routed)))
        return tuple(rules)

    def _to_cells(self) -> tuple[Rule, ...]:
        """From east to the west gateways of the cells that are granted."""
        providers = dict.fromkeys(one.provider.name for one in self.granted() if one.provider is not None)
        return tuple(Rule((self._gateway_pods(name, "west"),), self._ports(name, "west")) for name in providers)

    def _to_internet(self) -> tuple[Rule, ...]:
        """From south to declared services: where the binding says they are, or by name."""
        cell, found = self.sections.cell.name, []
        for key, item in sorted(self.cells.objects.items()):
            if key.kind == "Backend" and key.namespace == cell and key.name.startswith("south|"):
                assert isinstance(item.spec, BackendSpec)
                found += [place.ip or place.fqdn for place in item.spec.endpoints]
        places = [one for one in found if one is not None]
        addresses = [(one.address if isinstance(one, IpEndpoint) else one.hostname, one.port) for one in places]
        return tuple(_to_host(host, port) for host, port in dict.fromkeys(addresses))

    def _to_services(self, direction: Direction) -> tuple[Rule, ...]:
        """What filters ask: who publishes keys, who decides, who counts."""
        gateway = self.cells.plan.gateway(self.sections.cell.name, direction)
        return tuple(_to_host(host, port) for host, port in self.cells.services.get(gateway, ()))

    def granted(self) -> tuple[Exit, ...]:
        """The dependencies on cells through which requests go."""
        return tuple(
            one
            for one in self.sections.exits
            if one.provider is not None
            and not one.refusal
            and self._backend(f"east|{one.provider.name}.{one.dependency.component}.{one.endpoint}")
        )

    def _callers(self) -> list[str]:
        """The cells whose east gateway may call this cell's west gateway."""
        mine = self.sections.cell
        granted = {other.cell.name: _Flows(other, self.cells, self.around).granted() for other in self.cells.sections}
        return sorted(
            name
            for name, exits in granted.items()
            if any(one.provider and one.provider.name == mine.name for one in exits)
        )

    def _users(self, direction: str) -> list[str]:
        """The components that may use east or south; a dependency without `from` is for all of them."""
        names = dict.fromkeys(one.name for one in self.sections.cell.spec.components)
        exits = [one.dependency for one in self.sections.exits if one.direction == direction]
        return [name for name in names if any(not one.from_ or name in one.from_ for one in exits)]

    def _gateway_pods(self, cell: str, direction: str) -> Pods:
        return Pods({GATEWAY: direction}, namespace={CELL: cell, STAGE: self.cells.plan.stage})

    def _target_ports(self, endpoints: Iterable[str]) -> tuple[Port, ...]:
        """The ports on which pods listen: the endpoint's own, unless the binding says another."""
        cell, found = self.sections.cell, set()
        for name in endpoints:
            component, _, endpoint = name.rpartition(".")
            spec = cell.endpoint(component, endpoint)
            if spec is not None:
                places = cell.bound.endpoints.get(name, ())
                found |= {place.port or spec.port for place in places} or {spec.port}
        return tuple(("TCP", port) for port in sorted(found))

    def _ports(self, cell: str, direction: str) -> tuple[Port, ...]:
        """Where a gateway of a cell listens."""
        gateway = self.cells.objects.get(Key(GATEWAY_GROUP, "Gateway", cell, f"{cell}-{direction}"))
        if gateway is None or not isinstance(gateway.spec, GatewaySpec):
            return ()
        found = {(transport_of(one.protocol).upper(), one.port) for one in gateway.spec.listeners}
        return tuple(sorted(found))

    def _gateway(self, direction: str) -> Object | None:
        cell = self.sections.cell.name
        return self.cells.objects.get(Key(GATEWAY_GROUP, "Gateway", cell, f"{cell}-{direction}"))

    def _backend(self, name: str) -> bool:
        return Key(ENVOY_GATEWAY_GROUP, "Backend", self.sections.cell.name, name) in self.cells.objects


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _to_host(host: str, port: int) -> Rule:
    return Rule((Networks((_single(host),)) if _is_address(host) else Hosts((host,)),), (("TCP", port),))


def _single(address: str) -> str:
    """A range with one address in it."""
    return str(ipaddress.ip_network(address))
