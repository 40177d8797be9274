"""The cells of what was compiled as documents for a cluster: the room's one entrance.

In: what was compiled, and what the cluster looks like. Out: documents, and notes on what they cannot enforce.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xds_server.compile import Compiled
from xds_server.features import FEATURES
from xds_server.graph import Gateway
from xds_server.network.cilium import cilium_documents
from xds_server.network.flows import Cells, Namespace, Surroundings, allowed_flows
from xds_server.network.kubernetes import hosts_of, kubernetes_documents


@dataclass(frozen=True, slots=True)
class Exported:
    """Documents, and a sentence for everything in them that lets more through than was meant."""

    documents: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = ()


def namespaces_of(compiled: Compiled, stage: str | None, around: Surroundings) -> tuple[Namespace, ...]:
    """The namespaces of the bound cells in all stages, or in one."""
    services = {gateway.name: _services(gateway) for gateway in compiled.gateways}
    found: list[Namespace] = []
    for one in compiled.stages:
        if one.plan is not None and stage in (None, one.stage):
            known = {item.key: item for item in one.objects}
            found += allowed_flows(Cells(one.plan, one.sections, known, services), around)
    return tuple(found)


def _services(gateway: Gateway) -> tuple[tuple[str, int], ...]:
    """Host and port of everything that the filters of a gateway ask."""
    features = {feature.name: feature for feature in FEATURES}
    chains = [chain for port in gateway.ports for chain in port.http_chains]
    settings = [one for port in gateway.ports for chain in port.chains for one in chain.settings]
    settings += [one for port in gateway.ports for one in port.settings]
    settings += [one for chain in chains for host in chain.hosts for route in host.routes for one in route.settings]
    asked = {
        (endpoint.address, endpoint.port)
        for one in settings
        for backend in features[one.feature].backends(one.value)
        for endpoint in backend.endpoints
    }
    return tuple(sorted(asked))


def network_policies(compiled: Compiled, stage: str | None, around: Surroundings, *, cilium: bool) -> Exported:
    """NetworkPolicies of all cells; with `cilium` hosts are enforced by name, and stages kept apart for the whole cluster."""
    namespaces = namespaces_of(compiled, stage, around)
    documents = kubernetes_documents(namespaces, without_hosts=cilium)
    notes = [
        f"NoCells: no cell is in stage {one.stage} as far as is known here, so there is nothing of it in this export"
        for one in compiled.stages
        if stage in (None, one.stage) and not one.sections
    ]
    if cilium:
        return Exported((*documents, *cilium_documents(namespaces, around)), tuple(notes))
    notes += [
        f"FQDNNotEnforceable: {one.name}: NetworkPolicy cannot tell hosts apart, so {', '.join(hosts)} stand for every"
        " public address on their ports; the south gateway still lets requests to these hosts only"
        " (--cilium enforces names below it)"
        for one in namespaces
        for policy in one.policies
        if (hosts := hosts_of(policy))
    ]
    return Exported(tuple(documents), tuple(notes))
