"""What only Cilium can do (`cilium.io/v2`): hosts by name, and refusals that nothing in a namespace can lift.

In: namespaces with their policies. Out: documents that stand beside the NetworkPolicies. They work on names, addresses and
ports alone: what is inside requests is looked at by Envoy, and a second proxy in the way would gain nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xds_server.network.flows import CELL, STAGE, Hosts, Namespace, PodPolicy, Surroundings
from xds_server.network.kubernetes import hosts_of, selector

Json = dict[str, Any]
_METADATA_SERVICES = ("169.254.169.254/32", "fd00:ec2::254/128")
_NAMESPACE_LABEL = "k8s:io.cilium.k8s.namespace.labels."


def cilium_documents(namespaces: Iterable[Namespace], around: Surroundings) -> list[Json]:
    """A policy by name for every south gateway that needs one, and one for the whole cluster for every stage."""
    namespaces = list(namespaces)
    documents = [_by_name(one, policy, around) for one in namespaces for policy in one.policies if hosts_of(policy)]
    return documents + [_ceiling(stage) for stage in sorted({one.stage for one in namespaces})]


def _by_name(namespace: Namespace, policy: PodPolicy, around: Surroundings) -> Json:
    names = [{"matchName": name} for name in hosts_of(policy)]
    dns = {"k8s:io.kubernetes.pod.namespace": around.dns_namespace, "k8s-app": "kube-dns"}
    asked = {"ports": [{"port": "53", "protocol": "ANY"}], "rules": {"dns": names}}
    egress: list[Json] = [{"toEndpoints": [{"matchLabels": dns}], "toPorts": [asked]}]
    for rule in policy.egress:
        hosts = [name for peer in rule.peers if isinstance(peer, Hosts) for name in peer.names]
        if hosts:
            ports = [{"port": str(port), "protocol": protocol} for protocol, port in rule.ports]
            egress.append({"toFQDNs": [{"matchName": name} for name in hosts], "toPorts": [{"ports": ports}]})
    return {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": {"name": policy.name, "namespace": namespace.name, "labels": dict(namespace.labels)},
        "spec": {"endpointSelector": selector(policy.pods), "egress": egress},
    }


def _ceiling(stage: str) -> Json:
    """No pod of a cell reaches a cell of another stage or the metadata service of its machine, whoever allows it."""
    label = f"{_NAMESPACE_LABEL}{STAGE}"
    mine = {"matchLabels": {label: stage}, "matchExpressions": [_exists(f"{_NAMESPACE_LABEL}{CELL}")]}
    others = {"matchExpressions": [_exists(label), {"key": label, "operator": "NotIn", "values": [stage]}]}
    return {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumClusterwideNetworkPolicy",
        "metadata": {"name": f"cellway-{stage}"},
        "spec": {
            "endpointSelector": mine,
            "enableDefaultDeny": {"ingress": False, "egress": False},
            "egressDeny": [{"toEndpoints": [others]}, {"toCIDR": list(_METADATA_SERVICES)}],
            "ingressDeny": [{"fromEndpoints": [others]}],
        },
    }


def _exists(key: str) -> Json:
    return {"key": key, "operator": "Exists"}
